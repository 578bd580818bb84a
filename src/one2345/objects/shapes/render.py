"""Exact pictures of analytic shapes, many shapes and views at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from one2345.geometry import Cameras, camera_rays, z_per_t
from one2345.objects.base import Render
from one2345.objects.shading import shade
from one2345.objects.shapes.program import Programs
from one2345.objects.shapes.tracing import trace

# The tracer stops a little before the surface; a last step along the ray is at most this long (world units).
LAST_STEP = 1e-3


def render_programs(
    programs: Programs,
    half: Sequence[tuple[float, float, float]],
    shading: Sequence[float],
    cameras: Sequence[Cameras],
) -> list[Render]:
    """What cameras[i] (v,), all of one size and on the device of the programs, see of shape i of b.

    half: half extents of each shape's bounding box. shading: strength of each shape's Lambert shading.
    Sealed cavities need no care: rays from outside never enter them.
    """
    device, (h, w), views = programs.device, cameras[0].size, len(cameras[0])
    if any(c.size != (h, w) or len(c) != views for c in cameras):
        raise ValueError("shapes that are rendered together need as many cameras each, all of one size")
    rays = [camera_rays(c) for c in cameras]
    origins = torch.stack([r.origins.reshape(-1, 3).T for r in rays]).float()
    directions = torch.stack([r.directions.reshape(-1, 3).T for r in rays]).float()
    factor = torch.stack([z_per_t(c, r.directions).reshape(-1) for c, r in zip(cameras, rays, strict=True)])
    boxes = torch.tensor(half, dtype=torch.float32, device=device) + 2e-3
    t, hit = trace(programs, origins, directions, boxes)
    count = max(int(hit.sum(dim=1).max()), 1)
    pixels = torch.argsort(~hit, dim=1, stable=True)[:, :count]
    valid = hit.gather(1, pixels)
    wide = pixels[:, None].expand(-1, 3, -1)
    along = directions.gather(2, wide)
    t = t.gather(1, pixels)
    points = torch.addcmul(origins.gather(2, wide), along, t[:, None])
    value, gradient = programs.gradient(points)
    with torch.no_grad():
        towards = -(gradient * along).sum(dim=1)
        # Along rays that graze the surface the slope says nothing about how far it is.
        rest = torch.where(towards > 0.1, value / towards.clamp_min(0.1), value).clamp(-LAST_STEP, LAST_STEP)
        depth = (t + rest) * factor.gather(1, pixels)
        normal = torch.nn.functional.normalize(gradient, dim=1).transpose(1, 2)
        colour = programs.colour(points)
    renders: list[Render] = []
    for i in range(programs.count):
        seen, where = valid[i], pixels[i][valid[i]]
        images = torch.ones(views * h * w, 3, device=device)
        normals, depths = torch.zeros_like(images), torch.zeros(views * h * w, device=device)
        images[where] = shade(colour[i][seen], normal[i][seen], shading[i])
        normals[where], depths[where] = normal[i][seen], depth[i][seen]
        renders.append(
            Render(
                rgb=images.reshape(views, h, w, 3).permute(0, 3, 1, 2).contiguous(),
                depth=depths.reshape(views, h, w),
                mask=hit[i].reshape(views, h, w).float(),
                normal=normals.reshape(views, h, w, 3).permute(0, 3, 1, 2).contiguous(),
            )
        )
    return renders
