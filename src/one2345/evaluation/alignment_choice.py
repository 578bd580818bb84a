"""Which of many placements is kept, which others are as good, and whether the mirror image is better."""

from __future__ import annotations

import numpy as np

from .correspondence import Matches
from .placements import SAME, Indices
from .surface import Floats

# Of the truth's longest edge: a yaw is as good as the chosen one if its residual does not surely exceed that one's
# by more.
AMBIGUOUS = 0.001
# A mirror image whose residual is below this share of the prediction's own ...
MIRRORED = 0.8
# ... is what was predicted, if the prediction's own is so many distances of neighbouring samples or more. The
# residual of two samplings of one surface is one such distance.
RESOLVED = 1.25
# Costs that differ by fewer standard errors are equal: the best of a dozen that are equal is some below the rest.
TIED = 4.0


def best_of(found: Matches, criterion: str, threshold: float, preference: Floats) -> int:
    """The placement with the least mean distance ("chamfer") or the most inliers ("inliers": and of equally many
    the least distance). Among equally good ones that of the least preference (k,)."""
    left = np.arange(len(found.forward))
    if criterion == "inliers":
        left = _tied(found.outliers(threshold), left)
    left = _tied(found.costs(), left)
    return int(left[preference[left].argmin()])


def ambiguous_yaws(yaws: Floats, excess: Floats, chosen: float, limit: float) -> tuple[float, ...]:
    """Those of yaws (k,), degrees, whose excess (k,) is at most `limit`, better first, each farther than SAME from
    `chosen` and from better ones. Rounded to tenths."""
    listed: list[float] = []
    for index in np.argsort(excess, kind="stable").tolist():
        if excess[index] > limit:
            break
        gaps = (abs((yaws[index] - other + 180) % 360 - 180) for other in (chosen, *listed))
        if all(gap > SAME[0] for gap in gaps):
            listed.append(float(yaws[index]))
    return tuple(round(yaw, 1) for yaw in listed)


def sure_excess(found: Matches, reference: int) -> Floats:
    """(k,) by how much the mean distances exceed that of the placement `reference`, less two standard errors of
    the difference, point by point."""
    difference = found.costs() - found.costs()[reference]
    return difference.mean(1) - 2 * difference.std(1) / np.sqrt(difference.shape[1])


def is_mirrored(proper: float, mirrored: float, spacing: float) -> bool:
    """From the residuals of the unmirrored prediction and of its mirror image, and the distance between
    neighbouring samples. What equals its mirror image, up to that distance, is not mirrored."""
    return mirrored < MIRRORED * proper and proper > RESOLVED * spacing


def _tied(costs: Floats, among: Indices) -> Indices:
    """Those of `among` whose mean cost, of costs (k, n), is not above the least by more than TIED standard errors
    of their difference, point by point."""
    costs = costs[among]
    means = costs.mean(1)
    difference = costs - costs[means.argmin()]
    error = difference.std(1) / np.sqrt(costs.shape[1])
    return among[means - means.min() <= TIED * error]
