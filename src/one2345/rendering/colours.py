"""Colour only the samples that carry weight: they are gathered per object, coloured, and summed per ray."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .field import Field


@dataclass(frozen=True)
class Composite:
    """rgb: (b, r, 3). active: (b, r, s) coloured samples. seen: (b, r) enough views see the ray's colour."""

    rgb: Tensor
    active: Tensor
    seen: Tensor


def pack(active: Tensor) -> tuple[Tensor, Tensor]:
    """Indices (b, p) of the true entries of active (b, n), in order, and which of them are real (b, p).

    p is the largest count of the batch, at least 1; objects with fewer entries are padded with index 0.
    """
    counts = active.sum(-1)
    width = max(1, int(counts.max()))
    row, column = active.nonzero(as_tuple=True)
    rank = active.cumsum(-1)[row, column] - 1
    index = torch.zeros(active.shape[0], width, dtype=torch.long, device=active.device)
    index[row, rank] = column
    return index, torch.arange(width, device=active.device) < counts[:, None]


def composite(
    field: Field,
    points: Tensor,
    to_camera: Tensor,
    weights: Tensor,
    eps: float,
    min_views: int,
    background: float | Tensor,
) -> Composite:
    """Colour of rays with points (b, r, s, 3), weights (b, r, s) and unit directions to_camera (b, r, 3).

    rgb = background + sum over samples with weight > eps of weight * (colour - background): what is left out
    counts as background, so the error per channel is at most the sum of the weights left out, <= s * eps.
    One sample per object is always coloured, so that every parameter takes part in every step.
    """
    b, r, s = weights.shape
    active = weights.detach() > eps
    index, real = pack(active.flatten(1))
    take = index[..., None].expand(-1, -1, 3)
    ray = (index // s)[..., None].expand(-1, -1, 3)
    rgb, views = field.colour(points.flatten(1, 2).gather(1, take), to_camera.gather(1, ray))
    weight = weights.flatten(1).gather(1, index)
    seen = weight.detach() * (views >= min_views)
    packed = torch.cat([weight[..., None] * (rgb - background), seen[..., None]], -1)
    # Padding lands in an extra slot; every other slot is written once, so the sum is deterministic.
    slot = torch.where(real, index, r * s)[..., None].expand(-1, -1, 4)
    spread = packed.new_zeros(b, r * s + 1, 4).scatter(1, slot, packed)[:, :-1].reshape(b, r, s, 4).sum(2)
    coloured = (weights.detach() * active).sum(-1)
    return Composite(
        rgb=background + spread[..., :3], active=active, seen=spread[..., 3].detach() >= 0.5 * coloured - 1e-6
    )
