"""Where views see points, and from how close to their own direction, on a CPU; see `view_blending.Sight`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..loops import compiled

BLOCK = 128
"""Points that go from view to view together."""

ZERO, ONE, TWO, LEAST = np.float32(0), np.float32(1), np.float32(2), np.float32(1e-6)
TINY, HIDDEN, NOWHERE = np.float32(1e-24), np.float32(-4), np.float32(-np.inf)

Array = NDArray[Any]


@compiled(freedom={"contract"})
def look(
    points: Array,
    directions: Array,
    matrices: Array,
    centres: Array,
    height: int,
    width: int,
    most: int,
    start: int,
    stop: int,
    positions: Array,
    visible: Array,
    count: Array,
) -> None:
    """Fill in points start to stop of their positions (v, p, 2) in the images, -1 to 1 from border to border, and of
    how many views see them (p); visible (v, p): the `most` of these that look from closest to the directions.

    points, directions: (p, 3). matrices: (v, 3, 4) to pixels times depth. centres: (v, 3).
    """
    views = len(matrices)
    right, bottom = np.float32(width), np.float32(height)
    per_width, per_height = TWO / right, TWO / bottom
    px, py, pz, dx, dy, dz = np.empty((6, BLOCK), np.float32)
    value = np.empty(BLOCK, np.float32)
    closeness, nearest = np.empty((views, BLOCK), np.float32), np.empty((most, BLOCK), np.float32)
    for first in range(start, stop, BLOCK):
        block = min(BLOCK, stop - first)
        for i in range(block):
            px[i], py[i], pz[i] = points[first + i, 0], points[first + i, 1], points[first + i, 2]
            dx[i], dy[i], dz[i] = directions[first + i, 0], directions[first + i, 1], directions[first + i, 2]
            count[first + i] = 0
        nearest[:] = NOWHERE
        for v in range(views):
            to, centre, close = matrices[v], centres[v], closeness[v]
            for i in range(block):
                z = to[2, 0] * px[i] + to[2, 1] * py[i] + to[2, 2] * pz[i] + to[2, 3]
                per_depth = ONE / max(z, LEAST)
                across = (to[0, 0] * px[i] + to[0, 1] * py[i] + to[0, 2] * pz[i] + to[0, 3]) * per_depth
                down = (to[1, 0] * px[i] + to[1, 1] * py[i] + to[1, 2] * pz[i] + to[1, 3]) * per_depth
                x, y, away = centre[0] - px[i], centre[1] - py[i], centre[2] - pz[i]
                scale = ONE / np.sqrt(max(x * x + y * y + away * away, TINY))
                seen = (z > ZERO) & (across >= ZERO) & (across <= right) & (down >= ZERO) & (down <= bottom)
                positions[v, first + i, 0] = across * per_width - ONE if seen else HIDDEN
                positions[v, first + i, 1] = down * per_height - ONE if seen else HIDDEN
                facing = (x * dx[i] + y * dy[i] + away * dz[i]) * scale
                # A direction that is no number is far from all views.
                close[i] = (facing if facing > -TWO else -TWO) if seen else NOWHERE
                value[i] = close[i]
                count[first + i] += seen
            for rank in range(min(v + 1, most)):
                for i in range(block):
                    found, held = value[i], nearest[rank, i]
                    nearest[rank, i] = found if found > held else held
                    value[i] = held if found > held else found
        for i in range(block):
            last, room = nearest[most - 1, i], most
            for v in range(views):
                visible[v, first + i] = closeness[v, i] > last
                room -= visible[v, first + i]
            for v in range(views):  # equally close ones, as many as there is room for
                if closeness[v, i] == last and last > NOWHERE and room > 0:
                    visible[v, first + i] = True
                    room -= 1
