"""Rays through pixels: origins and unit directions in the world, so that t is a distance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .cameras import Cameras


@dataclass(frozen=True)
class Rays:
    """origins, directions: (..., 3) in the world; directions have unit length."""

    origins: Tensor
    directions: Tensor

    def at(self, t: Tensor) -> Tensor:
        """Points (..., 3) at distance t (...)."""
        return self.origins + t[..., None] * self.directions


def pixel_rays(cameras: Cameras, pixels: Tensor) -> Rays:
    """Rays (..., r, 3) of cameras (...) through pixel positions (..., r, 2) as (u, v), pixel centres at +0.5."""
    pixels = pixels.to(cameras.K)
    homogeneous = torch.cat([pixels, torch.ones_like(pixels[..., :1])], -1)
    camera_space = homogeneous @ torch.linalg.inv(cameras.K).mT
    directions = torch.nn.functional.normalize(camera_space @ cameras.c2w[..., :3, :3].mT, dim=-1)
    return Rays(origins=cameras.centres[..., None, :].expand_as(directions), directions=directions)


def pixel_centres(size: tuple[int, int], device: torch.device | str | None = None) -> Tensor:
    """(h, w, 2) positions (u, v) of all pixel centres."""
    v, u = torch.meshgrid(
        torch.arange(size[0], device=device) + 0.5, torch.arange(size[1], device=device) + 0.5, indexing="ij"
    )
    return torch.stack([u, v], -1)


def camera_rays(cameras: Cameras) -> Rays:
    """Rays (..., h, w, 3) through every pixel centre of cameras (...)."""
    height, width = cameras.size
    pixels = pixel_centres(cameras.size, cameras.device).reshape(-1, 2).expand(*cameras.shape, -1, 2)
    rays = pixel_rays(cameras, pixels)
    shape = (*cameras.shape, height, width, 3)
    return Rays(origins=rays.origins.reshape(shape), directions=rays.directions.reshape(shape))


def z_per_t(cameras: Cameras, directions: Tensor) -> Tensor:
    """Factor (...) from distance along unit `directions` (*batch, ..., 3) to z-depth: depth = t * z_per_t."""
    forward = cameras.forward
    extra = directions.ndim - forward.ndim
    return (directions * forward.reshape(*forward.shape[:-1], *([1] * extra), 3)).sum(-1)
