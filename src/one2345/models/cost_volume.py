"""Lifting: 2D features of many views to the mean and variance at every voxel, streamed over the views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

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
    # Beyond the outermost pixel centres the border value holds.
    total, squares = sum_of_samples(features, grid, seen, Sampling())
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


@dataclass(frozen=True)
class Sampling:
    """How `grid_sample` reads a map: its padding mode and whether +-1 are the centres of the outermost pixels."""

    padding: Literal["zeros", "border"] = "border"
    align_corners: bool = False

    def read(self, maps: Tensor, grid: Tensor) -> Tensor:
        """Bilinear samples (c, p) of maps (c, h, w) at grid (p, 2)."""
        sampled = torch.nn.functional.grid_sample(
            maps[None],
            grid[None, None],
            mode="bilinear",
            padding_mode=self.padding,
            align_corners=self.align_corners,
        )
        return sampled[0, :, 0]

    def gradient(self, upstream: Tensor, maps: Tensor, grid: Tensor) -> Tensor:
        """Gradient (c, h, w) of `read` with respect to the maps, from that of its samples (c, p)."""
        return torch.ops.aten.grid_sampler_2d_backward(
            upstream[None, :, None],
            maps[None],
            grid[None, None],
            0,
            0 if self.padding == "zeros" else 1,
            self.align_corners,
            [True, False],
        )[0][0]


def sum_of_samples(
    features: Tensor, grid: Tensor, seen: Tensor | None, sampling: Sampling
) -> tuple[Tensor, Tensor]:
    """Sum and sum of squares (c, p) over the views of samples of features (v, c, h, w) at grid (v, p, 2).

    seen: (v, p) bool, the samples that count; None: all. Only one view's samples exist at a time, forward and backward.
    """
    return _SumOfSamples.apply(features, grid, seen, sampling)


class _SumOfSamples(torch.autograd.Function):
    """The backward pass samples again."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, grid: Tensor, seen: Tensor | None, sampling: Sampling
    ) -> tuple[Tensor, Tensor]:
        total = features.new_zeros(features.shape[1], grid.shape[1])
        squares = torch.zeros_like(total)
        for view in range(len(features)):
            sample = sampling.read(features[view], grid[view])
            if seen is not None:
                sample *= seen[view]
            total += sample
            squares.addcmul_(sample, sample)
        ctx.save_for_backward(features, grid, seen)
        ctx.sampling = sampling
        return total, squares

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        features, grid, seen = ctx.saved_tensors
        grad_total, grad_squares = gradients
        result = torch.empty_like(features)
        for view in range(len(features)):
            sample = ctx.sampling.read(features[view], grid[view])
            upstream = torch.addcmul(grad_total, sample, grad_squares, value=2)
            if seen is not None:
                upstream *= seen[view]
            result[view] = ctx.sampling.gradient(upstream, features[view], grid[view])
        return result, None, None, None
