"""Lifting as one kernel forward and one backward; what they compute is written out plainly in `models.cost_volume`."""

# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false, reportArgumentType=false

from __future__ import annotations

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

POINTS = 64
"""Points of one program; each takes all views in turn, so that sums never leave its registers."""


def lift(
    table: Tensor, points: Tensor, matrices: Tensor, integer: bool, leaking: bool, signed: bool, fewest: int
) -> tuple[Tensor, Tensor]:
    """Variance and mean (p, 2 c) of maps (v, h, w, c) at points (p, 3), and how many views see each (p)."""
    v, h, w, c = table.shape
    rows = table.new_empty(len(points), 2 * c)
    counts = torch.empty(len(points), dtype=torch.int64, device=table.device)
    if len(points):
        _forward[(triton.cdiv(len(points), POINTS),)](
            table, points.contiguous(), matrices.contiguous(), rows, counts, len(points), v, h, w, fewest,
            c, triton.next_power_of_2(c), POINTS, integer, leaking, signed,
        )  # fmt: skip
    return rows, counts


def lift_backward(
    upstream: Tensor, table: Tensor, points: Tensor, matrices: Tensor, integer: bool, leaking: bool
) -> Tensor:
    """Gradient (v, h, w, c), from that of the sums of squares and of values, (p, 2 c)."""
    v, h, w, c = table.shape
    result = torch.zeros_like(table)
    if len(points):
        _backward[(triton.cdiv(len(points), POINTS),)](
            upstream.contiguous(), table, points.contiguous(), matrices.contiguous(), result, len(points), v, h, w,
            c, triton.next_power_of_2(c), POINTS, integer, leaking,
        )  # fmt: skip
    return result


@triton.jit
def _project(matrix, px, py, pz, h, w, INTEGER: tl.constexpr, LEAKING: tl.constexpr):
    """Column and row in one view's maps, whether it sees the points, and whether it contributes."""
    x = tl.load(matrix) * px + tl.load(matrix + 1) * py + tl.load(matrix + 2) * pz + tl.load(matrix + 3)
    y = tl.load(matrix + 4) * px + tl.load(matrix + 5) * py + tl.load(matrix + 6) * pz + tl.load(matrix + 7)
    z = tl.load(matrix + 8) * px + tl.load(matrix + 9) * py + tl.load(matrix + 10) * pz + tl.load(matrix + 11)
    z = tl.where((z >= 0) & (z < 1e-6), 1e-6, z)
    x = x / z * tl.load(matrix + 12) + tl.load(matrix + 13)
    y = y / z * tl.load(matrix + 14) + tl.load(matrix + 15)
    low = 0.0 if INTEGER else -0.5
    seen = (x >= low) & (x <= w - 1 - low) & (y >= low) & (y <= h - 1 - low) & (z > 0)
    if LEAKING:
        inside = (x > -1) & (x < w) & (y > -1) & (y < h)
    else:
        inside = seen
        x = tl.minimum(tl.maximum(x, 0.0), w - 1.0)
        y = tl.minimum(tl.maximum(y, 0.0), h - 1.0)
    # What does not contribute has any position that can be turned into an integer.
    return tl.where(inside, x, 0.0), tl.where(inside, y, 0.0), seen, inside


@triton.jit
def _corner(x, y, dx: tl.constexpr, dy: tl.constexpr, h, w, inside):
    """Pixel of the corner right (dx) and below (dy) of the position, its weight, and whether it exists and counts."""
    left, top = tl.floor(x), tl.floor(y)
    share_x = x - left if dx else 1 - (x - left)
    share_y = y - top if dy else 1 - (y - top)
    column, row = left.to(tl.int32) + dx, top.to(tl.int32) + dy
    holds = inside & (column >= 0) & (column < w) & (row >= 0) & (row < h)
    return row * w + column, share_x * share_y, holds


@triton.jit
def _taken(view_table, x, y, dx: tl.constexpr, dy: tl.constexpr, h, w, inside, channel, C: tl.constexpr):
    pixel, weight, holds = _corner(x, y, dx, dy, h, w, inside)
    mask = holds[:, None] & (channel < C)[None, :]
    return weight[:, None] * tl.load(view_table + pixel[:, None] * C + channel[None, :], mask=mask, other=0.0)


@triton.jit
def _sample(view_table, x, y, h, w, inside, channel, C: tl.constexpr):
    """Bilinear samples (points, channels), zero where a view doesn't contribute."""
    above = _taken(view_table, x, y, 0, 0, h, w, inside, channel, C) + _taken(
        view_table, x, y, 1, 0, h, w, inside, channel, C
    )
    below = _taken(view_table, x, y, 0, 1, h, w, inside, channel, C) + _taken(
        view_table, x, y, 1, 1, h, w, inside, channel, C
    )
    return above + below


@triton.jit
def _forward(
    table, points, matrices, rows, counts, p, v, h, w, fewest,
    C: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
    INTEGER: tl.constexpr, LEAKING: tl.constexpr, SIGNED: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    real = index < p
    px = tl.load(points + index * 3, mask=real, other=0.0)
    py = tl.load(points + index * 3 + 1, mask=real, other=0.0)
    pz = tl.load(points + index * 3 + 2, mask=real, other=0.0)
    channel = tl.arange(0, WIDTH)
    total = tl.zeros((BLOCK, WIDTH), table.dtype.element_ty)
    squares = tl.zeros((BLOCK, WIDTH), table.dtype.element_ty)
    count = tl.zeros((BLOCK,), tl.int64)
    for _ in range(v):
        x, y, seen, inside = _project(matrices, px, py, pz, h, w, INTEGER, LEAKING)
        sample = _sample(table, x, y, h, w, inside & real, channel, C)
        total += sample
        squares += sample * sample
        count += seen.to(tl.int64)
        matrices += 16
        table += h * w * C
    if SIGNED:
        divisor = count.to(total.dtype) + 1e-5
    else:
        divisor = tl.maximum(count, 1).to(total.dtype)
    mean = total / divisor[:, None]
    variance = squares / divisor[:, None] - mean * mean
    if not SIGNED:
        variance = tl.maximum(variance, 0.0)
    enough = (count >= fewest)[:, None]
    place = rows + index[:, None].to(tl.int64) * (2 * C) + channel[None, :]
    written = real[:, None] & (channel < C)[None, :]
    tl.store(place, tl.where(enough, variance, 0.0), mask=written)
    tl.store(place + C, tl.where(enough, mean, 0.0), mask=written)
    tl.store(counts + index, count, mask=real)


@triton.jit
def _sent(
    view_result, sent, x, y, dx: tl.constexpr, dy: tl.constexpr, h, w, inside, channel, C: tl.constexpr
):
    pixel, weight, holds = _corner(x, y, dx, dy, h, w, inside)
    mask = holds[:, None] & (channel < C)[None, :]
    tl.atomic_add(view_result + pixel[:, None] * C + channel[None, :], weight[:, None] * sent, mask=mask)


@triton.jit
def _backward(
    upstream, table, points, matrices, result, p, v, h, w,
    C: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr, INTEGER: tl.constexpr, LEAKING: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    real = index < p
    px = tl.load(points + index * 3, mask=real, other=0.0)
    py = tl.load(points + index * 3 + 1, mask=real, other=0.0)
    pz = tl.load(points + index * 3 + 2, mask=real, other=0.0)
    channel = tl.arange(0, WIDTH)
    place = upstream + index[:, None].to(tl.int64) * (2 * C) + channel[None, :]
    read = real[:, None] & (channel < C)[None, :]
    of_square = tl.load(place, mask=read, other=0.0)
    of_value = tl.load(place + C, mask=read, other=0.0)
    for _ in range(v):
        x, y, _, inside = _project(matrices, px, py, pz, h, w, INTEGER, LEAKING)
        inside = inside & real
        sample = _sample(table, x, y, h, w, inside, channel, C)
        sent = of_value + 2 * sample * of_square
        _sent(result, sent, x, y, 0, 0, h, w, inside, channel, C)
        _sent(result, sent, x, y, 1, 0, h, w, inside, channel, C)
        _sent(result, sent, x, y, 0, 1, h, w, inside, channel, C)
        _sent(result, sent, x, y, 1, 1, h, w, inside, channel, C)
        matrices += 16
        table += h * w * C
        result += h * w * C
