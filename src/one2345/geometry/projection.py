"""World points into views, and the samples of image-like maps found there."""

from __future__ import annotations

import torch
from torch import Tensor

from .cameras import Cameras


def project(points_world: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Project points (..., p, 3) into cameras (...); batch dimensions broadcast.

    Returns pixels (..., p, 2) as (u, v) with pixel centres at +0.5, and z-depth (..., p). Points at
    or behind the camera plane have depth <= 0 and a pixel position of no meaning (finite).
    """
    world_to_image = cameras.projections
    image = points_world @ world_to_image[..., :3].mT + world_to_image[..., None, :, 3]
    depth = image[..., 2]
    safe = torch.where(depth.abs() < 1e-6, torch.full_like(depth, 1e-6), depth)
    return image[..., :2] / safe[..., None], depth


def in_frame(pixels: Tensor, depth: Tensor, size: tuple[int, int]) -> Tensor:
    """Whether projections (..., p, 2) with depth (..., p) lie in front of the camera and inside the image."""
    u, v = pixels.unbind(-1)
    return (depth > 0) & (u >= 0) & (u <= size[1]) & (v >= 0) & (v <= size[0])


def hold_in_frame(pixels: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The positions nearest to pixels (..., p, 2) among and between the pixel centres of an image, and how far
    away they are (..., p), in pixels. A map sampled there goes on with its border value beyond the frame."""
    limit = pixels.new_tensor([size[1] - 0.5, size[0] - 0.5])
    held = torch.minimum(pixels.clamp_min(0.5), limit)
    return held, torch.linalg.vector_norm(pixels - held, dim=-1)


def sample_views(maps: Tensor, pixels: Tensor) -> Tensor:
    """Bilinear samples (n, c, p) of maps (n, c, h, w) at pixels (n, p, 2) given at the maps' own resolution.

    Pixel centres at +0.5; zero outside the image.
    """
    height, width = maps.shape[-2:]
    scale = pixels.new_tensor([2.0 / width, 2.0 / height])
    grid = (pixels * scale - 1.0).clamp(-2.0, 2.0)[:, None]
    return torch.nn.functional.grid_sample(
        maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )[:, :, 0]
