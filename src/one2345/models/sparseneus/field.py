"""The published network's field, in the cube that it works in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from one2345.geometry import Box, Cameras, Rays
from one2345.rendering import RayRules

from ..blend_net import BlendNet
from ..map_sampling import Sampling
from ..sdf_net import SdfNet
from ..view_blending import Sight, blend
from ..volume_lookup import FeatureVolume
from .lifting import view_positions
from .quirks import Quirks

NEAREST = 1e-3
SEEN_SAMPLES, SEEN_VIEWS = 8, 2


@dataclass(frozen=True)
class CubeField:
    """Signed distance and colour of b objects in their cubes [-1, 1]^3; lengths are in units of half an edge.

    volume: shape features (b, n, n, n, 16). active: (b, n, n, n) bool, voxels that at least two views see.
    colour_maps: (b, v, 3 + f, h, w), RGB of the sources and their features. cameras: (b, v) in the cubes' frames.
    training: whether rays keep in front of their camera, see `Quirks.sphere_planes`.
    """

    sdf_net: SdfNet
    blend_net: BlendNet
    volume: FeatureVolume
    active: Tensor
    colour_maps: Tensor
    cameras: Cameras
    quirks: Quirks
    training: bool = False

    @property
    def box(self) -> Box:
        return self.volume.box

    @property
    def rules(self) -> RayRules:
        return RayRules(
            free_coarse=self.quirks.free_first_samples, count_outside=self.quirks.outside_is_sparse
        )

    def sdf(self, points: Tensor) -> Tensor:
        """Signed distance (b, p) at points (b, p, 3), also where no view looks."""
        return self.sdf_net(points, self.volume)

    def sdf_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Signed distance (b, p) and its gradient (b, p, 3)."""
        return self.sdf_net.sdf_and_gradient(points, self.volume)

    def surface_sdf(self, points: Tensor) -> Tensor:
        """The signed distance (b, p) whose zero level is the mesh: where no view looks, there is nothing."""
        value = self.sdf(points)
        if self.quirks.unmasked_extraction:
            return value
        return torch.where(self.inside(points), value, value.abs().clamp_min(self.box.voxel_size))

    def inside(self, points: Tensor) -> Tensor:
        """Whether the nearest voxel of points (b, p, 3) is active (b, p)."""
        n = self.active.shape[-1]
        position = ((points + 1) * n - 1) / 2 if self.quirks.shifted_mask else self.box.to_index(points)
        nearest = position.round()
        held = ((nearest >= 0) & (nearest <= n - 1)).all(-1)
        x, y, z = nearest.clamp(0, n - 1).long().unbind(-1)
        batch = torch.arange(len(points), device=points.device)[:, None]
        return self.active[batch, x, y, z] & held

    def near_active(self, points: Tensor) -> Tensor:
        """Whether any of the eight voxels around points (b, p, 3) within the cube is active (b, p)."""
        values = self.active[:, None].to(points)
        grid = points.flip(-1)[:, None, None]  # grid_sample takes the last axis first
        share = F.grid_sample(values, grid, padding_mode="zeros", align_corners=True)[:, 0, 0, 0]
        return (share > 0) & (points.abs().amax(-1) < 1)

    def ray_interval(self, rays: Rays) -> tuple[Tensor, Tensor, Tensor]:
        """Where rays are sampled, see `Quirks.sphere_planes`."""
        if not self.quirks.sphere_planes:
            return self.box.ray_interval(rays)
        distance = torch.linalg.vector_norm(rays.origins, dim=-1)
        before = (distance - 1).clamp_min(0.02) if self.training else distance - 1
        near, far = 0.95 * before, 1.05 * (distance + 1)
        return near, far, torch.ones_like(near, dtype=torch.bool)

    def rays_seen(self, points: Tensor) -> Tensor | None:
        """Rays (b, r) that the colour loss counts, see `Quirks.counted_rays`; None: by the colours' weight."""
        if not self.quirks.counted_rays:
            return None
        flat = points.flatten(1, 2)
        near = self.near_active(flat)
        views = torch.stack(
            [
                view_positions(flat[i], self.cameras[i], self.quirks, nearest=NEAREST)[1].sum(0)
                for i in range(len(flat))
            ]
        )
        return ((views * near) >= SEEN_VIEWS).unflatten(1, points.shape[1:3]).sum(-1) > SEEN_SAMPLES

    @property
    def sampling(self) -> Sampling:
        """How the colour maps are read."""
        return Sampling(
            padding="zeros" if self.quirks.integer_pixels else "border",
            align_corners=self.quirks.integer_pixels,
        )

    def colour(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Blended colours (b, p, 3) and how many views see each point (b, p); see `ReconstructedField.colour`."""
        sights = self.sights(points, directions)
        geometry = self.volume.lookup(points.detach())
        rgb = blend(self.blend_net, geometry, self.colour_maps, sights, self.sampling)
        return rgb, torch.stack([sight.visible.sum(0) for sight in sights])

    @torch.no_grad()
    def sights(self, points: Tensor, directions: Tensor) -> list[Sight]:
        """Where the sources of each object see its points (b, p, 3), with directions (b, p, 3)."""
        result = []
        near = self.near_active(points)
        for i in range(len(points)):
            grid, visible = view_positions(points[i], self.cameras[i], self.quirks, nearest=NEAREST)
            grid = torch.where(grid.abs() <= 1, grid, torch.full_like(grid, 2.0))
            result.append(
                Sight(
                    points=points[i], directions=directions[i], centres=self.cameras[i].centres,
                    positions=grid, visible=visible & near[i],
                )
            )  # fmt: skip
        return result

    def surface_colour(self, points: Tensor, normals: Tensor) -> Tensor:
        """Colours (b, p, 3) of points of the mesh, seen along the field's own normals rather than the mesh's."""
        own = F.normalize(self.sdf_and_gradient(points)[1], dim=-1)
        return self.colour(points, own)[0]

    def only(self, index: int) -> CubeField:
        """The field of one object of the batch, as a batch of one."""
        one = slice(index, index + 1)
        return replace(
            self,
            volume=replace(self.volume, values=self.volume.values[one]),
            active=self.active[one],
            colour_maps=self.colour_maps[one],
            cameras=self.cameras[one],
        )
