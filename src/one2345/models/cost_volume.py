"""Lifting: 2D features of many views to the mean and variance at every voxel, streamed over the views."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..geometry import Cameras, in_frame, project


def lift(features: Tensor, points_world: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance over the views that see each point.

    features: (v, c, h, w), at any resolution. points_world: (p, 3). cameras: (v).
    Returns mean (c, p), variance (c, p) and the number of views that see the point, (p). A view in which
    a point lies behind the camera or outside the image contributes nothing; a point that no view
    sees has mean and variance 0. Only one view's samples exist at a time, forward and backward.
    """
    grid, seen = sampling_grid(points_world, cameras)
    count = seen.sum(0)
    total, squares = _SumOfSamples.apply(features, grid, seen)
    divisor = count.clamp_min(1).to(total)
    mean = total / divisor
    variance = (squares / divisor - mean.square()).clamp_min(0)
    return mean, variance, count


def sampling_grid(points_world: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Positions (v, p, 2) in [-1, 1] for `grid_sample` (align_corners=False) and whether they are seen (v, p)."""
    height, width = cameras.size
    pixels, depth = project(points_world.expand(len(cameras), -1, -1), cameras)
    seen = in_frame(pixels, depth, cameras.size)
    grid = pixels * pixels.new_tensor([2 / width, 2 / height]) - 1
    return torch.where(seen[..., None], grid, torch.full_like(grid, -4.0)), seen


class _SumOfSamples(torch.autograd.Function):
    """Sum and sum of squares over views of bilinear samples; the backward pass samples again."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, grid: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        total = features.new_zeros(features.shape[1], grid.shape[1])
        squares = torch.zeros_like(total)
        for view in range(len(features)):
            sample = _sample(features[view], grid[view]) * seen[view]
            total += sample
            squares.addcmul_(sample, sample)
        ctx.save_for_backward(features, grid, seen)
        return total, squares

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        features, grid, seen = ctx.saved_tensors
        grad_total, grad_squares = gradients
        result = torch.empty_like(features)
        for view in range(len(features)):
            sample = _sample(features[view], grid[view])
            upstream = torch.addcmul(grad_total, sample, grad_squares, value=2) * seen[view]
            result[view], _ = torch.ops.aten.grid_sampler_2d_backward(
                upstream[None, :, None],
                features[view : view + 1],
                grid[view][None, None],
                0,
                1,
                False,
                [True, False],
            )
        return result, None, None


def _sample(maps: Tensor, grid: Tensor) -> Tensor:
    """Bilinear samples (c, p) of maps (c, h, w); beyond the outermost pixel centres the border value holds."""
    sampled = torch.nn.functional.grid_sample(
        maps[None], grid[None, None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[0, :, 0]
