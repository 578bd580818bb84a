"""Colours of points from what every view shows there, 193 channels for every pair of point and view."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def look(
    points: Tensor, images: Tensor, maps: Tensor, projections: Tensor, volume: Tensor, active: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Points (p, 3) in views of images (n, 3, h, w) and maps (n, 56, h, w): shape features (p, 16), samples
    (p, n, 59), and which views count (p, n)."""
    height, width = images.shape[-2:]
    grid5 = points.flip(-1)[None, :, None, None]
    geometry = F.grid_sample(volume[None], grid5, padding_mode="zeros", align_corners=True)[0, :, :, 0, 0].T
    held = (
        F.grid_sample(active.float()[None, None], grid5, padding_mode="zeros", align_corners=True).flatten()
        > 0
    )
    held = held & (points.abs() < 1).all(-1)
    homogeneous = torch.cat([points, torch.ones_like(points[:, :1])], 1).T.repeat(len(images), 1, 1)
    image = projections @ homogeneous
    depth = image[:, 2].clamp_min(1e-3)
    x = 2 * (image[:, 0] / depth) / (width - 1) - 1
    y = 2 * (image[:, 1] / depth) / (height - 1) - 1
    grid = torch.stack([x, y], -1)
    grid = torch.where(grid.abs() > 1, torch.full_like(grid, 2.0), grid)
    seen = (grid.abs() < 1).all(-1)
    rgb = F.grid_sample(images, grid[:, None], padding_mode="zeros", align_corners=True)[:, :, 0]
    features = F.grid_sample(maps, grid[:, None], padding_mode="zeros", align_corners=True)[:, :, 0]
    samples = torch.cat([rgb, features], 1).permute(2, 0, 1).contiguous()
    return geometry, samples, seen.T.contiguous() & held[:, None]


def directions(query: Tensor, points: Tensor, centres: Tensor) -> Tensor:
    """(p, n, 4): unit(q - s) and q . s for query directions (p, 3) and source directions s from points to centres."""
    source = centres[None] - points[:, None]
    source = source / (source.norm(dim=-1, keepdim=True) + 1e-6)
    difference = query[:, None] - source
    length = difference.norm(dim=-1, keepdim=True)
    dot = (query[:, None] * source).sum(-1, keepdim=True)
    return torch.cat([difference / length.clamp_min(1e-6), dot], -1)


class Blending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        elu = nn.ELU()
        self.sharpness = nn.Parameter(torch.tensor(0.2))
        self.direction = nn.Sequential(nn.Linear(4, 16), elu, nn.Linear(16, 59), elu)
        self.base = nn.Sequential(nn.Linear(193, 64), elu, nn.Linear(64, 32), elu)
        self.visibility = nn.Sequential(nn.Linear(32, 32), elu, nn.Linear(32, 33), elu)
        self.visibility2 = nn.Sequential(nn.Linear(32, 32), elu, nn.Linear(32, 1), nn.Sigmoid())
        self.logit = nn.Sequential(nn.Linear(37, 16), elu, nn.Linear(16, 8), elu, nn.Linear(8, 1))

    def forward(self, geometry: Tensor, samples: Tensor, towards: Tensor, seen: Tensor) -> Tensor:
        """Colours (p, 3) from shape features (p, 16), samples (p, n, 59), directions (p, n, 4) and seen (p, n)."""
        mask = seen.float()[..., None]
        rgb = samples[..., :3]
        features = samples + self.direction(towards)
        weight = torch.exp(self.sharpness.abs() * (towards[..., 3:] - 1))
        weight = (weight - weight.amin(1, keepdim=True)) * mask
        weight = weight / (weight.sum(1, keepdim=True) + 1e-8)
        mean = (features * weight).sum(1, keepdim=True)
        variance = (weight * (features - mean) ** 2).sum(1, keepdim=True)
        of_point = torch.cat([geometry[:, None], mean, variance], -1).expand(-1, samples.shape[1], -1)
        x = self.base(torch.cat([of_point, features], -1))
        residual, opinion = self.visibility(x * weight).split([32, 1], -1)
        visible = torch.sigmoid(opinion) * mask
        x = x + residual
        visible = self.visibility2(x * visible) * mask
        logits = self.logit(torch.cat([x, visible, towards], -1)).masked_fill(mask == 0, -1e9)
        return (torch.softmax(logits, 1) * rgb).sum(1)
