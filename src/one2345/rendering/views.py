"""Whole pictures of a field, in bounded memory, for previews and evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from one2345.geometry import Box, Cameras, Rays, camera_rays, z_per_t

from .field import Field, ray_interval
from .placed import PlacedField
from .render import RenderSettings, render_rays


@dataclass(frozen=True)
class RenderedViews:
    """Pictures of v views, with a leading b where the cameras had one.

    rgb: (v, 3, h, w) in [0, 1] over the background. depth: (v, h, w) z-depth in world units, 0 where the
    opacity is at most 0.5. normal: (v, 3, h, w) world, unit, 0 where depth is. mask: (v, h, w) opacity.
    """

    rgb: Tensor
    depth: Tensor
    normal: Tensor
    mask: Tensor


@torch.no_grad()
def render_views(
    field: Field,
    cameras: Cameras,
    box: Box | None = None,
    *,
    inv_s: float | Tensor,
    settings: RenderSettings | None = None,
    chunk: int = 1024,
    background: float = 1.0,
) -> RenderedViews:
    """Render cameras (v) of a field of one object, or cameras (b, v) of a field of b objects.

    Rays are cut to the box, by default the field's own (a field may have other limits); pixels whose rays miss it are
    background.
    inv_s: in the units of the field, a `PlacedField`'s own. chunk: rays per object and pass.
    """
    if isinstance(field, PlacedField):
        return _placed_views(
            field, cameras, inv_s=inv_s, settings=settings, chunk=chunk, background=background
        )
    box = getattr(field, "box", None) if box is None else box
    if box is None:
        raise ValueError("the field has no box; say which one holds it")
    rays = camera_rays(cameras)
    objects = cameras.shape[0] if len(cameras.shape) == 2 else 1
    origins, directions = rays.origins.reshape(objects, -1, 3), rays.directions.reshape(objects, -1, 3)
    near, far, hit = ray_interval(field, box, Rays(origins=origins, directions=directions))
    count = near.shape[1]
    rgb = origins.new_full((objects, count, 3), background)
    normal = origins.new_zeros(objects, count, 3)
    t, mask = origins.new_zeros(objects, count), origins.new_zeros(objects, count)
    wanted = hit.any(0).nonzero()[:, 0]
    for pixels in wanted.split(chunk) if len(wanted) else ():
        part = render_rays(
            field,
            origins[:, pixels],
            directions[:, pixels],
            near[:, pixels],
            far[:, pixels],
            inv_s=inv_s,
            settings=settings,
            background=background,
        )
        solid = part.weights_sum > 0.5
        rgb[:, pixels] = part.rgb.clamp(0.0, 1.0)
        mask[:, pixels] = part.weights_sum.clamp(0.0, 1.0)
        t[:, pixels] = torch.where(solid, part.t / part.weights_sum.clamp_min(0.5), 0.0)
        unit = torch.nn.functional.normalize(part.normal, dim=-1)
        normal[:, pixels] = torch.where(solid[..., None], unit, 0.0)
    shape = (*cameras.shape, *cameras.size)
    depth = t.reshape(shape) * z_per_t(cameras, rays.directions)
    return RenderedViews(
        rgb=rgb.reshape(*shape, 3).movedim(-1, -3).contiguous(),
        depth=depth,
        normal=normal.reshape(*shape, 3).movedim(-1, -3).contiguous(),
        mask=mask.reshape(shape),
    )


def _placed_views(field: PlacedField, cameras: Cameras, **options: Any) -> RenderedViews:
    """Rendered in the field's own frames, given in the world's."""
    frame = field.frame
    batched = cameras if len(cameras.shape) == 2 else Cameras.stack([cameras])
    seen = render_views(field.local, frame.cameras_to_local(batched), **options)
    normal = frame.directions_to_world(seen.normal.movedim(-3, -1)).movedim(-1, -3)
    world = RenderedViews(
        rgb=seen.rgb, depth=frame.lengths_to_world(seen.depth), normal=normal.contiguous(), mask=seen.mask
    )
    if batched is cameras:
        return world
    return RenderedViews(rgb=world.rgb[0], depth=world.depth[0], normal=world.normal[0], mask=world.mask[0])
