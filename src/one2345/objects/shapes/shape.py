"""A shape of the world, made of a program of parts: ground truth for all that can be asked of an object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from one2345.geometry import Box, Cameras, Mesh
from one2345.geometry.area_sampling import faces_at, uniform_weights
from one2345.objects.base import Render, SurfaceSamples
from one2345.objects.shapes.grid import ShapeGrid, coarse_to_fine, sample_grid
from one2345.objects.shapes.parts import Part
from one2345.objects.shapes.program import Placement, Programs
from one2345.objects.shapes.render import render_programs
from one2345.objects.shapes.surface import SurfaceIndex, build_index, onto_surface
from one2345.seeding import numpy_rng


@dataclass(frozen=True, eq=False)
class AnalyticShape:
    """A program of parts, placed in the world. Questions are answered on the CPU; `render_shapes` takes any
    device.

    half: (3,) half extents of the tight bounding box, which is centred at the origin.
    grid: signs and cavities, in the world frame. shading: strength of the Lambert shading of `render`.
    """

    id: str
    parts: tuple[Part, ...]
    placement: Placement
    half: tuple[float, float, float]
    grid: ShapeGrid
    shading: float = 0.0

    @cached_property
    def programs(self) -> Programs:
        """The packed program on the CPU."""
        return Programs([self.parts], [self.placement])

    @cached_property
    def index(self) -> SurfaceIndex:
        vertices, faces = self.grid.surface()
        return build_index(self.programs.gradient_at, vertices, faces, spacing=self.grid.spacing)

    @cached_property
    def _triangles(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        vertices, faces = self.grid.surface()
        mesh = Mesh(vertices=vertices, faces=faces)
        return mesh.triangles, np.cumsum(mesh.areas())

    def bound(self, points: Tensor) -> Tensor:
        """Lower bound (...) of the distance of points (..., 3) in size, with its sign: safe to step by."""
        flat = points.reshape(-1, 3)
        value = self.programs.at(flat)
        if self.grid.cavity is not None:
            # From within a cavity the outer surface lies beyond the cavity's wall.
            value = torch.where(self.grid.in_cavity(flat), -value.abs(), value)
        return value.reshape(points.shape[:-1])

    def occupancy(self, points: Tensor) -> Tensor:
        """Whether points (..., 3) are inside, sealed cavities included: bool (...)."""
        return self.bound(points) < 0.0

    def occupancy_grid(self, box: Box) -> Tensor:
        """`occupancy` at the nodes of an axis-aligned box, bool (n, n, n): evaluated only near the surface.

        Raises ValueError for a rotated box or a resolution that is no multiple of 4.
        """
        if box.resolution % 4 or not torch.equal(box.pose[:3, :3].cpu(), torch.eye(3)):
            raise ValueError(
                f"occupancy_grid takes axis-aligned boxes of 4, 8, 12, ... nodes, not {box.resolution}"
            )
        start = box.to_world(box.axis()[:1].expand(3)).double().cpu().numpy()
        values = coarse_to_fine(self.bound, start, box.voxel_size, np.full(3, box.resolution))
        return torch.from_numpy(values < 0.0)

    def sdf(self, points: Tensor) -> Tensor:
        """True signed distance (...) of points (..., 3): to 1e-3 within 0.05 of the surface."""
        flat = points.reshape(-1, 3).detach().float().cpu()
        inside = self.bound(flat) < 0.0
        sign = torch.where(inside, -1.0, 1.0)
        trusted = ~inside if self.grid.cavity is not None else torch.ones_like(inside)
        distance = self.index.distance(self.programs.gradient_at, flat, trusted=trusted)
        return (sign * distance).reshape(points.shape[:-1]).to(points)

    def colour(self, points: Tensor) -> Tensor:
        """Albedo (..., 3) at points (..., 3); off the surface, that of the nearest surface sample."""
        flat = points.reshape(-1, 3).detach().float().cpu()
        off = (self.bound(flat).abs() > self.grid.spacing / 4.0).nonzero()[:, 0]
        if len(off):
            flat = flat.clone()
            flat[off] = self.index.nearest_point(flat[off])
        return self.programs.colour_at(flat).reshape(points.shape).to(points)

    def sample_surface(self, n: int, *, seed: int) -> SurfaceSamples:
        """n points uniform by area on the outer surface: from its triangles, moved onto the zero set."""
        generator = numpy_rng("surface", self.id, seed)
        triangles, cumulative = self._triangles
        corner = triangles[faces_at(cumulative, generator.random(n))]
        a, b, c = uniform_weights(generator, n).T[..., None]
        points = a * corner[:, 0] + b * corner[:, 1] + c * corner[:, 2]
        start = torch.from_numpy(points).float()
        surface, _ = onto_surface(self.programs.gradient_at, start, steps=3, limit=self.grid.spacing)
        normals = torch.nn.functional.normalize(self.programs.gradient_at(surface)[1], dim=-1)
        return SurfaceSamples(points=surface, normals=normals, colours=self.programs.colour_at(surface))

    def mesh(self, resolution: int = 128) -> Mesh:
        """Coloured marching-cubes mesh of the outer surface, `resolution` cells along the longest edge."""
        half = np.asarray(self.half)
        grid = sample_grid(self.programs.at, -half, half, 2.0 * float(half.max()) / resolution)
        vertices, faces = grid.surface()
        colours = self.programs.colour_at(torch.from_numpy(vertices).float())
        return Mesh(vertices=vertices, faces=faces, colours=colours.numpy())

    def render(self, cameras: Cameras) -> Render:
        """Exact pictures from cameras (v,), on their device."""
        return render_shapes([self], [cameras])[0]


def render_shapes(shapes: Sequence[AnalyticShape], cameras: Sequence[Cameras]) -> list[Render]:
    """Exact pictures of b shapes together: one batch of v cameras each, all of one size and on one device."""
    if len(shapes) != len(cameras) or not shapes:
        raise ValueError(
            f"{len(shapes)} shapes and {len(cameras)} batches of cameras, expected as many of each"
        )
    device = cameras[0].device
    if len(shapes) == 1 and device.type == "cpu":
        programs = shapes[0].programs
    else:
        programs = Programs([s.parts for s in shapes], [s.placement for s in shapes], device=device)
    return render_programs(programs, [s.half for s in shapes], [s.shading for s in shapes], cameras)
