"""A shape of the world, made of a program of parts: ground truth for everything that can be asked about an object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from one2345.geometry import Box, Cameras, Mesh, camera_rays, z_per_t
from one2345.objects.base import Render, SurfaceSamples
from one2345.objects.shading import shade
from one2345.objects.shapes.grid import ShapeGrid, coarse_to_fine, sample_grid
from one2345.objects.shapes.parts import Part
from one2345.objects.shapes.program import Placement, Programs
from one2345.objects.shapes.surface import SurfaceIndex, build_index, onto_surface
from one2345.objects.shapes.tracing import trace
from one2345.seeding import numpy_rng

Tensor = torch.Tensor

# Cells along the longest edge of the grid that finds cavities and seeds the surface samples.
CELLS = 80
CHUNK = 1 << 17


@dataclass(frozen=True)
class AnalyticShape:
    """A program of parts, placed in the world. Questions are answered on the CPU; `render_shapes` takes any device.

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
        return Programs([self.parts], [self.placement])

    @cached_property
    def index(self) -> SurfaceIndex:
        vertices, faces = self.grid.surface()
        return build_index(self._evaluate, vertices, faces, spacing=self.grid.spacing)

    @cached_property
    def _triangles(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        vertices, faces = self.grid.surface()
        mesh = Mesh(vertices=vertices, faces=faces)
        return mesh.triangles, np.cumsum(mesh.areas())

    def bound(self, points: Tensor) -> Tensor:
        """Lower bound (...) of the distance of points (..., 3) in size, with its sign: safe to step by."""
        flat = points.reshape(-1, 3)
        value = self._distance(flat)
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
                f"occupancy_grid takes an axis-aligned box whose resolution is a multiple of 4, not {box.resolution}"
            )
        start = box.to_world(box.axis()[:1].expand(3)).double().cpu().numpy()
        values = coarse_to_fine(self.bound, start, box.voxel_size, np.full(3, box.resolution))
        return torch.from_numpy(values < 0.0)

    def sdf(self, points: Tensor) -> Tensor:
        """True signed distance (...) of points (..., 3): to 1e-3 within 0.05 of the surface, else nearly so."""
        flat = points.reshape(-1, 3).detach().float().cpu()
        sign = torch.where(self.bound(flat) < 0.0, -1.0, 1.0)
        distance = self.index.distance(self._evaluate, flat, trust_inside=self.grid.cavity is None)
        return (sign * distance).reshape(points.shape[:-1]).to(points)

    def colour(self, points: Tensor) -> Tensor:
        """Albedo (..., 3) at points (..., 3); points off the surface take that of the nearest surface sample."""
        flat = points.reshape(-1, 3).detach().float().cpu()
        off = (self.bound(flat).abs() > self.grid.spacing / 4.0).nonzero()[:, 0]
        if len(off):
            flat = flat.clone()
            flat[off] = self.index.nearest_point(flat[off])
        return self._albedo(flat).reshape(points.shape).to(points)

    def sample_surface(self, n: int, *, seed: int) -> SurfaceSamples:
        """n points uniform by area on the outer surface: from its triangles, moved onto the zero set."""
        generator = numpy_rng("surface", self.id, seed)
        triangles, cumulative = self._triangles
        chosen = np.searchsorted(cumulative, generator.random(n) * cumulative[-1], side="right")
        corner = triangles[np.minimum(chosen, len(triangles) - 1)]
        u, v = np.sqrt(generator.random((n, 1))), generator.random((n, 1))
        points = (1.0 - u) * corner[:, 0] + u * (1.0 - v) * corner[:, 1] + u * v * corner[:, 2]
        start = torch.from_numpy(points).float()
        surface, _ = onto_surface(self._evaluate, start, steps=3, limit=self.grid.spacing)
        normals = torch.nn.functional.normalize(self._evaluate(surface)[1], dim=-1)
        return SurfaceSamples(points=surface, normals=normals, colours=self._albedo(surface))

    def mesh(self, resolution: int = 128) -> Mesh:
        """The outer surface by marching cubes with `resolution` cells along the longest edge, with vertex colours."""
        half = np.asarray(self.half)
        grid = sample_grid(self._distance, -half, half, 2.0 * float(half.max()) / resolution)
        vertices, faces = grid.surface()
        colours = self._albedo(torch.from_numpy(vertices).float())
        return Mesh(vertices=vertices, faces=faces, colours=colours.numpy())

    def render(self, cameras: Cameras) -> Render:
        """Exact pictures from cameras (v,), on their device."""
        return render_shapes([self], [cameras])[0]

    def _distance(self, points: Tensor) -> Tensor:
        with torch.no_grad():
            chunks = points.float().split(CHUNK)
            return torch.cat([self.programs.distance(chunk.T.contiguous()[None])[0] for chunk in chunks])

    def _evaluate(self, points: Tensor) -> tuple[Tensor, Tensor]:
        chunks = [self.programs.gradient(chunk.T.contiguous()[None]) for chunk in points.split(CHUNK)]
        return torch.cat([v[0] for v, _ in chunks]), torch.cat([g[0].T for _, g in chunks])

    def _albedo(self, points: Tensor) -> Tensor:
        with torch.no_grad():
            chunks = points.split(CHUNK)
            return torch.cat([self.programs.colour(chunk.T.contiguous()[None])[0] for chunk in chunks])


def render_shapes(shapes: Sequence[AnalyticShape], cameras: Sequence[Cameras]) -> list[Render]:
    """Exact pictures of b shapes together: one batch of v cameras each, all of one size and on one device.

    Sealed cavities need no care: rays from outside never enter them.
    """
    if len(shapes) != len(cameras) or not shapes:
        raise ValueError(f"{len(shapes)} shapes and {len(cameras)} batches of cameras, expected as many of each")
    device = cameras[0].device
    alone = len(shapes) == 1 and device.type == "cpu"
    programs = (
        shapes[0].programs
        if alone
        else Programs([s.parts for s in shapes], [s.placement for s in shapes], device=device)
    )
    views, (h, w) = len(cameras[0]), cameras[0].size
    rays = [camera_rays(c) for c in cameras]
    origins = torch.stack([r.origins.reshape(-1, 3).T for r in rays]).float()
    directions = torch.stack([r.directions.reshape(-1, 3).T for r in rays]).float()
    factor = torch.stack([z_per_t(c, r.directions).reshape(-1) for c, r in zip(cameras, rays, strict=True)])
    half = torch.tensor([s.half for s in shapes], dtype=torch.float32, device=device) + 2e-3
    t, hit = trace(programs, origins, directions, half)
    count = max(int(hit.sum(dim=1).max()), 1)
    pixels = torch.argsort(~hit, dim=1, stable=True)[:, :count]
    wide = pixels[:, None].expand(-1, 3, -1)
    along = directions.gather(2, wide)
    points = torch.addcmul(origins.gather(2, wide), along, t.gather(1, pixels)[:, None])
    with torch.no_grad():
        value, gradient = programs.gradient(points)
        # What is left to the surface along the ray, unless the ray grazes it.
        towards = -(gradient * along).sum(dim=1)
        rest = torch.where(towards > 0.1, value / towards.clamp_min(0.1), value).clamp(-1e-3, 1e-3)
        depth = (t.gather(1, pixels) + rest) * factor.gather(1, pixels)
        normal = torch.nn.functional.normalize(gradient, dim=1)
        albedo = programs.colour(points)
        strength = torch.tensor([s.shading for s in shapes], device=device)
        rgb = torch.stack([shade(a, n.T, float(s)) for a, n, s in zip(albedo, normal, strength, strict=True)])
    valid = hit.gather(1, pixels)
    renders: list[Render] = []
    for b in range(len(shapes)):
        where, ok = pixels[b][valid[b]], valid[b]
        images = torch.ones(views * h * w, 3, device=device)
        normals, depths = torch.zeros_like(images), torch.zeros(views * h * w, device=device)
        images[where], normals[where], depths[where] = rgb[b][ok], normal[b].T[ok], depth[b][ok]
        renders.append(
            Render(
                rgb=images.reshape(views, h, w, 3).permute(0, 3, 1, 2).contiguous(),
                depth=depths.reshape(views, h, w),
                mask=hit[b].reshape(views, h, w).float(),
                normal=normals.reshape(views, h, w, 3).permute(0, 3, 1, 2).contiguous(),
            )
        )
    return renders


def place(
    parts: Sequence[Part], *, id: str, rotation: NDArray[np.float64] | None = None, edge: float = 0.8
) -> AnalyticShape | None:
    """Turn, centre and scale a program so that its tight bounding box has longest edge `edge`; None if it is empty."""
    turn = np.eye(3) if rotation is None else rotation
    raw = Programs([parts], [Placement(rotation=turn)])

    def bound(points: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([raw.distance(c.T.contiguous()[None])[0] for c in points.float().split(CHUNK)])

    solid = [p for p in parts if p.operation != "subtraction"]
    reach = max(float(np.linalg.norm(p.position)) + p.reach + p.blend for p in solid)
    centres = np.array([turn @ np.asarray(p.position) for p in solid])
    extents = np.array([p.reach + p.blend for p in solid])[:, None]
    folded = any(any(p.fold) for p in solid)
    lower = np.full(3, -reach) if folded else (centres - extents).min(axis=0)
    upper = np.full(3, reach) if folded else (centres + extents).max(axis=0)
    for cells in (40, CELLS):
        spacing = float((upper - lower).max()) / cells
        grid = sample_grid(bound, lower - spacing, upper + spacing, spacing)
        if grid.is_empty:
            return None
        vertices, _ = grid.surface()
        lower, upper = vertices.min(axis=0), vertices.max(axis=0)
    lower, upper = _extremes(bound, vertices, grid.spacing)
    scale = edge / float((upper - lower).max())
    centre = (lower + upper) / 2.0
    world = ShapeGrid(
        origin=(grid.origin - centre) * scale,
        spacing=grid.spacing * scale,
        values=grid.values * np.float32(scale),
        cavity=grid.cavity,
    )
    placement = Placement(rotation=turn, centre=tuple(float(x) for x in centre), scale=scale)
    half = tuple(float(x) for x in (upper - lower) / 2.0 * scale)
    return AnalyticShape(id=id, parts=tuple(parts), placement=placement, half=half, grid=world)


def _extremes(
    bound: object, vertices: NDArray[np.float64], spacing: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper corner of the solid to about spacing / 50: small grids climb from the outermost vertices."""
    assert callable(bound)
    lower, upper = vertices.min(axis=0), vertices.max(axis=0)
    ticks = np.linspace(-1.0, 1.0, 7)
    patch = torch.from_numpy(np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), -1).reshape(-1, 3)).float()
    for axis in range(3):
        for sign, corner in ((1.0, upper), (-1.0, lower)):
            height = sign * vertices[:, axis]
            near = vertices[height > height.max() - spacing]
            _, distinct = np.unique(np.round(near / (2.0 * spacing)), axis=0, return_index=True)
            outermost = np.argsort(-sign * near[distinct, axis], kind="stable")[:10]
            at = torch.from_numpy(near[distinct][outermost]).float()
            best = sign * corner[axis]
            size = spacing
            for _ in range(4):
                points = at[:, None] + patch * size
                solid = bound(points.reshape(-1, 3)).reshape(points.shape[:2]) <= 0.0
                score = torch.where(solid, sign * points[..., axis], -torch.inf)
                top, where = score.max(dim=1)
                moved = points[torch.arange(len(at)), where]
                at = torch.where(torch.isfinite(top)[:, None], moved, at)
                best = max(best, float(top.max()))
                size /= 3.0
            corner[axis] = sign * best
    return lower, upper
