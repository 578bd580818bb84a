"""How a prediction is laid on the truth before it is measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from one2345.errors import InputError

from .alignment_choice import AMBIGUOUS, ambiguous_yaws, best_of, is_mirrored, sure_excess
from .alignment_result import Alignment, Method
from .alignment_search import (
    axis_search,
    brute_force_search,
    polished,
    refined_search,
    second_search,
    turned,
    unturned,
)
from .correspondence import Correspondence, in_curve_order, scale_of
from .placements import UPRIGHT, Placements, box_fit, rotation_angle, yaw_of
from .surface import Floats, SurfaceCloud

__all__ = ["Aligner", "Alignment"]

Criterion = Literal["chamfer", "inliers"]
Icp = Literal["similarity", "rigid"]

# Points of either cloud that are asked for their neighbour among all of the other: for what is recorded, to choose
# between placements, for all turns of one and the check of the axes.
QUERIES = 4096
CHOICE_QUERIES = 2048
TURN_QUERIES = 256


@dataclass(frozen=True, kw_only=True)
class Aligner:
    """Lays predictions on truths; both are z up and in the frame of the protocol.

    method: "none"; "centre_scale", the centre and the longest edge of the truth's bounding box; "yaw", boxes
    fitted at the turn about +z that brute force finds best (the search of TripoSR, arXiv 2403.02151);
    "yaw_scale_icp", all turns and sizes tried, the promising ones refined by ICP, the best kept (One-2-3-45,
    arXiv 2306.16928).

    yaws: turns tried at first. scales: sizes tried, as factors on the size that the truth suggests. criterion: the
    best has the least Chamfer distance or the most inliers, points of either cloud nearer than `threshold` to the
    other (both ways, for a tiny prediction has the most of its own). icp: whether it may change the size.
    iterations: of each ICP, at most. Of equally good placements, as of symmetric objects, the one that turns least
    is kept. The mirror image is tried too, but for the record only.
    """

    method: Method = "none"
    yaws: int = 72
    scales: Sequence[float] = (1.0,)
    criterion: Criterion = "chamfer"
    threshold: float = 0.05
    icp: Icp = "similarity"
    iterations: int = 50

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", tuple(float(s) for s in self.scales))
        for name, known in (("method", Method), ("criterion", Criterion), ("icp", Icp)):
            if getattr(self, name) not in get_args(known):
                names = ", ".join(get_args(known))
                raise InputError(f"alignment.{name} is {getattr(self, name)!r}, expected one of {names}")
        if self.yaws < 4:
            raise InputError(f"alignment.yaws is {self.yaws}, expected at least 4")
        if not self.scales or not all(0 < s < math.inf for s in self.scales):
            raise InputError(f"alignment.scales are {list(self.scales)}, expected positive factors")
        if not 0 < self.threshold < math.inf:
            raise InputError(f"alignment.threshold is {self.threshold}, expected a positive distance")
        if self.iterations < 1:
            raise InputError(f"alignment.iterations is {self.iterations}, expected at least 1")

    def describe(self) -> str:
        """One line for captions."""
        sizes = f" x {len(self.scales)} sizes" if len(self.scales) > 1 else ""
        inliers = f"most inliers within {self.threshold:g} kept"
        kept = inliers if self.criterion == "inliers" else "least Chamfer distance kept"
        return {
            "none": "none",
            "centre_scale": "centre and longest edge of the truth's bounding box",
            "yaw": f"bounding box at {self.yaws} yaws{sizes} by brute force, {kept}",
            "yaw_scale_icp": f"{self.yaws} yaws{sizes}, the promising ones refined by {self.icp} ICP, {kept}",
        }[self.method]

    def __call__(self, predicted: SurfaceCloud, true: SurfaceCloud) -> Alignment:
        """Raises ValueError for a cloud of fewer than four points, or of equal or non-finite ones."""
        for name, cloud in (("prediction", predicted), ("truth", true)):
            _check(name, cloud)
        predicted, true = in_curve_order(predicted), in_curve_order(true)
        pair = Correspondence(predicted, true, queries=QUERIES)
        ambiguous: tuple[float, ...] = ()
        if self.method == "none" or self.method == "centre_scale":
            matrix = np.eye(4) if self.method == "none" else box_fit(predicted, true)
            tried = axis_search(predicted, true)
            tried = tried.with_cost(pair.thinned(TURN_QUERIES).match(tried.matrices).residual())
        else:
            tried = self._search(predicted, true)
            tried = tried.with_cost(pair.thinned(CHOICE_QUERIES).match(tried.matrices).residual())
            matrix, ambiguous = self._settle(tried[tried.attitude == UPRIGHT], pair, predicted, true)
        found = pair.match(matrix[None])
        before = found if self.method == "none" else pair.match(np.eye(4)[None])
        residual = float(found.residual()[0])
        proper = min(residual, float(tried.cost[~tried.mirrored].min()))
        mirrored = float(tried.cost[tried.mirrored].min())
        size = float(scale_of(tried.matrices[[tried.cost.argmin()]])[0])
        return Alignment(
            method=self.method,
            matrix=matrix,
            residual_before=float(before.residual()[0]),
            residual=residual,
            inliers=float(found.inliers(self.threshold)[0]),
            mirrored=is_mirrored(proper, mirrored, pair.spacing(size)),
            mirrored_residual=mirrored,
            proper_residual=proper,
            ambiguous_yaws=ambiguous,
        )

    def _search(self, predicted: SurfaceCloud, true: SurfaceCloud) -> Placements:
        if self.method == "yaw":
            return brute_force_search(predicted, true, yaws=self.yaws, scales=self.scales)
        return refined_search(
            predicted, true, yaws=self.yaws, scales=self.scales, freedom=self.icp,
            iterations=self.iterations,
        )  # fmt: skip

    def _settle(
        self, upright: Placements, pair: Correspondence, predicted: SurfaceCloud, true: SurfaceCloud
    ) -> tuple[Floats, tuple[float, ...]]:
        """The placement (4, 4) that is kept, and the yaws that fit as well."""
        base = int(upright.cost.argmin())
        turns = turned(upright.matrices[base], predicted, true, self.yaws)
        around = pair.thinned(TURN_QUERIES).match(turns.matrices)
        turns = turns.with_cost(around.residual())
        pool = [upright, unturned(predicted, true, self.method)]
        refining = self.method == "yaw_scale_icp"
        free, iterations = self.icp, self.iterations
        if refining:
            pool.append(second_search(turns, pool[1], predicted, true, freedom=free, iterations=iterations))
        matrices = Placements.joined(pool).matrices
        found = pair.thinned(CHOICE_QUERIES).match(matrices)
        best = best_of(found, self.criterion, self.threshold, rotation_angle(matrices[:, :3, :3]))
        kept = matrices[best]
        excess = sure_excess(found, best)
        excess = np.concatenate([excess, sure_excess(around, 0) + excess[base]])
        yaws = yaw_of(np.concatenate([matrices, turns.matrices])[:, :3, :3])
        ambiguous = ambiguous_yaws(yaws, excess, yaws[best], AMBIGUOUS * true.edge)
        if refining:
            last = polished(pair, kept, true.edge, freedom=free, iterations=iterations)
            found = pair.match(last)
            kept = last[best_of(found, self.criterion, self.threshold, found.residual())]
        return kept, ambiguous


def _check(name: str, cloud: SurfaceCloud) -> None:
    if len(cloud) < 4:
        raise ValueError(f"the {name} has {len(cloud)} points, alignment needs at least 4")
    if not (np.isfinite(cloud.points).all() and np.isfinite(cloud.normals).all()):
        raise ValueError(f"the {name} has points or normals that are not finite")
    spread = float(np.ptp(cloud.points, axis=0).max())
    if not spread > 1e-9 * float(np.abs(cloud.points).max()) or not cloud.edge > 0:
        raise ValueError(f"the {name} has no extent: all of its points are equal")
