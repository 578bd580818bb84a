"""What all files of weights share: how a release is written, the faults of damaged ones, whether they fit a model."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

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
