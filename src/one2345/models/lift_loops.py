"""Lifting on a CPU, forward and backward; what is computed is written out plainly in `models.cost_volume`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..loops import as_array, compiled, share_out

BLOCK = 64
"""Points that go from view to view together; their sums stay in the cache."""

ZERO, HALF, ONE, TWO, LEAST = (np.float32(value) for value in (0, 0.5, 1, 2, 1e-6))

Array = NDArray[Any]


def lift(
    table: Tensor, points: Tensor, matrices: Tensor, integer: bool, leaking: bool, signed: bool, fewest: int
) -> tuple[Tensor, Tensor]:
    """Variance and mean (p, 2 c) of maps (v, h, w, c) at points (p, 3), and how many views see each (p). float32."""
    rows = table.new_empty(len(points), 2 * table.shape[-1])
    counts = torch.empty(len(points), dtype=torch.int64)
    given = as_array(table), as_array(points), as_array(matrices), integer, leaking, signed, fewest
    made = rows.numpy(), counts.numpy()
    share_out(len(points), lambda start, stop: _forward(*given, start, stop, *made))
    return rows, counts


def lift_backward(
    upstream: Tensor, table: Tensor, points: Tensor, matrices: Tensor, integer: bool, leaking: bool
) -> Tensor:
    """Gradient (v, h, w, c), from that of the sums of squares and of values, (p, 2 c). float32."""
    result = torch.zeros_like(table)
    given = as_array(upstream), as_array(table), as_array(points), as_array(matrices), integer, leaking
    made = result.numpy()
    share_out(len(table), lambda start, stop: _backward(*given, start, stop, made))
    return result


@compiled()
def _forward(
    table: Array,
    points: Array,
    matrices: Array,
    integer: bool,
    leaking: bool,
    signed: bool,
    fewest: int,
    start: int,
    stop: int,
    rows: Array,
    counts: Array,
) -> None:
    """Fill in start to stop of `rows` and `counts`."""
    v, h, w, c = table.shape
    pixels = table.reshape(v, h * w, c)
    sums, squares = np.empty((2, BLOCK * c), np.float32)
    x, y = np.empty((2, BLOCK), np.float32)
    seen, inside = np.empty((2, BLOCK), np.bool_)
    count = np.empty(BLOCK, np.int64)
    for first in range(start, stop, BLOCK):
        block = min(BLOCK, stop - first)
        sums[:] = ZERO
        squares[:] = ZERO
        count[:] = 0
        for view in range(v):
            maps = pixels[view]
            _project(points, first, block, matrices[view], h, w, integer, leaking, x, y, seen, inside)
            for i in range(block):
                count[i] += seen[i]
                if not inside[i]:
                    continue
                at, (of_nw, of_ne, of_sw, of_se) = _corners(x[i], y[i], h, w)
                nw, ne, sw, se = maps[at[0]], maps[at[1]], maps[at[2]], maps[at[3]]
                total, square = sums[i * c : (i + 1) * c], squares[i * c : (i + 1) * c]
                for k in range(c):
                    value = of_nw * nw[k] + of_ne * ne[k] + of_sw * sw[k] + of_se * se[k]
                    total[k] += value
                    square[k] += value * value
        for i in range(block):
            counts[first + i] = count[i]
            held = ONE if count[i] >= fewest else ZERO
            many = np.float32(count[i])
            each = held / (many + np.float32(1e-5) if signed else max(many, ONE))
            for k in range(c):
                mean = sums[i * c + k] * each
                variance = squares[i * c + k] * each - mean * mean
                rows[first + i, c + k] = mean
                rows[first + i, k] = variance if signed else max(variance, ZERO)


@compiled()
def _backward(
    upstream: Array,
    table: Array,
    points: Array,
    matrices: Array,
    integer: bool,
    leaking: bool,
    start: int,
    stop: int,
    result: Array,
) -> None:
    """Add to views start to stop of `result`."""
    v, h, w, c = table.shape
    pixels, gradients = table.reshape(v, h * w, c), result.reshape(v, h * w, c)
    x, y = np.empty((2, BLOCK), np.float32)
    seen, inside = np.empty((2, BLOCK), np.bool_)
    for view in range(start, stop):
        maps, to = pixels[view], gradients[view]
        for first in range(0, len(points), BLOCK):
            block = min(BLOCK, len(points) - first)
            _project(points, first, block, matrices[view], h, w, integer, leaking, x, y, seen, inside)
            for i in range(block):
                if not inside[i]:
                    continue
                at, (of_nw, of_ne, of_sw, of_se) = _corners(x[i], y[i], h, w)
                nw, ne, sw, se = maps[at[0]], maps[at[1]], maps[at[2]], maps[at[3]]
                to_nw, to_ne, to_sw, to_se = to[at[0]], to[at[1]], to[at[2]], to[at[3]]
                of_square, of_value = upstream[first + i, :c], upstream[first + i, c:]
                for k in range(c):
                    value = of_nw * nw[k] + of_ne * ne[k] + of_sw * sw[k] + of_se * se[k]
                    gradient = of_value[k] + TWO * value * of_square[k]
                    to_nw[k] += of_nw * gradient
                    to_ne[k] += of_ne * gradient
                    to_sw[k] += of_sw * gradient
                    to_se[k] += of_se * gradient


@compiled()
def _project(
    points: Array,
    first: int,
    block: int,
    matrix: Array,
    h: int,
    w: int,
    integer: bool,
    leaking: bool,
    x: Array,
    y: Array,
    seen: Array,
    inside: Array,
) -> None:
    """Column and row in one view's maps, whether it sees the points, and whether it contributes.

    Rounded as in the plain operations: how a point on the border is rounded decides whether it is seen.
    """
    across, aside, down, above = matrix[3]
    most_x, most_y = np.float32(w - 1), np.float32(h - 1)
    unit_x, unit_y = TWO / max(most_x, ONE), TWO / max(most_y, ONE)
    for i in range(block):
        z = _row(matrix[2], points[first + i])
        z = LEAST if (z >= ZERO) & (z < LEAST) else z
        u = _row(matrix[0], points[first + i]) / z * across + aside
        v = _row(matrix[1], points[first + i]) / z * down + above
        if integer:
            seen[i] = (abs(u * unit_x - ONE) <= ONE) & (abs(v * unit_y - ONE) <= ONE) & (z > ZERO)
        else:
            seen[i] = (u >= -HALF) & (u <= most_x + HALF) & (v >= -HALF) & (v <= most_y + HALF) & (z > ZERO)
        if leaking:
            inside[i] = (u > -ONE) & (u < most_x + ONE) & (v > -ONE) & (v < most_y + ONE)
            x[i], y[i] = u, v
        else:
            inside[i] = seen[i]
            x[i], y[i] = min(max(u, ZERO), most_x), min(max(v, ZERO), most_y)


@compiled(freedom=("contract",))
def _row(row: Array, point: Array) -> np.float32:
    """A row (4) of a matrix times a point (3), each product joined to the sum before it."""
    return (row[2] * point[2] + (row[1] * point[1] + row[0] * point[0])) + row[3]


@compiled()
def _corners(x: np.float32, y: np.float32, h: int, w: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Numbers of the four pixels around (x, y), line by line; their bilinear shares, none for one beyond the border."""
    left, top = np.int64(np.floor(x)), np.int64(np.floor(y))
    a, b = x - np.float32(left), y - np.float32(top)
    of_left, of_right = (ONE - a if left >= 0 else ZERO), (a if left < w - 1 else ZERO)
    of_top, of_bottom = (ONE - b if top >= 0 else ZERO), (b if top < h - 1 else ZERO)
    right, bottom = min(left + 1, w - 1), min(top + 1, h - 1) * w
    left, top = max(left, 0), max(top, 0) * w
    at = (np.uint64(top + left), np.uint64(top + right), np.uint64(bottom + left), np.uint64(bottom + right))
    return at, (of_top * of_left, of_top * of_right, of_bottom * of_left, of_bottom * of_right)
