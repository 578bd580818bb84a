"""Which surface point each texel of a texture shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from one2345.geometry import Mesh

REACH = 1.5
"""Texels around a chart that belong to it: a bilinear lookup anywhere on the chart reads no others."""
PAIRS = 1 << 20
"""(face, texel) pairs that are looked at together: bounds the memory to some 200 MB."""


@dataclass(frozen=True)
class Texels:
    """t texels of a square texture. row, column: (t,) from the upper left. face: (t,). weights: (t, 3) barycentric, of
    the point of the face that is nearest to the texel's centre. inside: (t,) whether that is the centre itself."""

    size: int
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    face: NDArray[np.int64]
    weights: NDArray[np.float64]
    inside: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.row)

    def interpolate(self, mesh: Mesh, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Values (n, c) of the vertices of `mesh` at the texels (t, c)."""
        corners = mesh.faces[self.face]
        return sum(self.weights[:, k, None] * values[corners[:, k]] for k in range(3))  # type: ignore[return-value]

    def part(self, index: NDArray[np.integer]) -> Texels:
        """Those of an index (k,)."""
        row, column, face = self.row[index], self.column[index], self.face[index]
        return Texels(self.size, row, column, face, self.weights[index], self.inside[index])


def rasterise(mesh: Mesh, size: int, *, reach: float = REACH) -> Texels:
    """The texels of a texture of `size` x `size` within `reach` texels of a face of `mesh`, which has uv.

    Texels whose centre several faces hold, or are near, go to the nearest one.
    """
    assert mesh.uv is not None
    corner = mesh.uv[mesh.faces].astype(np.float64) * size
    corner[..., 1] = size - corner[..., 1]
    low = np.clip(np.ceil(corner.min(1) - reach - 0.5), 0, size - 1).astype(np.int64)
    high = np.clip(np.floor(corner.max(1) + reach - 0.5), 0, size - 1).astype(np.int64)
    extent = np.maximum(high - low + 1, 0)
    ends = np.cumsum(extent[:, 0] * extent[:, 1])
    nearest = np.full(size * size, np.inf, np.float32)
    owner = np.full(size * size, -1, np.int64)
    weight = np.zeros((size * size, 3), np.float32)
    begin = 0
    while begin < len(ends):
        done = ends[begin - 1] if begin else 0
        stop = max(begin + 1, int(np.searchsorted(ends, done + PAIRS, side="right")))
        part = slice(begin, stop)
        counts = extent[part, 0] * extent[part, 1]
        face = np.repeat(np.arange(begin, stop), counts)
        local = np.arange(len(face)) - np.repeat(np.cumsum(counts) - counts, counts)
        row = low[face, 1] + local // extent[face, 0]
        column = low[face, 0] + local % extent[face, 0]
        centre = np.stack([column, row], -1) + 0.5
        weights, distance = _nearest_on_triangle(corner[face], centre)
        texel = row * size + column
        better = (distance <= reach) & (distance < nearest[texel])
        kept = np.flatnonzero(better)
        kept = kept[np.argsort(-distance[kept], kind="stable")]  # the nearest face writes last
        nearest[texel[kept]] = distance[kept]
        owner[texel[kept]] = face[kept]
        weight[texel[kept]] = weights[kept]
        begin = stop
    texel = np.flatnonzero(owner >= 0)
    return Texels(
        size=size,
        row=texel // size,
        column=texel % size,
        face=owner[texel],
        weights=weight[texel].astype(np.float64),
        inside=nearest[texel] == 0,
    )


def _nearest_on_triangle(
    corner: NDArray[np.float64], point: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Barycentric weights (p, 3) of the points of triangles (p, 3, 2) nearest to points (p, 2), and how far (p,)."""
    a, b, c = corner[:, 0], corner[:, 1], corner[:, 2]
    ab, ac, ap = b - a, c - a, point - a
    area = _cross(ab, ac)
    safe = np.where(area == 0, 1.0, area)
    v, w = _cross(ap, ac) / safe, _cross(ab, ap) / safe
    weights = np.stack([1 - v - w, v, w], -1)
    distance = np.zeros(len(point))
    outside = np.flatnonzero((weights.min(1) < 0) | (area == 0))
    best = np.full(len(outside), np.inf)
    for start, end in ((0, 1), (1, 2), (2, 0)):
        from_, to = corner[outside, start], corner[outside, end]
        along, offset = to - from_, point[outside] - from_
        length = np.einsum("pi,pi->p", along, along)
        t = np.clip(np.einsum("pi,pi->p", offset, along) / np.where(length == 0, 1.0, length), 0, 1)
        away = np.linalg.norm(offset - t[:, None] * along, axis=-1)
        closer = np.flatnonzero(away < best)
        best[closer] = away[closer]
        rows = outside[closer]
        weights[rows] = 0.0
        weights[rows, start], weights[rows, end] = 1 - t[closer], t[closer]
    distance[outside] = best
    return weights, distance


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
