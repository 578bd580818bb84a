"""Signed distance and its gradient from the volume, by a lookup that is written out and an MLP of three layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

OCTAVES = 6


def trilinear(volume: Tensor, points: Tensor) -> Tensor:
    """Volume (c, n, n, n) at points (p, 3): (p, c). Zero unless 0 < index < n on every axis; made of operations that
    can be differentiated twice."""
    channels, n = volume.shape[:2]
    index = (points + 1) / 2 * (n - 1)
    inside = ((index > 0) & (index < n)).all(-1)
    index = index.clamp(0, n - 1)
    low = index.detach().floor().clamp_max(n - 2)
    x1, y1, z1 = (index - low).unbind(-1)
    x0, y0, z0 = 1 - x1, 1 - y1, 1 - z1
    i, j, k = low.long().unbind(-1)
    flat = volume.reshape(channels, -1)

    def corner(dx: int, dy: int, dz: int) -> Tensor:
        place = (i + dx) * n**2 + (j + dy) * n + (k + dz)
        return torch.gather(flat, 1, place.repeat(channels, 1))

    corners = {(a, b, c): corner(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)}
    value = (
        corners[0, 0, 0] * (x0 * y0 * z0).view(1, -1)
        + corners[0, 0, 1] * (x0 * y0 * z1).view(1, -1)
        + corners[0, 1, 0] * (x0 * y1 * z0).view(1, -1)
        + corners[0, 1, 1] * (x0 * y1 * z1).view(1, -1)
        + corners[1, 0, 0] * (x1 * y0 * z0).view(1, -1)
        + corners[1, 0, 1] * (x1 * y0 * z1).view(1, -1)
        + corners[1, 1, 0] * (x1 * y1 * z0).view(1, -1)
        + corners[1, 1, 1] * (x1 * y1 * z1).view(1, -1)
    )
    return (value * inside.to(value).view(1, -1)).T


class SdfMlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer0 = weight_norm(nn.Linear(3 + 6 * OCTAVES, 128))
        self.layer1 = weight_norm(nn.Linear(128 + 16, 128))
        self.layer2 = weight_norm(nn.Linear(128 + 16, 128))

    def forward(self, points: Tensor, volume: Tensor) -> tuple[Tensor, Tensor]:
        """Distance (p, 1) and features (p, 127) of points (p, 3)."""
        latent = trilinear(volume, points)
        encoded = [points]
        for octave in range(OCTAVES):
            encoded += [torch.sin(points * 2**octave), torch.cos(points * 2**octave)]
        x = F.softplus(self.layer0(torch.cat(encoded, -1)), beta=100)
        x = F.softplus(self.layer1(torch.cat([x, latent], -1)), beta=100)
        x = self.layer2(torch.cat([x, latent], -1))
        return x[:, :1], x[:, 1:]

    def gradient(self, points: Tensor, volume: Tensor) -> Tensor:
        """The distance's gradient (p, 3), which can be differentiated again."""
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            distance = self(points, volume)[0]
            return torch.autograd.grad(
                distance, points, torch.ones_like(distance), create_graph=True, retain_graph=True
            )[0]


def nearest_active(active: Tensor, points: Tensor) -> Tensor:
    """Whether the nearest voxel of points (p, 3) is active (p), were voxels the cells of the cube."""
    grid = points.flip(-1)[None, :, None, None]
    volume = active.float()[None, None]
    return (
        F.grid_sample(volume, grid, mode="nearest", padding_mode="zeros", align_corners=False).flatten() > 0
    )
