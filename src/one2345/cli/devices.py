"""`device=`: its name checked without torch, then the device itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from one2345.build import did_you_mean
from one2345.errors import InputError

if TYPE_CHECKING:
    import torch

NAMES = ("auto", "cpu", "cuda", "mps")
_NAME = re.compile(r"auto|cpu|mps|cuda(:\d+)?", re.ASCII)
_MEANT = {"gpu": "cuda"}  # further from it, letter by letter, than from cpu


def check_device(name: object) -> None:
    """InputError with the nearest name for one that no device has."""
    if _NAME.fullmatch(str(name)):
        return
    head, _, index = str(name).lower().partition(":")
    meant = _MEANT.get(head)
    near = f"; did you mean {meant + (f':{index}' if index else '')!r}?" if meant else ""
    near = near or did_you_mean(str(name), NAMES) or f"; it takes {', '.join(NAMES)}, cuda:1 and so on"
    raise InputError(f"device={name} is unknown{near}")


def pick_device(name: str) -> torch.device:
    """The device called `name`; `auto` is the first CUDA device, else the CPU. InputError if it isn't here."""
    import torch

    check_device(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        there = f"there are {count}, counted from 0" if count else "there is no CUDA GPU here"
        raise InputError(f"device={name}: {there}; device=auto takes what there is")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError(
            f"device={name}: this machine or this torch has none; device=auto takes what there is"
        )
    return device
