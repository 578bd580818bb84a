"""A batch and the weights it met, as a file to look at: what a run that failed on it leaves."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..data.batch import SceneBatch, TargetRays
from ..data.pairs import PairBatch
from ..errors import CheckpointError
from ..geometry import Cameras
from ..weight_files import DAMAGED, read_plain
from .checkpoint_io import write_checkpoint

_TYPES = {kind.__name__: kind for kind in (SceneBatch, PairBatch, TargetRays, Cameras)}
_TYPE = "type"


def save_batch(file: Path, batch: Any, *, step: int, weights: dict[str, Tensor]) -> None:
    """Write `batch`, the step of the optimiser that it was for, and the weights before that step. Raises OSError."""
    write_checkpoint({"batch": _plain(batch), "step": step, "state_dict": weights}, file)


def load_batch(file: Path) -> tuple[Any, int, dict[str, Tensor]]:
    """Batch, step and weights, on the CPU: `module.load_state_dict(weights)`, and `module.losses(batch, step)` or, in
    view synthesis, `module.loss(batch)` is what happened. CheckpointError for any other file."""
    content = read_plain(file)
    try:
        return _built(content["batch"]), int(content["step"]), dict(content["state_dict"])
    except DAMAGED as error:
        raise CheckpointError(f"{file}: no batch that a run has left ({error})") from error


def _plain(value: Any) -> Any:
    """Data classes as dictionaries that say which they are."""
    if is_dataclass(value):
        named = {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
        return {_TYPE: type(value).__name__, **named}
    return value.detach().cpu() if isinstance(value, Tensor) else value


def _built(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kind = _TYPES[value[_TYPE]]
    return kind(**{name: _built(part) for name, part in value.items() if name != _TYPE})
