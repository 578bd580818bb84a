"""The searches of an alignment: every yaw by brute force; every yaw and size, the promising ones refined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .correspondence import Correspondence, similarities
from .icp import Freedom, refine
from .placements import (
    ATTITUDES,
    UPRIGHT,
    Placements,
    Placer,
    apart,
    box_fit,
    distinct,
    full_turn,
    moments,
    yaw_rotations,
)
from .surface import Floats, SurfaceCloud

# Of the truth's longest edge: a distance beyond this is as bad as any, so that what is missing from a partial
# prediction does not pull it away from where it belongs.
CAP = 0.1
# Starts of each attitude, and how many degrees they are apart at least.
TIGHT_STARTS = (48, 8, 8, 8)
LOOSE_STARTS = (6, 2, 2, 2)
APART = 5.0
# Share of the iterations for the last round, on most points.
POLISH = 0.2


@dataclass(frozen=True)
class Stage:
    """One round of refinement. queries, targets: points. share: of the iterations. window: of icp.refine, in
    edges. cap: of the residual, in edges. tolerance: of a step. keep: how many are kept of each attitude."""

    queries: int
    targets: int
    share: float
    window: float
    cap: float
    tolerance: float
    keep: tuple[int, int, int, int]


# With a window that narrows: finds where a partial or littered prediction belongs.
TIGHT = (
    Stage(128, 4096, 0.25, 0.15, CAP, 1e-3, (12, 2, 2, 2)),
    Stage(512, 8192, 0.25, 0.05, CAP, 1e-3, (4, 1, 1, 1)),
    Stage(1024, 16384, 0.4, 0.01, CAP, 1e-4, (4, 1, 1, 1)),
)
# With all points voting: for a shape that is unlike the truth everywhere, of which the above matches a part.
LOOSE = (Stage(512, 8192, 0.4, np.inf, np.inf, 1e-3, (2, 1, 1, 1)),)
# For turns of what has been found, and for placements without a turn.
SECOND = Stage(512, 8192, 0.2, 0.05, CAP, 1e-3, (8, 0, 0, 0))


def axis_search(predicted: SurfaceCloud, true: SurfaceCloud) -> Placements:
    """Each attitude in the four quarter turns about z, the boxes fitted: all turns and mirrorings of the axes
    that keep z vertical."""
    rotations = np.concatenate([yaw_rotations(full_turn(4)) @ attitude for attitude in ATTITUDES])
    matrices = similarities(rotations, true.centre - rotations @ true.centre) @ box_fit(predicted, true)
    return Placements(matrices, np.repeat(np.arange(4), 4), np.zeros(16))


def brute_force_search(
    predicted: SurfaceCloud, true: SurfaceCloud, *, yaws: int, scales: Sequence[float]
) -> Placements:
    """The best few turns about z of each attitude, the boxes fitted, by the mean distance both ways: `yaws` turns
    times `scales`, then three rounds around the best of them (and around no turn), each with a quarter of the
    step before."""
    place = Placer(predicted, true)
    coarse = Correspondence(predicted, true, queries=128, targets=2048)
    fine = Correspondence(predicted, true, queries=512, targets=16384)
    found: list[Placements] = []
    for index, (attitude, count) in enumerate(zip(ATTITUDES, LOOSE_STARTS)):
        step = 360 / yaws
        turns = np.repeat(full_turn(yaws), len(scales))
        factors = np.tile(np.asarray(scales, float), yaws)
        cost = coarse.match(place(yaw_rotations(turns) @ attitude, "box", factors)).residual()
        best = cost.reshape(yaws, -1).argmin(1) + np.arange(yaws) * len(scales)
        chosen = best[np.union1d(apart(cost[best], count, _separation(yaws)), [0])]
        degrees, factors = turns[chosen], factors[chosen][:, None]
        for _ in range(3):
            step /= 4
            tried = degrees[:, None] + step * np.arange(-4, 5)
            matrices = place(yaw_rotations(tried) @ attitude, "box", factors)
            cost = fine.match(matrices.reshape(-1, 4, 4)).residual().reshape(tried.shape)
            rows, columns = np.arange(len(tried)), cost.argmin(1)
            degrees = tried[rows, columns]
        found.append(Placements(matrices[rows, columns], np.full(len(rows), index), cost[rows, columns]))
    return Placements.joined(found)


def refined_search(
    predicted: SurfaceCloud,
    true: SurfaceCloud,
    *,
    yaws: int,
    scales: Sequence[float],
    freedom: Freedom,
    iterations: int,
) -> Placements:
    """The best few of each attitude after ICP from the best of `yaws` turns times `scales`, the size and place at
    each those of the moments or of the boxes."""
    coarse = _coarse(predicted, true, yaws, scales)
    found: list[Placements] = []
    for stages, starts in ((TIGHT, TIGHT_STARTS), (LOOSE, LOOSE_STARTS)):
        chosen = [part[apart(part.cost, n, _separation(yaws))] for part, n in zip(coarse, starts)]
        placements = Placements.joined(chosen)
        for stage in stages:
            placements = _refined(placements, predicted, true, stage, iterations, freedom)
        found.append(placements)
    return Placements.joined(found)


def unturned(predicted: SurfaceCloud, true: SurfaceCloud, method: str) -> Placements:
    """Upright placements without a turn: by boxes and, unless the method is "yaw", by moments and none at all."""
    matrices = [box_fit(predicted, true)]
    if method != "yaw":
        matrices += [Placer(predicted, true)(np.eye(3), "moments"), np.eye(4)]
    count = len(matrices)
    return Placements(np.stack(matrices), np.full(count, UPRIGHT), np.zeros(count))


def turned(matrix: Floats, predicted: SurfaceCloud, true: SurfaceCloud, count: int) -> Placements:
    """Of matrix (4, 4), `count` turns about the vertical through the truth's centroid, by 0 first, each shifted to
    where it fits best. What is right but for a near symmetry is right after one of them."""
    centre = moments(true.points)[0]
    rotations = yaw_rotations(full_turn(count))
    matrices = similarities(rotations, centre - rotations @ centre) @ matrix
    pair = Correspondence(predicted, true, queries=128, targets=4096)
    window, cap = TIGHT[-1].window * true.edge, CAP * true.edge
    matrices, cost = refine(pair, matrices, iterations=3, window=window, cap=cap, freedom="shift")
    return Placements(matrices, np.full(count, UPRIGHT), cost)


def second_search(
    turns: Placements,
    fixed: Placements,
    predicted: SurfaceCloud,
    true: SurfaceCloud,
    *,
    freedom: Freedom,
    iterations: int,
) -> Placements:
    """After ICP: the best few of turns, full circle, that are better than their neighbours, but for the first; and
    `fixed`."""
    cost = turns.cost
    lowest = (cost <= np.roll(cost, 1)) & (cost <= np.roll(cost, -1))
    lowest[0] = False
    chosen = np.flatnonzero(lowest)
    chosen = chosen[np.argsort(cost[chosen], kind="stable")][: SECOND.keep[0] - len(fixed)]
    starts = Placements.joined([turns[chosen], fixed])
    return _refined(starts, predicted, true, SECOND, iterations, freedom)


def polished(
    pair: Correspondence, matrix: Floats, edge: float, *, freedom: Freedom, iterations: int
) -> Floats:
    """(3, 4, 4): matrix (4, 4), and it after ICP with a narrow window and with none, on the points of `pair`."""
    found = [matrix[None]]
    for window, cap in ((TIGHT[-1].window * edge, CAP * edge), (np.inf, np.inf)):
        steps = round(POLISH * iterations)
        found.append(refine(pair, matrix[None], iterations=steps, window=window, cap=cap, freedom=freedom)[0])
    return np.concatenate(found)


def _refined(
    placements: Placements,
    predicted: SurfaceCloud,
    true: SurfaceCloud,
    stage: Stage,
    iterations: int,
    freedom: Freedom,
) -> Placements:
    """Placements after one stage."""
    pair = Correspondence(predicted, true, queries=stage.queries, targets=stage.targets)
    matrices, cost = refine(
        pair,
        placements.matrices,
        iterations=math.ceil(stage.share * iterations),
        window=stage.window * true.edge,
        cap=stage.cap * true.edge,
        freedom=freedom,
        tolerance=stage.tolerance,
    )
    return distinct(Placements(matrices, placements.attitude, cost), pair.predicted, stage.keep)


def _coarse(
    predicted: SurfaceCloud, true: SurfaceCloud, yaws: int, scales: Sequence[float]
) -> list[Placements]:
    """For each attitude `yaws` placements, in order: at each yaw the best by moments or box, and of all scales
    (of attitudes other than upright, which are only compared with, the scale nearest 1)."""
    place = Placer(predicted, true)
    pair = Correspondence(predicted, true, queries=128, targets=2048)
    middle = min(scales, key=lambda s: abs(np.log(s)))
    found: list[Placements] = []
    for index, attitude in enumerate(ATTITUDES):
        rotations = yaw_rotations(full_turn(yaws)) @ attitude
        tried = scales if index == UPRIGHT else [middle]
        matrices = np.stack([place(rotations, by, s) for by in ("moments", "box") for s in tried], 1)
        cost = pair.match(matrices.reshape(-1, 4, 4)).residual(CAP * true.edge).reshape(matrices.shape[:2])
        best = (np.arange(yaws), cost.argmin(1))
        found.append(Placements(matrices[best], np.full(yaws, index), cost[best]))
    return found


def _separation(yaws: int) -> int:
    """Steps of the search that are APART degrees."""
    return max(1, round(yaws * APART / 360))
