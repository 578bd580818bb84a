"""Oriented cubes of the world that carry a voxel grid."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .cameras import OBJECT_EDGE
from .rays import Rays


@dataclass(frozen=True)
class Box:
    """A cube with `resolution` nodes per axis.

    half_edge: world units. pose: (4, 4) rigid box-to-world transform (default: axis-aligned at the origin).
    align_corners: False puts the nodes at the cell centres, True at the faces.
    """

    half_edge: float = 0.5
    resolution: int = 64
    pose: Tensor = field(default_factory=lambda: torch.eye(4))
    align_corners: bool = False

    @property
    def voxel_size(self) -> float:
        """Spacing of the nodes in world units."""
        return 2 * self.half_edge / (self.resolution - 1 if self.align_corners else self.resolution)

    def with_resolution(self, resolution: int) -> Box:
        return Box(
            half_edge=self.half_edge, resolution=resolution, pose=self.pose, align_corners=self.align_corners
        )

    def axis(self) -> Tensor:
        """Unit coordinates (n,) of the nodes along one axis, in [-1, 1]."""
        n = self.resolution
        index = torch.arange(n, dtype=torch.float64)
        unit = index * (2 / (n - 1)) - 1 if self.align_corners else (index + 0.5) * (2 / n) - 1
        return unit.to(self.pose)

    def nodes(self) -> Tensor:
        """World positions (n, n, n, 3) of the nodes, axes x, y, z of the box."""
        axis = self.axis()
        return self.to_world(torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1))

    def to_unit(self, points_world: Tensor) -> Tensor:
        """World (..., 3) to unit coordinates, [-1, 1] inside the box."""
        pose = self.pose.to(points_world)
        return (points_world - pose[:3, 3]) @ pose[:3, :3] / self.half_edge

    def to_world(self, unit: Tensor) -> Tensor:
        """Inverse of `to_unit`."""
        pose = self.pose.to(unit)
        return self.half_edge * unit @ pose[:3, :3].mT + pose[:3, 3]

    def to_index(self, points_world: Tensor) -> Tensor:
        """World (..., 3) to continuous node indices: node i lies at i."""
        return self.unit_to_index(self.to_unit(points_world))

    def unit_to_index(self, unit: Tensor) -> Tensor:
        """Unit coordinates (..., 3) to continuous node indices."""
        n = self.resolution
        return (unit + 1) * ((n - 1) / 2) if self.align_corners else (unit + 1) * (n / 2) - 0.5

    def ray_interval(self, rays: Rays) -> tuple[Tensor, Tensor, Tensor]:
        """Where rays (...) are inside the box: near (...) >= 0, far (...) and whether they hit it at all.

        Rays that miss have near = far.
        """
        pose = self.pose.to(rays.origins)
        origin = (rays.origins - pose[:3, 3]) @ pose[:3, :3]
        direction = rays.directions @ pose[:3, :3]
        direction = torch.where(direction.abs() < 1e-9, torch.full_like(direction, 1e-9), direction)
        a, b = (-self.half_edge - origin) / direction, (self.half_edge - origin) / direction
        near = torch.minimum(a, b).amax(-1).clamp_min(0)
        far = torch.maximum(a, b).amin(-1)
        hit = far > near
        return near, torch.where(hit, far, near), hit


def evaluation_box(resolution: int) -> Box:
    """The cube of 1.2 object edges in which volume IoU is counted, nodes at the cell centres."""
    return Box(half_edge=0.6 * OBJECT_EDGE, resolution=resolution)
