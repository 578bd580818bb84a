"""Gaps that hulls leave in silhouettes, on a CPU; see `geometry.coherence`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..loops import compiled

ZERO, LEAST = np.float32(0), np.float32(1e-6)

Array = NDArray[Any]


@compiled()
def deepest(
    points: Array,
    distances: Array,
    matrices: Array,
    widths: Array,
    height: int,
    width: int,
    cells: int,
    start: int,
    stop: int,
    at: Array,
    least: Array,
) -> None:
    """Fill in views start to stop of the cell of each point, at (n, p), and of the smallest distances of each cell.

    points: (p, 3). distances: (p, k). matrices: (n, 3, 4) to pixels times depth. widths: (n) of cells, in pixels.
    least: (n, cells^2 + 1, k), lowered where points come closer; the last cell is for points that a view does not see.
    """
    right, bottom = np.float32(width), np.float32(height)
    for view in range(start, stop):
        to, edge = matrices[view], widths[view]
        for i in range(len(points)):
            x, y, z = points[i, 0], points[i, 1], points[i, 2]
            depth = to[2, 0] * x + to[2, 1] * y + to[2, 2] * z + to[2, 3]
            safe = max(depth, LEAST)
            u = (to[0, 0] * x + to[0, 1] * y + to[0, 2] * z + to[0, 3]) / safe
            v = (to[1, 0] * x + to[1, 1] * y + to[1, 2] * z + to[1, 3]) / safe
            cell = cells * cells
            if depth > ZERO and u >= ZERO and u <= right and v >= ZERO and v <= bottom:
                cell = min(int(v / edge), cells - 1) * cells + min(int(u / edge), cells - 1)
            at[view, i] = cell
            for k in range(distances.shape[1]):
                least[view, cell, k] = min(least[view, cell, k], distances[i, k])


@compiled()
def gathered(at: Array, gaps: Array, cover: Array, start: int, stop: int, local: Array) -> None:
    """Fill in rows start to stop of local (p, k): gaps (n, cells, k), which are weighted by cover (n, cells), at the
    cells (n, p) of points, over the weights there."""
    for i in range(start, stop):
        local[i] = ZERO
        weight = ZERO
        for view in range(len(at)):
            cell = at[view, i]
            weight += cover[view, cell]
            for k in range(local.shape[1]):
                local[i, k] += gaps[view, cell, k]
        for k in range(local.shape[1]):
            local[i, k] /= max(weight, LEAST)
