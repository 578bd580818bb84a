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
    table: Tensor,
    points: Tensor,
    matrices: Tensor,
    normals: Tensor | None,
    centres: Tensor,
    integer: bool,
    leaking: bool,
    signed: bool,
    fewest: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Variance and mean (p, s 2 c), counts (p) and totals (p, s), as `cost_volume.plain_lift` has them. float32."""
    sides = 1 if normals is None else 2
    rows = table.new_empty(len(points), sides * 2 * table.shape[-1])
    counts, totals = torch.empty(len(points), dtype=torch.int64), table.new_empty(len(points), sides)
    given = *_arrays(table, points, matrices, normals, centres), integer, leaking, signed, fewest
    made = rows.numpy(), counts.numpy(), totals.numpy()
    share_out(len(points), lambda start, stop: _forward(*given, start, stop, *made))
    return rows, counts, totals


def lift_backward(
    upstream: Tensor,
    table: Tensor,
    points: Tensor,
    matrices: Tensor,
    normals: Tensor | None,
    centres: Tensor,
    integer: bool,
    leaking: bool,
) -> Tensor:
    """Gradient (v, h, w, c), from that of the sums of squares and of values, (p, s 2 c). float32."""
    result = torch.zeros_like(table)
    given = as_array(upstream), *_arrays(table, points, matrices, normals, centres), integer, leaking
    made = result.numpy()
    share_out(len(table), lambda start, stop: _backward(*given, start, stop, made))
    return result


def _arrays(
    table: Tensor, points: Tensor, matrices: Tensor, normals: Tensor | None, centres: Tensor
) -> tuple[Array, Array, Array, Array, Array]:
    normals = points.new_empty(0, 3) if normals is None else normals
    return (
        as_array(table),
        as_array(points),
        as_array(matrices),
        as_array(normals),
        as_array(centres),
    )


@compiled()
def _forward(
    table: Array,
    points: Array,
    matrices: Array,
    normals: Array,
    centres: Array,
    integer: bool,
    leaking: bool,
    signed: bool,
    fewest: int,
    start: int,
    stop: int,
    rows: Array,
    counts: Array,
    totals: Array,
) -> None:
    """Fill in start to stop of `rows`, `counts` and `totals`."""
    v, h, w, c = table.shape
    pixels = table.reshape(v, h * w, c)
    sides = totals.shape[1]
    sums, squares = np.empty((2, BLOCK * sides * c), np.float32)
    x, y = np.empty((2, BLOCK), np.float32)
    seen, inside = np.empty((2, BLOCK), np.bool_)
    count = np.empty(BLOCK, np.int64)
    for first in range(start, stop, BLOCK):
        block = min(BLOCK, stop - first)
        sums[:] = ZERO
        squares[:] = ZERO
        count[:] = 0
        totals[first : first + block] = ZERO
        for view in range(v):
            maps = pixels[view]
            _project(points, first, block, matrices[view], h, w, integer, leaking, x, y, seen, inside)
            for i in range(block):
                count[i] += seen[i]
                if not inside[i]:
                    continue
                side, share = 0, ONE
                if sides == 2:
                    side, share = _share(points[first + i], normals[first + i], centres[view])
                totals[first + i, side] += share
                at, (of_nw, of_ne, of_sw, of_se) = _corners(x[i], y[i], h, w)
                nw, ne, sw, se = maps[at[0]], maps[at[1]], maps[at[2]], maps[at[3]]
                begin = (i * sides + side) * c
                total, square = sums[begin : begin + c], squares[begin : begin + c]
                for k in range(c):
                    value = of_nw * nw[k] + of_ne * ne[k] + of_sw * sw[k] + of_se * se[k]
                    total[k] += share * value
                    square[k] += share * (value * value)
        for i in range(block):
            counts[first + i] = count[i]
            held = ONE if count[i] >= fewest else ZERO
            if sides == 1:  # what leaks in is not counted
                totals[first + i, 0] = np.float32(count[i])
            for side in range(sides):
                many, begin = totals[first + i, side], (i * sides + side) * c
                each = held / (many + np.float32(1e-5) if signed else (many if many > ZERO else ONE))
                row = rows[first + i, 2 * side * c : 2 * (side + 1) * c]
                for k in range(c):
                    mean = sums[begin + k] * each
                    variance = squares[begin + k] * each - mean * mean
                    row[c + k] = mean
                    row[k] = variance if signed else max(variance, ZERO)


@compiled()
def _backward(
    upstream: Array,
    table: Array,
    points: Array,
    matrices: Array,
    normals: Array,
    centres: Array,
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
                side, share = 0, ONE
                if len(normals):
                    side, share = _share(points[first + i], normals[first + i], centres[view])
                begin = 2 * side * c
                of_square, of_value = upstream[first + i, begin:], upstream[first + i, begin + c :]
                for k in range(c):
                    value = of_nw * nw[k] + of_ne * ne[k] + of_sw * sw[k] + of_se * se[k]
                    gradient = share * (of_value[k] + TWO * value * of_square[k])
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


@compiled()
def _share(point: Array, normal: Array, centre: Array) -> tuple[int, np.float32]:
    """Whether a camera lies before (0) or behind (1) the point, and how much it counts there."""
    x, y, z = centre[0] - point[0], centre[1] - point[1], centre[2] - point[2]
    along = x * normal[0] + y * normal[1] + z * normal[2]
    cosine = along / max(np.sqrt(x * x + y * y + z * z), LEAST)
    return (1, -cosine) if cosine < ZERO else (0, cosine)


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
