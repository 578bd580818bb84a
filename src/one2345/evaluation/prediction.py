"""What a predictor returns, and what it may raise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from one2345.errors import One2345Error
from one2345.geometry import Mesh
from one2345.views import ObjectRecord


@dataclass(frozen=True)
class Prediction:
    """A reconstruction in the world frame.

    images: (k, 3, h, w) the predictor's own renders at the truth's cameras (`Truth.views`), or None.
    seconds: wall time, or None to have it measured. note: shown beside the scores. inputs: (v, 3, h, w) the
    pictures that it was given, for the report, or None for the stored source views.
    """

    mesh: Mesh
    images: Tensor | None = None
    seconds: float | None = None
    note: str = ""
    inputs: Tensor | None = None


Predictor = Callable[[ObjectRecord], Prediction]

# What counts as the failure of one prediction (an empty surface, a singular fit, memory) and is recorded;
# anything else is a defect of the program and ends the run.
FAILURES = (One2345Error, ValueError, ArithmeticError, RuntimeError, MemoryError)
