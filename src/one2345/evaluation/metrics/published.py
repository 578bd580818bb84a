"""Published weight files: where they lie, fetched when that is allowed, checked by hash, read without running code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from one2345.errors import InputError
from one2345.hub import WeightsUnavailable, fetch, sha256
from one2345.weight_files import DAMAGED

FETCH = "appearance.download=true fetches them"


@dataclass(frozen=True)
class PublishedFile:
    """A file that is published under its own hash. digest: the first hexadecimal digits of its SHA-256."""

    name: str
    url: str
    digest: str


def find_published(
    file: PublishedFile, *, given: Path | None = None, download: bool = False
) -> tuple[Path, str]:
    """The file and its SHA-256: `given`, or the one in torch's hub folder ($TORCH_HOME/hub/checkpoints), fetched
    if it isn't there and may be.

    Raises WeightsUnavailable where it isn't, can't be fetched or is damaged, InputError for a damaged `given`.
    """
    path = given or Path(torch.hub.get_dir()) / "checkpoints" / file.name
    if not path.is_file():
        if given is not None:
            raise WeightsUnavailable(f"weights are not here: {given} is no file")
        if not download:
            raise WeightsUnavailable(f"weights are not here ({path}); {FETCH}")
        fetch(file.url, path, digest=file.digest)
    found = sha256(path)
    if path.name == file.name and not found.startswith(file.digest):
        kind = WeightsUnavailable if given is None else InputError
        raise kind(f"{path}: damaged: its SHA-256 is {found[:8]}…, its name says {file.digest}; delete it")
    return path, found


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict that torch.save wrote, on the CPU.

    Nothing but tensors and plain values is unpickled. Raises InputError for a file that is damaged or is none.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGED as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: damaged, or no file of weights ({reason})") from error
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise InputError(f"{path}: holds no state dict (a mapping from names to tensors)")
    return {str(name): tensor for name, tensor in content.items()}


def take_tensors(path: Path, wanted: Mapping[str, torch.Size]) -> tuple[dict[str, Tensor], list[str]]:
    """The wanted tensors of a file in float32, and the names of what else is in it.

    Raises InputError naming the file and the first key that is missing, has another shape or is not finite.
    """
    there = read_tensors(path)
    taken: dict[str, Tensor] = {}
    for name, shape in wanted.items():
        tensor = there.get(name)
        if tensor is None:
            raise InputError(f"{path}: no key {name!r}; these are weights of something else")
        if tensor.shape != shape:
            raise InputError(f"{path}: {name} is {tuple(tensor.shape)}, expected {tuple(shape)}")
        if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
            raise InputError(f"{path}: {name} holds something else than finite numbers")
        taken[name] = tensor.float()
    return taken, [name for name in there if name not in wanted]
