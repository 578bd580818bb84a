"""Nearest neighbours, both ways, between two clouds under many similarities at once."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from .metrics.neighbours import LEAF, Neighbours
from .surface import Floats, SurfaceCloud

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Matches:
    """Of k placements. forward (k, m): distance of each query of the prediction to the truth; forward_index:
    the target of the truth that is nearest. backward, backward_index (k, n): the same from the truth to the
    prediction. Distances are in the truth's unit."""

    forward: Floats
    forward_index: Indices
    backward: Floats
    backward_index: Indices

    def costs(self, cap: float = np.inf) -> Floats:
        """(k, m + n) distances, none above `cap`, such that their mean is the mean of both ways' means."""
        forward, backward = np.minimum(self.forward, cap), np.minimum(self.backward, cap)
        m, n = forward.shape[1], backward.shape[1]
        return np.concatenate([forward * ((m + n) / (2 * m)), backward * ((m + n) / (2 * n))], 1)

    def residual(self, cap: float = np.inf) -> Floats:
        """(k,) mean nearest-neighbour distance: mean of both ways' means, of distances cut off at `cap`."""
        return (np.minimum(self.forward, cap).mean(1) + np.minimum(self.backward, cap).mean(1)) / 2

    def outliers(self, threshold: float) -> Floats:
        """(k, m + n) costs that count the queries without a neighbour nearer than `threshold`; of their mean, 1 is
        the sum with `inliers`."""
        return Matches(
            (self.forward >= threshold).astype(float), self.forward_index,
            (self.backward >= threshold).astype(float), self.backward_index,
        ).costs()  # fmt: skip

    def inliers(self, threshold: float) -> Floats:
        """(k,) share of the queries whose neighbour is nearer than `threshold`: mean of both ways' shares."""
        return ((self.forward < threshold).mean(1) + (self.backward < threshold).mean(1)) / 2


class Correspondence:
    """Queries and targets out of two clouds that are `in_curve_order`, at most so many of each (all, if None):
    every so manyth point."""

    def __init__(
        self,
        predicted: SurfaceCloud,
        true: SurfaceCloud,
        *,
        queries: int | None = None,
        targets: int | None = None,
    ) -> None:
        self.predicted = thinned(predicted.points, queries)
        self.predicted_targets = thinned(predicted.points, targets)
        self.true, self.true_normals = thinned(true.points, queries), thinned(true.normals, queries)
        self.true_targets = thinned(true.points, targets)
        self.true_target_normals = thinned(true.normals, targets)
        self._predicted_tree = _tree(self.predicted_targets)
        self._true_tree = _tree(self.true_targets)

    def thinned(self, queries: int) -> Correspondence:
        """With fewer queries, of the same targets."""
        fewer = copy.copy(self)
        fewer.predicted = thinned(self.predicted, queries)
        fewer.true, fewer.true_normals = thinned(self.true, queries), thinned(self.true_normals, queries)
        return fewer

    def spacing(self, scale: float) -> float:
        """Mean distance between neighbouring targets of the cloud that has the wider, the prediction's scaled."""
        both: list[float] = []
        for tree, queries, factor in (
            (self._predicted_tree, self.predicted, scale),
            (self._true_tree, self.true, 1.0),
        ):
            distance, _ = tree.query(queries, k=2, workers=-1)
            both.append(float(np.asarray(distance)[:, 1].mean()) * factor)
        return max(both)

    def match(self, matrices: Floats) -> Matches:
        """matrices (k, 4, 4): prediction → truth, similarities that may mirror. The truth's queries are moved
        back, so that no placement needs a tree of its own."""
        forward, forward_index = _nearest(self._true_tree, moved(self.predicted, matrices))
        backward, backward_index = _nearest(self._predicted_tree, moved(self.true, inverse(matrices)))
        return Matches(forward, forward_index, backward * scale_of(matrices)[:, None], backward_index)


def _tree(points: Floats) -> KDTree:
    return KDTree(points, leafsize=LEAF, balanced_tree=False, compact_nodes=False)


def _nearest(tree: KDTree, points: Floats) -> tuple[Floats, Indices]:
    distance, index = tree.query(points.reshape(-1, 3), workers=-1)
    return np.asarray(distance).reshape(points.shape[:2]), np.asarray(index).reshape(points.shape[:2])


def in_curve_order(cloud: SurfaceCloud) -> SurfaceCloud:
    """The same points along a space-filling curve: every so manyth of them thins the cloud evenly in space, and
    neighbours are searched for where the last were found."""
    order = Neighbours(cloud.points).curve
    return SurfaceCloud(cloud.points[order], cloud.normals[order], cloud.bounds)


def thinned(values: Floats, count: int | None) -> Floats:
    """At most `count` of the rows of values (n, c), evenly spaced."""
    return (
        values if count is None or len(values) <= count else values[np.arange(count) * len(values) // count]
    )


def moved(points: Floats, matrices: Floats) -> Floats:
    """points (m, 3), or (k, m, 3), under each of the similarities (k, 4, 4): (k, m, 3)."""
    return points @ matrices[:, :3, :3].transpose(0, 2, 1) + matrices[:, None, :3, 3]


def scale_of(matrices: Floats) -> Floats:
    """(k,) factors by which similarities (k, 4, 4) scale lengths."""
    return np.cbrt(np.abs(np.linalg.det(matrices[:, :3, :3])))


def inverse(matrices: Floats) -> Floats:
    """Of similarities (k, 4, 4)."""
    linear = matrices[:, :3, :3].transpose(0, 2, 1) / scale_of(matrices)[:, None, None] ** 2
    return similarities(linear, -(linear @ matrices[:, :3, 3, None])[..., 0])


def similarities(linear: Floats, offset: Floats) -> Floats:
    """(..., 4, 4) from linear (..., 3, 3) and offset (..., 3)."""
    result = np.zeros((*linear.shape[:-2], 4, 4))
    result[..., :3, :3], result[..., :3, 3], result[..., 3, 3] = linear, offset, 1
    return result
