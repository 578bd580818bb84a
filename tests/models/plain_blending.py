"""Blending written out: every view of every point sampled by `grid_sample` and weighed, nothing worked out twice."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from one2345.models.blend_net import BlendNet, view_directions
from one2345.models.map_sampling import Sampling
from one2345.models.view_blending import Sight


def evidence(sights: Sequence[Sight], maps: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor, Tensor]:
    """Samples (b, v, p, c), directions (b, v, p, 4) and visible (b, v, p), as `BlendNet` takes them."""
    sampled, relative = [], []
    for sight, views in zip(sights, maps, strict=True):
        grid = sight.positions[:, None]
        found = F.grid_sample(
            views, grid, padding_mode=sampling.padding, align_corners=sampling.align_corners
        )
        sampled.append(found[:, :, 0].transpose(1, 2))
        towards = F.normalize(sight.centres[:, None] - sight.points, dim=-1)
        relative.append(view_directions(sight.directions.T[:, None], towards.movedim(-1, 0)))
    return torch.stack(sampled), torch.stack(relative), torch.stack([sight.visible for sight in sights])


def plain_blend(
    net: BlendNet, geometry: Tensor, maps: Tensor, sights: Sequence[Sight], sampling: Sampling
) -> Tensor:
    """Colours (b, p, 3)."""
    return net(geometry, *evidence(sights, maps, sampling))
