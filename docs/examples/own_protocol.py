"""A protocol of one's own, and a method of one's own measured by it, in Python.

The same protocol for the command line is `conf/protocol/mine.yaml` beside this file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from one2345.evaluation import (
    Aligner,
    Case,
    EvaluationProtocol,
    MeshTruth,
    Prediction,
    Summary,
    evaluate,
)
from one2345.geometry import Mesh

MINE = EvaluationProtocol(
    name="mine",
    source="docs/examples",
    edge=2.0,  # the truth's longest edge, and so the unit of all distances
    alignment=Aligner(method="yaw", yaws=36),
    points=20_000,
    thresholds=(0.02, 0.1),  # of the F-score
    occupancy=None,
    cameras=None,
    pictures=(),
)


class Boxes:
    """A method: everything is its bounding box. A predictor is anything that makes a `Prediction` of a `Case`."""

    def __init__(self, truths: dict[str, Mesh]) -> None:
        self.truths = truths

    def __call__(self, case: Case) -> Prediction:
        low, high = self.truths[case.id].bounds
        corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
        quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
        faces = np.array([f for a, b, c, d in quads for f in ((a, b, c), (a, c, d))])
        # The mesh lies where the truth's file lies.
        return Prediction(mesh=Mesh(vertices=low + corners * (high - low), faces=faces), frame="truth")


def measure_boxes(truths: dict[str, Mesh], out: Path) -> Summary:
    """Measure `Boxes` on meshes (z up, any size) by name; tables, figure and report land in `out`."""
    cases = [Case(name, lambda n=name: MeshTruth(truths[n], id=n)) for name in truths]
    (summary,) = evaluate({"boxes": Boxes(truths)}, cases, out, [MINE], pictures=False)
    return summary
