"""Strips of small pictures for the report."""

from __future__ import annotations

import base64
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from one2345.geometry import camera_rays
from one2345.geometry.rays import z_per_t
from one2345.objects.shading import shade
from one2345.views import PosedViews

CLAY = 0.82


def strip(images: Tensor, *, size: int = 112, count: int = 6) -> str:
    """Up to `count` of the pictures (v, 3, h, w), evenly chosen, side by side as an inline PNG."""
    chosen = images[evenly(len(images), count)].detach().float().cpu().clamp(0, 1)
    small = torch.nn.functional.interpolate(chosen, size=(size, size), mode="bilinear", antialias=True)
    row = (small.permute(2, 0, 3, 1).reshape(size, -1, 3) * 255).round().to(torch.uint8).numpy()
    return data_uri(row)


def data_uri(pixels: np.ndarray) -> str:
    """(h, w, 3) uint8 as a data: URI."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels).quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def evenly(total: int, count: int) -> list[int]:
    """At most `count` positions, evenly spread over `total`."""
    return list(range(total)) if total <= count else [i * total // count for i in range(count)]


def clay(normal: Tensor, mask: Tensor) -> Tensor:
    """Shaded pictures (v, 3, h, w) of a grey surface with world normals (v, 3, h, w), over white."""
    normals = normal.permute(0, 2, 3, 1)
    grey = shade(torch.full_like(normals, CLAY), normals, 1.0).permute(0, 3, 1, 2)
    return torch.where((mask > 0.5)[:, None] & (normal.abs().sum(1, keepdim=True) > 0), grey, 1.0)


def clay_of_views(views: PosedViews) -> Tensor | None:
    """`clay` of stored normals, or of normals from stored depth; None where there is neither."""
    if views.normals is not None:
        return clay(views.normals, views.masks)
    if views.depth is None:
        return None
    rays = camera_rays(views.cameras)
    t = views.depth / z_per_t(views.cameras, rays.directions).clamp_min(1e-6)
    points = rays.origins + rays.directions * t[..., None]
    known = views.depth > 0
    across = torch.zeros_like(points)
    down = torch.zeros_like(points)
    across[:, :, 1:-1] = points[:, :, 2:] - points[:, :, :-2]
    down[:, 1:-1] = points[:, 2:] - points[:, :-2]
    normal = torch.nn.functional.normalize(torch.linalg.cross(down, across), dim=-1)
    whole = known.clone()
    whole[:, :, 1:-1] &= known[:, :, 2:] & known[:, :, :-2]
    whole[:, 1:-1] &= known[:, 2:] & known[:, :-2]
    # Beside the outline there is no difference to take: there the surface is shown facing the camera.
    normal = torch.where(whole[..., None], normal, -rays.directions)
    return clay(normal.permute(0, 3, 1, 2), known.float())
