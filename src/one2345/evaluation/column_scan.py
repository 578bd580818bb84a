"""Winding numbers of a closed mesh at the nodes of a box, by scan conversion of its triangles."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from one2345.geometry import Box

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# (triangle, row) pairs, and then (triangle, column) pairs, worked on at a time.
PAIRS = 1 << 20


def winding_numbers(vertices: Floats, faces: Ints, box: Box) -> NDArray[np.signedinteger]:
    """(r, r, r) winding number at the nodes of `box`, axes x, y, z of the box.

    vertices (n, 3), faces (m, 3): a surface on which every edge is walked equally often in both directions
    (of corners at equal positions; it need not be connected, and may cross itself).

    A column of nodes along x meets the surface at points where the winding number steps up or down by one;
    the steps are added at the first node that is not below them, and summed along x. Which columns a triangle
    meets is decided row by row (a row: nodes of one y) from where its edges cross the row, and an edge's
    crossing is computed from its end points alone, in order of y. So two triangles agree to the last bit
    about the edge that they share, and no column slips between them. A node on the surface counts as moved
    towards +x, +y and +z by an infinitesimal amount: of a box aligned with the nodes the lower faces are
    inside, the upper ones outside.
    """
    axis = (box.half_edge * box.axis()).double().numpy()  # as in `box.nodes()`, to the bit
    n = len(axis)
    x, y, z = in_frame(vertices, box)
    rows, columns = (np.searchsorted(axis, c).astype(np.int32)[faces] for c in (y, z))
    use = np.flatnonzero(_differ(rows) & _differ(columns))
    # No winding number exceeds the triangles of its column.
    kind = np.int16 if len(use) <= np.iinfo(np.int16).max else np.int32
    steps = np.zeros(n**3, kind)
    order = np.argsort(rows[use], axis=1, kind="stable")
    corner = np.take_along_axis(faces[use], order, 1).T
    low, mid, high = np.take_along_axis(rows[use], order, 1).T.astype(np.int64)
    # +1 where the corners in order of y run as the face's own do; then the long edge is walked downwards.
    turn = np.where((order[:, 1] - order[:, 0]) % 3 == 1, 1, -1).astype(kind)
    for face, row in _spread(low, high):
        y_row = axis[row]
        first, middle, last = corner[:, face]
        upper = row >= mid[face]
        z_long, x_long = _crossing(x, y, z, first, last, y_row)
        z_short, x_short = _crossing(
            x, y, z, np.where(upper, middle, first), np.where(upper, last, middle), y_row
        )
        long, short = np.searchsorted(axis, z_long), np.searchsorted(axis, z_short)
        step = np.where(short > long, turn[face], -turn[face])
        for pair, column in _spread(np.minimum(long, short), np.maximum(long, short)):
            share = (axis[column] - z_long[pair]) / (z_short[pair] - z_long[pair])
            here = _between(x_long[pair], x_short[pair], share)
            layer = np.searchsorted(axis, here)
            hit = layer < n
            node = (layer[hit] * n + row[pair][hit]) * n + column[hit]
            np.add.at(steps, node, step[pair][hit])
    grid = steps.reshape(n, n, n)
    # Layer by layer: numpy's own cumulative sum along the first axis takes several times as long.
    for below, layer in pairwise(grid):
        layer += below
    return grid


def in_frame(vertices: Floats, box: Box) -> tuple[Floats, Floats, Floats]:
    """Coordinates along the box's axes. Term by term: a matrix product may round equal rows differently."""
    pose = box.pose.detach().cpu().double().numpy()
    a, b, c = (vertices[:, i] - pose[i, 3] for i in range(3))
    rotation = pose[:3, :3]
    x, y, z = (a * rotation[0, i] + b * rotation[1, i] + c * rotation[2, i] for i in range(3))
    return x, y, z


def _differ(index: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(m,) whether the three numbers of a row (m, 3) are not all equal."""
    a, b, c = index.T
    return (a != b) | (b != c)


def _crossing(
    x: Floats, y: Floats, z: Floats, lower: Ints, upper: Ints, y_row: Floats
) -> tuple[Floats, Floats]:
    """z and x (p,) where edges from vertices `lower` to `upper`, of larger y, cross rows (p,)."""
    share = (y_row - y[lower]) / (y[upper] - y[lower])
    return _between(z[lower], z[upper], share), _between(x[lower], x[upper], share)


def _between(a: Floats, b: Floats, share: Floats) -> Floats:
    """a + share · (b - a), never beyond either."""
    return np.clip(a + share * (b - a), np.minimum(a, b), np.maximum(a, b))


def _spread(start: Ints, stop: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Each i of intervals (m,) with each integer of start[i] <= j < stop[i]: arrays (i, j), in chunks."""
    length = stop - start
    some = np.flatnonzero(length)
    total = np.cumsum(length[some])
    first = 0
    while first < len(some):
        done = total[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(total, done + PAIRS, side="right")))
        chunk = some[first:last]
        index = np.repeat(chunk, length[chunk])
        begin = np.repeat(total[first:last] - length[chunk] - done, length[chunk])
        yield index, np.arange(len(index)) - begin + start[index]
        first = last
