"""What all files of weights share: how a release is written, the faults of damaged ones, whether they fit a model."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save
from torch import Tensor

from one2345.errors import CheckpointError
from one2345.files import write_atomic

FORMAT = "one2345-reconstructor/1"

DAMAGED = (
    RuntimeError,
    EOFError,
    OSError,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)
"""What torch.load makes of bytes that are none of its own, or not whole."""


def read_plain(file: Path) -> dict[str, Any]:
    """The dictionary that torch.save wrote, on the CPU: tensors and plain values, nothing that runs code.

    Raises CheckpointError for a file that is damaged, holds more or is none.
    """
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except DAMAGED as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{file}: damaged, or holds more than tensors and plain values ({reason})"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{file}: holds a {type(content).__name__}, not the state of a network or a run"
        )
    return content


def write_release(path: Path, state: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write the weights of a reconstruction network and their record as one safetensors file.

    record: needs the plain `model` configuration; its `scale` names the sizes that evaluation then takes.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    metadata = {"format": FORMAT, "record": json.dumps(dict(record), sort_keys=True)}
    write_atomic(path, save(tensors, metadata=metadata))


class Shaped(Protocol):
    """A tensor, or one that is not read yet."""

    @property
    def shape(self) -> tuple[int, ...]: ...


def check_names(
    wanted: Mapping[str, Shaped], found: Mapping[str, Shaped], *, where: object, ignore: str = ""
) -> None:
    """Raise CheckpointError naming `where` and the first keys that are missing, unknown or of another shape.

    ignore: a name that may be found without being wanted.
    """
    problems = [f"missing {name}" for name in wanted if name not in found]
    problems += [f"unknown {name}" for name in found if name not in wanted and name != ignore]
    problems += [
        f"{name} is {tuple(found[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if problems:
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise CheckpointError(f"{where}: weights of another model: {shown}")
