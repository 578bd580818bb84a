"""Near views of known scenes: points whose matches are exact, and textured balls and shapes that can be drawn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from one2345.geometry import Cameras, camera_rays, orbit_cameras, project
from one2345.views.elevation import NEAR_OFFSETS, Matches, pairs


def near_cameras(
    elevation: float, *, azimuth: float = 0.0, size: int = 256, focal: float | None = None
) -> Cameras:
    return orbit_cameras(
        [azimuth + a for a, _ in NEAR_OFFSETS],
        [elevation + e for _, e in NEAR_OFFSETS],
        size=size,
        focal=focal,
    )


def square_masks(count: int = 4, size: int = 256) -> Tensor:
    """Masks whose outlines are the same in every picture and say the least."""
    return torch.ones(count, size, size)


class ExactMatcher:
    """Projections of random points, in place of pictures: what a perfect matcher would answer."""

    def __init__(
        self,
        elevation: float,
        *,
        count: int = 60,
        size: int = 256,
        focal: float | None = None,
        wrong: float = 0.0,
    ) -> None:
        generator = torch.Generator().manual_seed(3)
        points = (torch.rand(count, 3, generator=generator) - 0.5) * 0.6
        pixels, _ = project(points.expand(4, -1, -1), near_cameras(elevation, size=size, focal=focal))
        self.answer = []
        for a, b in pairs(4):
            second = pixels[b].clone()
            bad = int(wrong * count)
            second[:bad] = torch.rand(bad, 2, generator=generator) * size
            ones = torch.ones(count, dtype=torch.float64)
            self.answer.append(Matches(a, b, pixels[a].double(), second.double(), ones))

    def __call__(self, images: Tensor, masks: Tensor) -> Sequence[Matches]:
        return self.answer


def draw_ball(
    elevation: float, *, size: int = 256, seed: int = 0, plain: bool = False
) -> tuple[Tensor, Tensor]:
    """Near views (4, 3, size, size), (4, size, size) of a ball of radius 0.35 whose colour is a random wave field."""
    cameras = near_cameras(elevation, size=size)
    rays = camera_rays(cameras)
    along = (rays.origins * rays.directions).sum(-1)
    inside = along.square() - rays.origins.square().sum(-1) + 0.35**2
    mask = (inside > 0).float()
    points = rays.at(-along - inside.clamp_min(0).sqrt())
    generator = torch.Generator().manual_seed(seed)
    waves = torch.randn(3, 24, generator=generator) * 18
    phases = torch.rand(24, generator=generator) * 6.3
    mix = torch.randn(24, 3, generator=generator) / 24**0.5
    colour = torch.sigmoid(2 * torch.sin(points @ waves + phases) @ mix)
    if plain:
        colour = torch.full_like(colour, 0.5)
    images = torch.lerp(torch.ones_like(colour), colour, mask[..., None]).permute(0, 3, 1, 2)
    return images.contiguous(), mask
