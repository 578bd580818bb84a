"""Frames of their own: a rotation, a translation and a scale per object."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .cameras import Cameras


@dataclass(frozen=True)
class Similarity:
    """Local frames of b objects: world = rotation @ (scale * local) + translation.

    pose: (b, 4, 4) rigid local-to-world transforms. scale: (b) world units per local unit.
    Lengths and signed distances are multiplied by `scale` on the way to the world, unit vectors only turned.
    """

    pose: Tensor
    scale: Tensor

    def __len__(self) -> int:
        return len(self.scale)

    def __getitem__(self, index: slice) -> Similarity:
        return Similarity(pose=self.pose[index], scale=self.scale[index])

    def points_to_local(self, points: Tensor) -> Tensor:
        """World points (b, ..., 3) in the local frames."""
        moved = points - self._like(self.pose[:, :3, 3], points)
        return self.directions_to_local(moved) / self._like(self.scale[:, None], points)

    def points_to_world(self, points: Tensor) -> Tensor:
        """Inverse of `points_to_local`."""
        turned = self.directions_to_world(points * self._like(self.scale[:, None], points))
        return turned + self._like(self.pose[:, :3, 3], points)

    def directions_to_local(self, directions: Tensor) -> Tensor:
        """World vectors (b, ..., 3), turned into the local frames; their lengths stay."""
        return _turn(directions, self.pose[:, :3, :3])

    def directions_to_world(self, directions: Tensor) -> Tensor:
        """Inverse of `directions_to_local`."""
        return _turn(directions, self.pose[:, :3, :3].mT)

    def lengths_to_local(self, lengths: Tensor) -> Tensor:
        """World lengths or signed distances (b, ...) in local units."""
        return lengths / self.scale.to(lengths).reshape(-1, *[1] * (lengths.ndim - 1))

    def lengths_to_world(self, lengths: Tensor) -> Tensor:
        """Inverse of `lengths_to_local`."""
        return lengths * self.scale.to(lengths).reshape(-1, *[1] * (lengths.ndim - 1))

    def cameras_to_local(self, cameras: Cameras) -> Cameras:
        """World cameras (b, ...) in the local frames: the same pictures."""
        c2w = cameras.c2w
        rotation = self.pose[:, :3, :3].to(c2w).mT.reshape(-1, *[1] * (c2w.ndim - 3), 3, 3) @ c2w[..., :3, :3]
        centres = self.points_to_local(cameras.centres)
        top = torch.cat([rotation, centres[..., None]], -1)
        return Cameras(K=cameras.K, c2w=torch.cat([top, c2w[..., 3:, :]], -2), size=cameras.size)

    def _like(self, values: Tensor, points: Tensor) -> Tensor:
        """Values (b, c) to broadcast with points (b, ..., 3)."""
        return values.to(points).reshape(len(values), *[1] * (points.ndim - 2), values.shape[-1])


def _turn(vectors: Tensor, rotations: Tensor) -> Tensor:
    """vectors (b, ..., 3) times rotations (b, 3, 3) from the right."""
    flat = vectors.reshape(len(vectors), -1, 3) @ rotations.to(vectors)
    return flat.reshape(vectors.shape)
