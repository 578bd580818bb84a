"""Draw training rays from the exact renders of one object."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from one2345.geometry import Cameras, pixel_rays, z_per_t
from one2345.views.images import DEPTH_SCALE

from .batch import TargetRays

UNIFORM_FRACTION = 0.25
"""Share of the rays drawn from all pixels, the rest from the dilated foreground (One-2-3-45: 128 of 512)."""

DILATION = 2


def foreground(rgba: Tensor) -> Tensor:
    """Flat indices into (v, h, w) of the pixels of rgba (v, h, w, 4) at most DILATION from the object.

    All pixels where there is no object.
    """
    seen = (rgba[..., 3] > 0).to(torch.float32)
    reach = 2 * DILATION + 1
    rows = max_pool2d(seen[:, None], (1, reach), stride=1, padding=(0, DILATION))
    found = max_pool2d(rows, (reach, 1), stride=1, padding=(DILATION, 0)).reshape(-1).nonzero()[:, 0]
    return found if len(found) else torch.arange(seen.numel())


def draw_rays(
    rgba: Tensor, depth: Tensor | None, cameras: Cameras, count: int, *, generator: torch.Generator
) -> TargetRays:
    """`count` rays through pixel centres: a quarter from all pixels, the rest from the dilated foreground.

    rgba: (v, h, w, 4) uint8 straight alpha. depth: (v, h, w) uint16 as stored, or None (t is then None).
    cameras: Cameras (v).
    """
    views, height, width, _ = rgba.shape
    uniform = round(UNIFORM_FRACTION * count)
    candidates = foreground(rgba)
    chosen = torch.randint(len(candidates), (count - uniform,), generator=generator)
    anywhere = torch.randint(views * height * width, (uniform,), generator=generator)
    flat = torch.cat([anywhere, candidates[chosen]])
    view, pixel = flat // (height * width), flat % (height * width)
    positions = torch.stack([pixel % width + 0.5, pixel // width + 0.5], -1)
    picked = cameras[view]
    rays = pixel_rays(picked, positions[:, None])
    values = rgba.reshape(-1, 4)[flat].float() / 255
    mask = values[:, 3]
    t = None
    if depth is not None:
        # uint16 tensors don't index on every backend: gather through int32 of the few that are needed.
        stored = torch.from_numpy(depth.numpy().reshape(-1)[flat.numpy()].astype("float32"))
        t = stored / DEPTH_SCALE / z_per_t(picked, rays.directions)[:, 0]
    return TargetRays(
        origins=rays.origins[:, 0].contiguous(),
        directions=rays.directions[:, 0],
        rgb=values[:, :3] * mask[:, None] + (1 - mask[:, None]),
        mask=mask,
        t=t,
    )
