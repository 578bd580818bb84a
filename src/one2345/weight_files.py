"""What all readers of weights share: the faults of damaged files, and whether weights are those of a model."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from typing import Protocol

from one2345.errors import CheckpointError

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
