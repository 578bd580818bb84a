"""Placements of one cloud on another: turns about the vertical, by moments or boxes, and which of them differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from .correspondence import scale_of, similarities
from .surface import Floats, SurfaceCloud

Indices = NDArray[np.int64]

# The prediction as it stands, its mirror image, turned over, and the mirror image of that. Mirror images in
# other vertical planes are these after a turn about z; upside down, so that it isn't taken for a mirror image.
UPRIGHT, MIRRORED, TURNED, TURNED_MIRRORED = range(4)
ATTITUDES = np.stack([np.diag(d) for d in ([1.0, 1, 1], [-1.0, 1, 1], [1.0, -1, -1], [1.0, 1, -1])])

# Two placements closer than all of these are one: degrees, factor of size, shift in radii of gyration.
SAME = (2.5, 1.03, 0.05)


@dataclass(frozen=True)
class Placements:
    """matrices (k, 4, 4): similarities, prediction → truth. attitude (k,): index into ATTITUDES of what was
    placed. cost (k,): residual."""

    matrices: Floats
    attitude: Indices
    cost: Floats

    def __len__(self) -> int:
        return len(self.matrices)

    def __getitem__(self, chosen: NDArray[np.integer] | NDArray[np.bool_]) -> Placements:
        return Placements(self.matrices[chosen], self.attitude[chosen], self.cost[chosen])

    @property
    def mirrored(self) -> NDArray[np.bool_]:
        """(k,) whether the placement mirrors."""
        return np.isin(self.attitude, [MIRRORED, TURNED_MIRRORED])

    def with_cost(self, cost: Floats) -> Placements:
        return Placements(self.matrices, self.attitude, cost)

    @staticmethod
    def joined(parts: Sequence[Placements]) -> Placements:
        return Placements(
            np.concatenate([p.matrices for p in parts]),
            np.concatenate([p.attitude for p in parts]),
            np.concatenate([p.cost for p in parts]),
        )


class Placer:
    """Places a prediction at given turns without looking for correspondences.

    "moments": centroid and radius of gyration of both clouds, which turn along. "box": centre and longest edge
    of both bounding boxes, the prediction's taken after the turn.
    """

    def __init__(self, predicted: SurfaceCloud, true: SurfaceCloud) -> None:
        self._corners = _box_corners(predicted.points)
        self._true_box = _box(true.points)
        self._moments = moments(predicted.points), moments(true.points)

    def __call__(self, rotations: Floats, by: str, factor: Floats | float = 1.0) -> Floats:
        """(..., 4, 4) for rotations (..., 3, 3) and factors (...) on the size that the truth has."""
        if by == "box":
            centre, size = _box(self._corners @ rotations.swapaxes(-1, -2))
            true_centre, true_size = self._true_box
        else:
            (centre, size), (true_centre, true_size) = self._moments
            centre = rotations @ centre
        scale = np.broadcast_to(factor * true_size / size, rotations.shape[:-2])[..., None]
        return similarities(rotations * scale[..., None], true_centre - centre * scale)


def box_fit(predicted: SurfaceCloud, true: SurfaceCloud) -> Floats:
    """(4, 4) that brings the prediction's bounding box to the centre and the longest edge of the truth's."""
    scale = true.edge / predicted.edge
    return similarities(scale * np.eye(3), true.centre - scale * predicted.centre)


def moments(points: Floats) -> tuple[Floats, float]:
    """Centroid (3,) and radius of gyration of points (n, 3)."""
    centre = points.mean(0)
    return centre, float(np.sqrt(np.square(points - centre).sum(1).mean()))


def full_turn(count: int) -> Floats:
    """(count,) degrees from 0 in equal steps."""
    return np.linspace(0, 360, count, endpoint=False)


def yaw_rotations(degrees: Floats) -> Floats:
    """(..., 3, 3) turns about +z, counter-clockwise seen from above."""
    angle = np.radians(degrees)
    result = np.zeros((*angle.shape, 3, 3))
    result[..., 0, 0] = result[..., 1, 1] = np.cos(angle)
    result[..., 1, 0] = np.sin(angle)
    result[..., 0, 1] = -result[..., 1, 0]
    result[..., 2, 2] = 1
    return result


def yaw_of(linear: Floats) -> Floats:
    """(...,) degrees in (-180, 180] that linear (..., 3, 3) turns about +z: its rotation without the tilt that
    leads over the shortest way (the twist about z)."""
    return np.degrees(
        np.arctan2(linear[..., 1, 0] - linear[..., 0, 1], linear[..., 0, 0] + linear[..., 1, 1])
    )


def rotation_angle(linear: Floats) -> Floats:
    """(...,) degrees, 0 to 180, of the rotation in linear (..., 3, 3) of positive determinant."""
    axis = np.stack([linear[..., i, j] - linear[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0))], -1)
    trace = np.trace(linear, axis1=-2, axis2=-1)
    scale = np.cbrt(np.linalg.det(linear))
    return np.degrees(np.arctan2(np.linalg.norm(axis, axis=-1), trace - scale))


def apart(cost: Floats, count: int, separation: int) -> Indices:
    """At most `count` indices into the circular profile `cost` (n,), best first, at least `separation` apart."""
    chosen: list[int] = []
    for index in np.argsort(cost, kind="stable").tolist():
        gaps = [abs(index - other) for other in chosen]
        if all(min(gap, len(cost) - gap) >= separation for gap in gaps):
            chosen.append(index)
            if len(chosen) == count:
                break
    return np.array(chosen, np.int64)


def distinct(placements: Placements, points: Floats, counts: Sequence[int]) -> Placements:
    """The best of each attitude, `counts` of them at most, without those that are the SAME as a better one.
    points (n, 3): of the prediction."""
    chosen: list[int] = []
    centre, radius = moments(points)
    centres = placements.matrices[:, :3, :3] @ centre + placements.matrices[:, :3, 3]
    scales = scale_of(placements.matrices)
    degrees, factor, shift = SAME
    for attitude, count in enumerate(counts):
        kept: list[int] = []
        members = np.flatnonzero(placements.attitude == attitude)
        for i in members[np.argsort(placements.cost[members], kind="stable")].tolist():
            if len(kept) == count:
                break
            linear = placements.matrices[i, :3, :3] @ placements.matrices[kept, :3, :3].swapaxes(1, 2)
            same = rotation_angle(linear) < degrees
            same &= np.abs(np.log(scales[i] / scales[kept])) < np.log(factor)
            same &= np.linalg.norm(centres[i] - centres[kept], axis=1) < shift * radius * scales[i]
            if not same.any():
                kept.append(i)
        chosen += kept
    return placements[np.array(chosen, np.int64)]


def _box(points: Floats) -> tuple[Floats, Floats]:
    """Centre (..., 3) and longest edge (...) of the boxes of points (..., n, 3)."""
    lower, upper = points.min(-2), points.max(-2)
    return (lower + upper) / 2, (upper - lower).max(-1)


def _box_corners(points: Floats) -> Floats:
    """Those of points (n, 3) that can touch the bounding box after a turn about z, turned over or not."""
    try:
        around = ConvexHull(points[:, :2]).vertices
    except QhullError:  # all on one vertical plane: its two ends
        around = np.lexsort(points[:, :2].T)[[0, -1]]
    return points[np.unique([*around.tolist(), points[:, 2].argmin(), points[:, 2].argmax()])]
