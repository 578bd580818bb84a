"""Lifting: 2D features of many views to their mean and variance at every voxel.

No (views x voxels x channels) tensor exists, forward or backward. Voxels are taken in pieces that fit a cache, all
views of a piece at once; only what lies inside a view is sampled, one row of memory per pixel. The backward pass works
the positions out again and adds up, pixel by pixel and view by view, what the voxels send back. In single precision
compiled loops do the same on a CPU, and on a CUDA device Triton's kernels, where Triton is installed.

Views from opposite sides see different surfaces and never agree. Where a normal tells which side of a voxel is which,
the views before it and those behind it have a mean and a variance each.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry import Cameras, in_frame, project

PAIRS = 2**19
"""Positions, voxels times views, that are worked out at once."""


def lift(features: Tensor, points_world: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance over the views that see each point.

    features: (v, c, h, w), at any resolution. points_world: (p, 3). cameras: (v).
    Returns mean (c, p), variance (c, p) and the number of views that see the point, (p). A view in which
    a point lies behind the camera or outside the image contributes nothing; a point that no view
    sees has mean and variance 0. Beyond the outermost pixel centres the border value holds.
    """
    rows, count = lift_rows(features, points_world, cameras, Lifting())
    variance, mean = rows.T.split(features.shape[1])
    return mean, variance, count


@dataclass(frozen=True)
class Lifting:
    """What counts as seen, and what is made of it.

    integer_pixels: image position u lies in the middle of pixel u, not on its border.
    leaking: positions outside the image and behind the camera contribute, by up to a pixel beyond the border, where
    the maps fade to zero; they are not in the counts.
    signed_variance: the variance is not clamped at 0, and the counts that sums are divided by get 1e-5 added.
    fewest: points that fewer views see get zeros.
    """

    integer_pixels: bool = False
    leaking: bool = False
    signed_variance: bool = False
    fewest: int = 1

    def matrices(self, cameras: Cameras, size: tuple[int, int]) -> Tensor:
        """(v, 4, 4): from points to (u z, v z, z) of the images in three rows; in the last, (scale and shift of u,
        scale and shift of v) to columns and rows of maps of that height and width, pixel centres at integers.

        The projection is kept as it is: a point beside a camera's plane is thrown far by how it is rounded.
        """
        shrink, shift = (1, 0.0) if self.integer_pixels else (0, -0.5)
        (h, w), (height, width) = size, cameras.size
        scales = (w - shrink) / max(1, width - shrink), (h - shrink) / max(1, height - shrink)
        image = cameras.projections
        to_map = image.new_tensor([scales[0], shift, scales[1], shift])
        return torch.cat([image, to_map.expand(len(image), 1, 4)], 1)


def lift_rows(
    features: Tensor, points: Tensor, cameras: Cameras, rules: Lifting, *, normals: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Variance and mean (p, 2 c), in this order, of features (v, c, h, w) at points (p, 3), and the counts (p).

    cameras: (v), in the frame of the points, with images of which the maps are a smaller or larger version.
    normals: (p, 3) of length 1, or none. With them the result is (p, 4 c): variance and mean over the views that lie
    before the point, then over those behind it, each view counting by the cosine of its direction to the normal's.
    Nothing flows back to them; where no view is on a side, its numbers are 0.
    """
    height, width = features.shape[-2:]
    if features.dtype in (torch.float16, torch.bfloat16):
        features = features.float()
    matrices = rules.matrices(cameras, (height, width)).to(features)
    rows, counts, _ = torch.ops.one2345.lift(
        features.permute(0, 2, 3, 1).contiguous(), points.to(features), matrices,
        None if normals is None else normals.detach().to(features), cameras.centres.to(features),
        rules.integer_pixels, rules.leaking, rules.signed_variance, rules.fewest,
    )  # fmt: skip
    return rows, counts


def plain_lift(
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
    """Variance and mean (p, s 2 c) of maps (v, h, w, c) at points (p, 3) with matrices (v, 4, 4), counts (p), and what
    the views' shares come to, (p, s).

    s is 2 with normals (p, 3), for the two sides of them on which the cameras' centres (v, 3) lie, otherwise 1.
    """
    v, h, w, c = table.shape
    pixels = table.view(-1, c)
    sides = 1 if normals is None else 2
    rows = table.new_empty(len(points), sides * 2 * c)
    counts = torch.empty(len(points), dtype=torch.int64, device=table.device)
    totals = table.new_empty(len(points), sides)
    step = max(1, PAIRS // v)
    for start in range(0, len(points), step):
        piece = slice(start, start + step)
        x, y, seen, inside = _project(points[piece], matrices, (h, w), integer, leaking)
        count = seen.sum(1)
        pair = inside.flatten().nonzero()[:, 0]
        first = (pair % v).to(torch.int32) * (h * w)
        at, weights = _corners(x.flatten()[pair], y.flatten()[pair], first, (h, w))
        sampled = F.embedding_bag(at, pixels, per_sample_weights=weights, mode="sum")
        begins = F.pad(inside.sum(1).cumsum(0)[:-1], (1, 0))
        each = torch.arange(len(pair), device=table.device)
        squares = sampled.square()
        sums = rows[piece].view(-1, sides, 2, c)
        shares = None if normals is None else _shares(points[piece], normals[piece], centres)
        for side in range(sides):
            share, total = None, count.to(table)
            if shares is not None:
                share, total = shares[side].flatten()[pair], (shares[side] * inside).sum(1)
            sums[:, side, 1] = F.embedding_bag(each, sampled, begins, per_sample_weights=share, mode="sum")
            sums[:, side, 0] = F.embedding_bag(each, squares, begins, per_sample_weights=share, mode="sum")
            totals[piece, side] = total
        sums /= _divisor(totals[piece], signed)
        sums[:, :, 0].addcmul_(sums[:, :, 1], sums[:, :, 1], value=-1)
        if not signed:
            sums[:, :, 0].clamp_min_(0)
        sums.masked_fill_((count < fewest)[:, None, None, None], 0)
        counts[piece] = count
    return rows, counts, totals


def plain_lift_backward(
    upstream: Tensor,
    table: Tensor,
    points: Tensor,
    matrices: Tensor,
    normals: Tensor | None,
    centres: Tensor,
    integer: bool,
    leaking: bool,
) -> Tensor:
    """Gradient of the maps (v, h, w, c), from those of the sums of squares and of the values, (p, s 2 c)."""
    v, h, w, c = table.shape
    sides = 1 if normals is None else 2
    result = torch.empty_like(table)
    ends = torch.arange(h * w, device=table.device, dtype=torch.int32)
    for view in range(v):
        x, y, _, inside = _project(points, matrices[view : view + 1], (h, w), integer, leaking)
        point = inside[:, 0].nonzero()[:, 0]
        at, weights = _corners(x[:, 0][point], y[:, 0][point], 0, (h, w))
        sent = table.new_empty(len(point), c)
        for start in range(0, len(point), PAIRS // 32):
            part = slice(start, start + PAIRS // 32)
            sampled = F.embedding_bag(
                at[part], table[view].view(-1, c), per_sample_weights=weights[part], mode="sum"
            )
            of_each = upstream.index_select(0, point[part]).view(-1, sides, 2, c)
            if normals is not None:
                shares = _shares(points[point[part]], normals[point[part]], centres[view : view + 1])
                of_each = of_each * shares.permute(1, 0, 2)[..., None]
            of_square, of_value = of_each.sum(1).unbind(1)
            torch.addcmul(of_value, sampled, of_square, value=2, out=sent[part])
        # What arrives at a pixel, side by side: four entries per sample, of which each has its weight.
        pixel, order = at.flatten().sort(stable=True)
        result[view] = F.embedding_bag(
            order // 4,
            sent,
            torch.searchsorted(pixel, ends),
            per_sample_weights=weights.flatten()[order],
            mode="sum",
        ).view(h, w, c)
    return result


# As operators of their own, so that torch.compile need not look inside: how much is sampled depends on the cameras.
_lift = torch.library.custom_op("one2345::lift", plain_lift, mutates_args=())
_lift_backward = torch.library.custom_op("one2345::lift_backward", plain_lift_backward, mutates_args=())


@_lift.register_kernel("cpu")
def _(table: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    from . import lift_loops

    return (lift_loops.lift if table.dtype == torch.float32 else plain_lift)(table, *arguments)


@_lift_backward.register_kernel("cpu")
def _(upstream: Tensor, table: Tensor, *arguments: Any) -> Tensor:
    from . import lift_loops

    return (lift_loops.lift_backward if table.dtype == torch.float32 else plain_lift_backward)(
        upstream, table, *arguments
    )


@_lift.register_kernel("cuda")
def _(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    kernels = _kernels()
    return plain_lift(*arguments) if kernels is None else kernels.lift(*arguments)


@_lift_backward.register_kernel("cuda")
def _(*arguments: Any) -> Tensor:
    kernels = _kernels()
    return plain_lift_backward(*arguments) if kernels is None else kernels.lift_backward(*arguments)


def _kernels() -> Any:
    """The kernels' module, or None without Triton."""
    return import_module("one2345.models.triton.lifting") if find_spec("triton") else None


@_lift.register_fake
def _(
    table: Tensor, points: Tensor, matrices: Tensor, normals: Tensor | None, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    p, sides = len(points), 1 if normals is None else 2
    counts = torch.empty(p, dtype=torch.int64, device=table.device)
    return table.new_empty(p, sides * 2 * table.shape[-1]), counts, table.new_empty(p, sides)


@_lift_backward.register_fake
def _(upstream: Tensor, table: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(table)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    table, points, matrices, normals, centres, ctx.integer, ctx.leaking, ctx.signed, ctx.fewest = inputs
    ctx.save_for_backward(table, points, matrices, normals, centres, *output)
    ctx.mark_non_differentiable(*output[1:])


def _gradients(ctx: Any, of_rows: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    table, points, matrices, normals, centres, rows, count, totals = ctx.saved_tensors
    shape = (len(points), totals.shape[1], 2, table.shape[-1])
    scaled, rows = of_rows.reshape(shape) / _divisor(totals, ctx.signed), rows.view(shape)
    scaled = torch.where((count >= ctx.fewest)[:, None, None, None], scaled, torch.zeros_like(scaled))
    if not ctx.signed:
        scaled[:, :, 0] *= rows[:, :, 0] > 0
    scaled[:, :, 1].addcmul_(scaled[:, :, 0], rows[:, :, 1], value=-2)
    result = torch.ops.one2345.lift_backward(
        scaled.view(of_rows.shape), table, points, matrices, normals, centres, ctx.integer, ctx.leaking
    )
    return result, None, None, None, None, None, None, None, None


_lift.register_autograd(_gradients, setup_context=_save)


def _divisor(totals: Tensor, signed: bool) -> Tensor:
    """(p, s, 1, 1) of totals (p, s)."""
    safe = totals + 1e-5 if signed else torch.where(totals > 0, totals, torch.ones_like(totals))
    return safe[..., None, None]


def _shares(points: Tensor, normals: Tensor, centres: Tensor) -> Tensor:
    """How much each camera (v, 3) counts before and behind points (p, 3) with normals: (2, p, v)."""
    x, y, z = ((centres[:, i] - points[:, i, None]) for i in range(3))
    along = x * normals[:, :1] + y * normals[:, 1:2] + z * normals[:, 2:]
    cosine = along / (x * x + y * y + z * z).sqrt_().clamp_min_(1e-6)
    return torch.stack([cosine, -cosine]).clamp_min_(0)


def _project(
    points: Tensor, matrices: Tensor, size: tuple[int, int], integer: bool, leaking: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Column and row (p, v) in the maps, whether the view sees the point, and whether it contributes (p, v)."""
    h, w = size
    x, y, z = ((points @ matrices[:, i, :3].T).add_(matrices[:, i, 3]) for i in range(3))
    # What lies behind a camera is projected through it; in its plane, somewhere outside.
    z = z.masked_fill_((z >= 0) & (z < 1e-6), 1e-6)
    x, y = (
        u.div_(z).mul_(matrices[:, 3, 2 * i]).add_(matrices[:, 3, 2 * i + 1]) for i, u in enumerate((x, y))
    )
    if (
        integer
    ):  # in [-1, 1], as published: which way a point on the border rounds decides whether a voxel exists
        seen = (
            ((x * (2 / max(1, w - 1)) - 1).abs() <= 1) & ((y * (2 / max(1, h - 1)) - 1).abs() <= 1) & (z > 0)
        )
    else:
        seen = (x >= -0.5) & (x <= w - 0.5) & (y >= -0.5) & (y <= h - 0.5) & (z > 0)
    if leaking:
        return x, y, seen, (x > -1) & (x < w) & (y > -1) & (y < h)
    return x.clamp_(0, w - 1), y.clamp_(0, h - 1), seen, seen


def _corners(x: Tensor, y: Tensor, first: Tensor | int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Rows (m, 4) of the table around column x and row y (m), from row `first` on, and their bilinear weights."""
    h, w = size
    left, top = x.floor(), y.floor()
    right_share, bottom_share = x - left, y - top
    left_share, top_share = (1 - right_share).mul_(left >= 0), (1 - bottom_share).mul_(top >= 0)
    right_share.mul_(left < w - 1)
    bottom_share.mul_(top < h - 1)
    left, top = left.to(torch.int32), top.to(torch.int32)
    right, bottom = (left + 1).clamp_max_(w - 1), (top + 1).clamp_max_(h - 1).mul_(w).add_(first)
    left.clamp_min_(0)
    top.clamp_min_(0).mul_(w).add_(first)
    at, shares = torch.empty(len(x), 4, dtype=torch.int32, device=x.device), x.new_empty(len(x), 4)
    for corner, (row, row_share, column, column_share) in enumerate(
        (row, row_share, column, column_share)
        for row, row_share in ((top, top_share), (bottom, bottom_share))
        for column, column_share in ((left, left_share), (right, right_share))
    ):
        torch.add(row, column, out=at[:, corner])
        torch.mul(row_share, column_share, out=shares[:, corner])
    return at, shares


def sampling_grid(points_world: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Positions (v, p, 2) in [-1, 1] for `grid_sample` (align_corners=False) and whether they are seen (v, p)."""
    height, width = cameras.size
    pixels, depth = project(points_world.expand(len(cameras), -1, -1), cameras)
    seen = in_frame(pixels, depth, cameras.size)
    grid = pixels * pixels.new_tensor([2 / width, 2 / height]) - 1
    return torch.where(seen[..., None], grid, torch.full_like(grid, -4.0)), seen


@dataclass(frozen=True)
class Sampling:
    """How `grid_sample` reads a map: its padding mode and whether +-1 are the centres of the outermost pixels."""

    padding: Literal["zeros", "border"] = "border"
    align_corners: bool = False

    def read(self, maps: Tensor, grid: Tensor) -> Tensor:
        """Bilinear samples (c, p) of maps (c, h, w) at grid (p, 2)."""
        sampled = F.grid_sample(
            maps[None],
            grid[None, None],
            mode="bilinear",
            padding_mode=self.padding,
            align_corners=self.align_corners,
        )
        return sampled[0, :, 0]
