"""A field that works in frames of its own, placed in the world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from one2345.geometry import Box, Similarity

from .field import Field


class LocalField(Field, Protocol):
    """What is placed: a field with a box, the same one for all its objects, and a surface for meshes."""

    @property
    def box(self) -> Box: ...

    def surface_sdf(self, points: Tensor) -> Tensor:
        """The signed distance (b, p) whose zero level is the mesh."""
        ...

    def surface_colour(self, points: Tensor, normals: Tensor) -> Tensor:
        """Colours (b, p, 3) of the mesh."""
        ...

    def only(self, index: int) -> LocalField: ...


@dataclass(frozen=True)
class PlacedField:
    """`local`, a field of b objects in the frames `frame`, as a field of the world.

    For meshes and measures. Rendering goes on in the local frames, where the sharpness of surfaces and the losses have
    the units that the network was made for: see `in_its_frame`.
    """

    local: LocalField
    frame: Similarity

    @property
    def box(self) -> Box:
        """The local box in the world. Raises ValueError unless there is one object: each has its own."""
        if len(self.frame) != 1:
            raise ValueError(f"{len(self.frame)} objects have boxes of their own; take `only` one")
        inner = self.local.box
        scale = float(self.frame.scale[0])
        pose = self.frame.pose[0].detach().cpu() @ _scaled(inner.pose, scale)
        return Box(
            half_edge=inner.half_edge * scale,
            resolution=inner.resolution,
            pose=pose,
            align_corners=inner.align_corners,
        )

    def sdf(self, points: Tensor) -> Tensor:
        """Signed distance (b, p), world units, of the surface that becomes the mesh, at world points (b, p, 3)."""
        return self.frame.lengths_to_world(self.local.surface_sdf(self.frame.points_to_local(points)))

    def sdf_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The field's signed distance (b, p) and its world gradient (b, p, 3)."""
        sdf, gradient = self.local.sdf_and_gradient(self.frame.points_to_local(points))
        return self.frame.lengths_to_world(sdf), self.frame.directions_to_world(gradient)

    def colour(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Colours (b, p, 3), and how many views see each point (b, p); see `Field.colour`."""
        return self.local.colour(
            self.frame.points_to_local(points), self.frame.directions_to_local(directions)
        )

    def surface_colour(self, points: Tensor, normals: Tensor) -> Tensor:
        """Colours (b, p, 3) of points of the mesh (b, p, 3) with unit normals."""
        return self.local.surface_colour(
            self.frame.points_to_local(points), self.frame.directions_to_local(normals)
        )

    def only(self, index: int) -> PlacedField:
        """The field of one object of the batch, as a batch of one."""
        return PlacedField(self.local.only(index), self.frame[index : index + 1])


def _scaled(pose: Tensor, scale: float) -> Tensor:
    moved = pose.clone()
    moved[:3, 3] *= scale
    return moved
