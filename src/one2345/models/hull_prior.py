"""The visual hulls of a batch of objects, as signed distances at any points: what a field starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry import Cameras, hull_distances, hull_distances_and_gradients


@dataclass(frozen=True)
class HullPrior:
    """The hulls at k tolerances, see `geometry.hull_sdf`, looked up in the silhouettes: as fine as the pictures.

    silhouettes: (b, v, h, w) from `geometry.mask_distance`. cameras (b, v). limit: distances are cut at +-limit.
    """

    silhouettes: Tensor
    cameras: Cameras
    tolerances: Sequence[float]
    limit: float

    def distances(self, points_world: Tensor) -> Tensor:
        """Signed distances (b, p, k), world units, at points (b, p, 3)."""
        found = [
            hull_distances(points, maps, self.cameras[index], tolerances=self.tolerances)
            for index, (points, maps) in enumerate(zip(points_world, self.silhouettes, strict=True))
        ]
        return torch.stack(found).clamp(-self.limit, self.limit)

    def distances_and_gradients(self, points_world: Tensor) -> tuple[Tensor, Tensor]:
        """`distances` and their world gradients (b, p, k, 3)."""
        found = [
            hull_distances_and_gradients(points, maps, self.cameras[index], tolerances=self.tolerances)
            for index, (points, maps) in enumerate(zip(points_world, self.silhouettes, strict=True))
        ]
        distances, gradients = (torch.stack(parts) for parts in zip(*found, strict=True))
        cut = distances.abs() > self.limit
        return distances.clamp(-self.limit, self.limit), gradients.masked_fill(cut[..., None], 0)

    def only(self, index: int) -> HullPrior:
        """Those of one object, as a batch of one."""
        silhouettes, cameras = self.silhouettes[index : index + 1], self.cameras[index : index + 1]
        return HullPrior(silhouettes, cameras, self.tolerances, self.limit)
