"""Lifting as one kernel forward and one backward; what they compute is written out plainly in `models.cost_volume`."""

# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false

from __future__ import annotations

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

POINTS = 64
"""Points of one program; each takes all views in turn, so that sums never leave its registers."""


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
    """Variance and mean (p, s 2 c), counts (p) and totals (p, s), as `cost_volume.plain_lift` has them."""
    v, h, w, c = table.shape
    sides = 1 if normals is None else 2
    rows, totals = table.new_empty(len(points), sides * 2 * c), table.new_empty(len(points), sides)
    counts = torch.empty(len(points), dtype=torch.int64, device=table.device)
    if len(points):
        _forward[(triton.cdiv(len(points), POINTS),)](
            table, *_tensors(points, matrices, normals, centres), rows, counts, totals, len(points), v, h, w, fewest,
            c, triton.next_power_of_2(c), POINTS, integer, leaking, signed, sides,
        )  # fmt: skip
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
    """Gradient (v, h, w, c), from that of the sums of squares and of values, (p, s 2 c)."""
    v, h, w, c = table.shape
    result = torch.zeros_like(table)
    if len(points):
        _backward[(triton.cdiv(len(points), POINTS),)](
            upstream.contiguous(), table, *_tensors(points, matrices, normals, centres), result, len(points), v, h, w,
            c, triton.next_power_of_2(c), POINTS, integer, leaking, 1 if normals is None else 2,
        )  # fmt: skip
    return result


def _tensors(points: Tensor, matrices: Tensor, normals: Tensor | None, centres: Tensor) -> list[Tensor]:
    """In order in memory; with one side the normals are not read."""
    return [x.contiguous() for x in (points, matrices, points if normals is None else normals, centres)]


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
def _cosine(centre, px, py, pz, nx, ny, nz):
    """Of the direction to a camera and the normal, (points)."""
    x, y, z = tl.load(centre) - px, tl.load(centre + 1) - py, tl.load(centre + 2) - pz
    return (x * nx + y * ny + z * nz) / tl.maximum(tl.sqrt(x * x + y * y + z * z), 1e-6)


@triton.jit
def _store_side(
    place, total_place, total, squares, shares, real, enough, channel, C: tl.constexpr, SIGNED: tl.constexpr
):
    """Variance and mean of one side, and what its shares come to."""
    if SIGNED:
        divisor = shares + 1e-5
    else:
        divisor = tl.where(shares > 0, shares, 1.0)
    mean = total / divisor[:, None]
    variance = squares / divisor[:, None] - mean * mean
    if not SIGNED:
        variance = tl.maximum(variance, 0.0)
    written = real[:, None] & (channel < C)[None, :]
    tl.store(place, tl.where(enough, variance, 0.0), mask=written)
    tl.store(place + C, tl.where(enough, mean, 0.0), mask=written)
    tl.store(total_place, shares, mask=real)


@triton.jit
def _forward(
    table, points, matrices, normals, centres, rows, counts, totals, p, v, h, w, fewest,
    C: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
    INTEGER: tl.constexpr, LEAKING: tl.constexpr, SIGNED: tl.constexpr, SIDES: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    real = index < p
    px = tl.load(points + index * 3, mask=real, other=0.0)
    py = tl.load(points + index * 3 + 1, mask=real, other=0.0)
    pz = tl.load(points + index * 3 + 2, mask=real, other=0.0)
    channel = tl.arange(0, WIDTH)
    if SIDES == 2:
        nx = tl.load(normals + index * 3, mask=real, other=0.0)
        ny = tl.load(normals + index * 3 + 1, mask=real, other=0.0)
        nz = tl.load(normals + index * 3 + 2, mask=real, other=0.0)
    total = tl.zeros((BLOCK, WIDTH), table.dtype.element_ty)
    squares = tl.zeros((BLOCK, WIDTH), table.dtype.element_ty)
    shares = tl.zeros((BLOCK,), table.dtype.element_ty)
    total_behind = tl.zeros((BLOCK, WIDTH), table.dtype.element_ty)
    squares_behind = tl.zeros((BLOCK, WIDTH), table.dtype.element_ty)
    shares_behind = tl.zeros((BLOCK,), table.dtype.element_ty)
    count = tl.zeros((BLOCK,), tl.int64)
    for _ in range(v):
        x, y, seen, inside = _project(matrices, px, py, pz, h, w, INTEGER, LEAKING)
        sample = _sample(table, x, y, h, w, inside & real, channel, C)
        if SIDES == 2:
            cosine = tl.where(inside, _cosine(centres, px, py, pz, nx, ny, nz), 0.0)
            before, behind = tl.maximum(cosine, 0.0), tl.maximum(-cosine, 0.0)
            total += before[:, None] * sample
            squares += before[:, None] * (sample * sample)
            shares += before
            total_behind += behind[:, None] * sample
            squares_behind += behind[:, None] * (sample * sample)
            shares_behind += behind
        else:
            total += sample
            squares += sample * sample
        count += seen.to(tl.int64)
        matrices += 16
        centres += 3
        table += h * w * C
    if SIDES == 1:  # what leaks in is not counted
        shares = count.to(total.dtype)
    enough = (count >= fewest)[:, None]
    place = rows + index[:, None].to(tl.int64) * (SIDES * 2 * C) + channel[None, :]
    at = totals + index * SIDES
    _store_side(place, at, total, squares, shares, real, enough, channel, C, SIGNED)
    if SIDES == 2:
        _store_side(
            place + 2 * C, at + 1, total_behind, squares_behind, shares_behind, real, enough, channel, C, SIGNED
        )  # fmt: skip
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
    upstream, table, points, matrices, normals, centres, result, p, v, h, w,
    C: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr, INTEGER: tl.constexpr, LEAKING: tl.constexpr,
    SIDES: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    real = index < p
    px = tl.load(points + index * 3, mask=real, other=0.0)
    py = tl.load(points + index * 3 + 1, mask=real, other=0.0)
    pz = tl.load(points + index * 3 + 2, mask=real, other=0.0)
    channel = tl.arange(0, WIDTH)
    place = upstream + index[:, None].to(tl.int64) * (SIDES * 2 * C) + channel[None, :]
    read = real[:, None] & (channel < C)[None, :]
    of_square = tl.load(place, mask=read, other=0.0)
    of_value = tl.load(place + C, mask=read, other=0.0)
    if SIDES == 2:
        nx = tl.load(normals + index * 3, mask=real, other=0.0)
        ny = tl.load(normals + index * 3 + 1, mask=real, other=0.0)
        nz = tl.load(normals + index * 3 + 2, mask=real, other=0.0)
        of_square_behind = tl.load(place + 2 * C, mask=read, other=0.0)
        of_value_behind = tl.load(place + 3 * C, mask=read, other=0.0)
    for _ in range(v):
        x, y, _, inside = _project(matrices, px, py, pz, h, w, INTEGER, LEAKING)
        inside = inside & real
        sample = _sample(table, x, y, h, w, inside, channel, C)
        sent = of_value + 2 * sample * of_square
        if SIDES == 2:
            cosine = _cosine(centres, px, py, pz, nx, ny, nz)[:, None]
            behind = of_value_behind + 2 * sample * of_square_behind
            sent = tl.maximum(cosine, 0.0) * sent + tl.maximum(-cosine, 0.0) * behind
        _sent(result, sent, x, y, 0, 0, h, w, inside, channel, C)
        _sent(result, sent, x, y, 1, 0, h, w, inside, channel, C)
        _sent(result, sent, x, y, 0, 1, h, w, inside, channel, C)
        _sent(result, sent, x, y, 1, 1, h, w, inside, channel, C)
        matrices += 16
        centres += 3
        table += h * w * C
        result += h * w * C
