"""16 channels of every view to variance and mean at every voxel that two views or more see."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def project(points: Tensor, projections: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Points (p, 3) in views (n, 3, 4): positions for `grid_sample` (n, p, 2), and whether they are seen (n, p)."""
    views = len(projections)
    homogeneous = torch.cat([points, torch.ones_like(points[:, :1])], 1).T.repeat(views, 1, 1)
    image = projections @ homogeneous
    depth = image[:, 2]
    depth = torch.where(depth >= 0, depth.clamp_min(1e-6), depth)
    x = 2 * (image[:, 0] / depth) / (size[1] - 1) - 1
    y = 2 * (image[:, 1] / depth) / (size[0] - 1) - 1
    grid = torch.stack([x, y], -1)
    return grid, (grid.abs() <= 1).all(-1) & (depth > 0)


def voxels(resolution: int) -> Tensor:
    """Positions (n^3, 3) at a pitch with the eight decimals of the released configuration, the last axis fastest."""
    axis = torch.arange(resolution, dtype=torch.float32) * round(2 / (resolution - 1), 8) - 1
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)


def visible_voxels(points: Tensor, projections: Tensor, size: tuple[int, int]) -> Tensor:
    """Which of points (p, 3) are seen by more than min(1, n - 1) views."""
    _, seen = project(points, projections, size)
    return seen.float().sum(0) > min(1, len(projections) - 1)


def cost_rows(features: Tensor, points: Tensor, projections: Tensor, size: tuple[int, int]) -> Tensor:
    """Features (n, c, h, w) at points (p, 3): (p, 2 c), variance before mean over the views."""
    views, channels = features.shape[:2]
    grid, seen = project(points, projections, size)
    sampled = F.grid_sample(
        features, grid[:, None], mode="bilinear", padding_mode="zeros", align_corners=True
    )
    sampled = sampled.view(views, channels, -1).permute(2, 0, 1).contiguous()
    every = torch.zeros(1, len(points), views, channels, device=points.device)
    count = torch.zeros(1, len(points), views, device=points.device)
    every[0] = sampled
    count[0] = seen.T.contiguous()
    divisor = count[0].sum(1, keepdim=True) + 1e-5
    mean = every[0].sum(1) / divisor
    variance = (every[0] ** 2).sum(1) / divisor - mean**2
    return torch.cat([variance, mean], 1)
