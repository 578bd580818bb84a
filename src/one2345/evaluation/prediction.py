"""What is measured, on what, and what a prediction may raise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from one2345.errors import InputError, One2345Error
from one2345.geometry import OBJECT_EDGE, Mesh
from one2345.views import ObjectRecord

from .protocol import EvaluationProtocol
from .truth import Floats, RecordTruth, Truth


class Case:
    """One object of an evaluation.

    open: reads its truth. record: its prepared views, where there are any; `unprepared` says why there are none.
    """

    def __init__(
        self,
        id: str,
        open: Callable[[], Truth],
        record: ObjectRecord | None = None,
        unprepared: str = "there are no prepared views of it",
    ) -> None:
        self.id, self.record, self.unprepared = id, record, unprepared
        self.measured_by_record = False
        self._open = open
        self._truth: Truth | None = None

    @staticmethod
    def of_record(record: ObjectRecord) -> Case:
        """The prepared object `record`, measured against its own stored samples."""
        case = Case(record.id, lambda: RecordTruth(record), record)
        case.measured_by_record = True
        return case

    @property
    def truth(self) -> Truth:
        """Read when first asked for; whatever that raises says why it cannot be used."""
        if self._truth is None:
            self._truth = self._open()
        return self._truth

    def close(self) -> None:
        """Forget the truth."""
        self._truth = None

    def views(self) -> ObjectRecord:
        """The prepared views. Raises InputError with the reason where there are none."""
        if self.record is None:
            raise InputError(f"{self.id}: {self.unprepared}")
        return self.record


@dataclass(frozen=True)
class Prediction:
    """A reconstruction.

    frame: which coordinates the mesh is in: a number is the longest edge of the truth in them, its box centred
    (the default: the world frame, 0.8); 'truth': those of the truth's file; None: as the protocol says.
    images: (k, 3, h, w) the predictor's own renders at the truth's cameras (`Truth.views`), or None.
    seconds: wall time, 0 where there is none to speak of, or None to have it measured. keep: whether the
    mesh is worth keeping among the results. note: shown beside the scores. inputs: (v, 3, h, w) the
    pictures that it was given, for the report, or None for the stored source views.
    """

    mesh: Mesh
    frame: float | str | None = OBJECT_EDGE
    images: Tensor | None = None
    seconds: float | None = None
    keep: bool = True
    note: str = ""
    inputs: Tensor | None = None

    def to_world(self, truth: Truth, protocol: EvaluationProtocol) -> Floats:
        """(4, 4) from the mesh's coordinates to the world frame."""
        frame = self.frame
        if frame is None:
            frame = "truth" if protocol.prediction == "truth" else protocol.edge
        if frame == "truth":
            return truth.to_world
        return np.diag([OBJECT_EDGE / float(frame)] * 3 + [1.0])


Predictor = Callable[[Case], Prediction]

# What counts as the failure of one prediction (an empty surface, a singular fit, memory) and is recorded;
# anything else is a defect of the program and ends the run.
FAILURES = (One2345Error, ValueError, ArithmeticError, RuntimeError, MemoryError)
