"""Trilinear lookup in a batch of feature volumes, with the exact spatial derivative."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry import Box

_CORNERS = [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]


@dataclass(frozen=True)
class FeatureVolume:
    """values: (b, n, n, n, c) at the nodes of `box`, the same box for every element of the batch.

    Outside the outermost nodes the border value holds and the derivative across the border is zero. strict: only
    up to one voxel beyond the last nodes, and not at the first ones or before: there the value is zero.
    """

    values: Tensor
    box: Box
    strict: bool = False

    def lookup(self, points_world: Tensor) -> Tensor:
        """Values (b, p, c) at points (b, p, 3)."""
        rows, weights, _ = self._corners(points_world)
        table = self.values.reshape(-1, self.values.shape[-1])
        bags = torch.nn.functional.embedding_bag(
            rows.flatten(0, 1), table, per_sample_weights=weights.flatten(0, 1).to(table.dtype), mode="sum"
        )
        return bags.view(*points_world.shape[:2], -1)

    def lookup_corners(self, points_world: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Corner values (b, p, 8, c), their weights (b, p, 8) and the weights' world gradient (b, p, 8, 3).

        The value is the weighted sum over the corners; the gradient of a linear functional g (b, p, c) of
        it is the sum over corners of (corner value . g) times the weight's gradient.
        """
        rows, weights, slopes = self._corners(points_world)
        table = self.values.reshape(-1, self.values.shape[-1])
        corners = table.index_select(0, rows.flatten()).view(*rows.shape, -1)
        return corners, weights.to(corners.dtype), slopes.to(corners.dtype)

    def _corners(self, points_world: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n = self.box.resolution
        position = self.box.to_index(points_world)
        inside = (position >= 0) & (position <= n - 1)
        holds = ((position > 0) & (position < n)).all(-1) if self.strict else None
        position = position.clamp(0, n - 1)
        base = position.floor().clamp_max(n - 2)
        high = position - base
        low = 1 - high
        base = base.to(torch.int64)
        batch = torch.arange(len(points_world), device=points_world.device)[:, None]
        first = ((batch * n + base[..., 0]) * n + base[..., 1]) * n + base[..., 2]
        rows = torch.stack([first + (i * n + j) * n + k for i, j, k in _CORNERS], -1)
        per_axis = [(low[..., a], high[..., a]) for a in range(3)]
        weights = torch.stack([per_axis[0][i] * per_axis[1][j] * per_axis[2][k] for i, j, k in _CORNERS], -1)
        signs = (-1.0, 1.0)
        slopes = torch.stack(
            [
                torch.stack(
                    [
                        signs[i] * per_axis[1][j] * per_axis[2][k],
                        signs[j] * per_axis[0][i] * per_axis[2][k],
                        signs[k] * per_axis[0][i] * per_axis[1][j],
                    ],
                    -1,
                )
                for i, j, k in _CORNERS
            ],
            -2,
        )
        rotation = self.box.pose[:3, :3].to(points_world)
        slopes = (slopes * inside[..., None, :]) @ rotation.mT / self.box.voxel_size
        if holds is not None:
            weights, slopes = weights * holds[..., None], slopes * holds[..., None, None]
        return rows, weights, slopes
