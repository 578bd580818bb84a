"""Colour only the samples that carry weight: they are gathered per object, coloured, and summed per ray."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .field import Field
from .packing import pack, unpack


@dataclass(frozen=True)
class Composite:
    """rgb: (b, r, 3). active: (b, r, s) coloured samples. seen: (b, r) enough views see the ray's colour.
    dropped: (b) share of the weight above eps that the budget left out."""

    rgb: Tensor
    active: Tensor
    seen: Tensor
    dropped: Tensor


def composite(
    field: Field,
    points: Tensor,
    to_camera: Tensor,
    weights: Tensor,
    eps: float,
    min_views: int,
    background: float | Tensor,
    *,
    budget: int | None = None,
) -> Composite:
    """Colour of rays with points (b, r, s, 3), weights (b, r, s) and unit directions to_camera (b, r, 3).

    rgb = background + sum over samples with weight > eps of weight * (colour - background): what is left out
    counts as background, so the error per channel is at most the sum of the weights left out, <= s * eps.
    One sample per object is always coloured, so that every parameter takes part in every step.
    budget: samples of each object that are coloured, those of most weight; more of them count as background, too.
    """
    b, r, s = weights.shape
    heavy = weights.detach() > eps
    index, real = pack(heavy.flatten(1), priority=weights.detach().flatten(1), width=budget)
    active = heavy if budget is None else unpack(real, index, real, r * s, False).reshape(b, r, s)
    take = index[..., None].expand(-1, -1, 3)
    ray = (index // s)[..., None].expand(-1, -1, 3)
    rgb, views = field.colour(points.flatten(1, 2).gather(1, take), to_camera.gather(1, ray))
    weight = weights.flatten(1).gather(1, index)
    seen = weight.detach() * (views >= min_views)
    packed = torch.cat([weight[..., None] * (rgb - background), seen[..., None]], -1)
    spread = unpack(packed, index, real, r * s).reshape(b, r, s, 4).sum(2)
    coloured = (weights.detach() * active).sum(-1)
    total, left_out = ((weights.detach() * part).sum((1, 2)) for part in (heavy, heavy & ~active))
    return Composite(
        rgb=background + spread[..., :3],
        active=active,
        seen=spread[..., 3].detach() >= 0.5 * coloured - 1e-6,
        dropped=left_out / total.clamp_min(1e-12),
    )
