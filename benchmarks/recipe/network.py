"""The stages together, with the names that the weights of `one2345.models.SparseNeus` have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from skimage.measure import marching_cubes
from torch import Tensor, nn
from torch.nn import functional as F

from . import sparse
from .blending import Blending, directions, look
from .dense import VolumeNet
from .features import Pyramid, unit
from .field import SdfMlp, nearest_active
from .rays import COARSE, Rendered, render, sample
from .volume import cost_rows, visible_voxels, voxels

Way = Literal["gather", "dense"]
BLOCK = 64
"""Nodes per axis of a piece of the lattice."""


@dataclass(frozen=True)
class Sources:
    """n views in the cube: images (n, 3, h, w), projections (n, 3, 4) from cube to pixels, centres (n, 3)."""

    images: Tensor
    projections: Tensor
    centres: Tensor


@dataclass(frozen=True)
class Volume:
    """values (16, n, n, n), zero where not active (n, n, n)."""

    values: Tensor
    active: Tensor


@dataclass(frozen=True)
class Targets:
    """r rays: origins, directions, colour (r, 3); near, far, mask (r); noise (r, 64); uniform points (q, 3)."""

    origins: Tensor
    directions: Tensor
    near: Tensor
    far: Tensor
    noise: Tensor
    colour: Tensor
    mask: Tensor
    uniform: Tensor


class _Sharpness(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.tensor(0.2))

    def forward(self) -> Tensor:
        return torch.exp(10 * self.v).clamp(1e-6, 1e6)


class PublishedRecipe(nn.Module):
    """resolution: voxels per axis. The statistics of all norms are those of the batch, as published."""

    def __init__(self, *, resolution: int = 96) -> None:
        super().__init__()
        self.resolution = resolution
        self.feature_net = Pyramid()
        self.compress = unit(56, 16)
        self.volume_net = VolumeNet()
        self.sdf_net = SdfMlp()
        self.blend_net = Blending()
        self.variance = _Sharpness()

    def features(self, images: Tensor, beside: Tensor | None = None) -> Tensor:
        """(n, 56, h, w) of images (n, 3, h, w); beside: more images of the batch, whose maps are not asked for."""
        if beside is None:
            return self.feature_net(images)
        return self.feature_net(torch.cat([beside, images]))[len(beside) :]

    def cost_volume(self, maps: Tensor, sources: Sources) -> tuple[Tensor, Tensor]:
        """Rows (m, 32) at active voxels (m, 3) of maps (n, 56, h, w)."""
        size = (maps.shape[-2], maps.shape[-1])
        points = voxels(self.resolution).to(maps.device)
        kept = visible_voxels(points, sources.projections, size)
        rows = cost_rows(self.compress(maps), points[kept], sources.projections, size)
        flat, n = kept.nonzero()[:, 0], self.resolution
        return rows, torch.stack([flat // n**2, flat // n % n, flat % n], -1)

    def regularise(self, rows: Tensor, at: Tensor, way: Way) -> Volume:
        """The 3D network on rows (m, 32) at voxels (m, 3)."""
        n = self.resolution
        if way == "gather":
            values = sparse.network(self.volume_net, rows, at)
        else:
            values = self.volume_net(rows, at, n)
        x, y, z = at.unbind(-1)
        dense = values.new_zeros(n, n, n, values.shape[1])
        dense[x, y, z] = values
        active = torch.zeros(n, n, n, dtype=torch.bool, device=values.device)
        active[x, y, z] = True
        return Volume(dense.permute(3, 0, 1, 2).contiguous(), active)

    def render(
        self, volume: Volume, maps: Tensor, sources: Sources, rays: Targets, *, anneal: float = 1.0
    ) -> Rendered:
        """Rays through the field; the camera of all is at the first one's origin."""

        def distance(points: Tensor) -> Tensor:
            return self.sdf_net(points, volume.values)[0][:, 0]

        def held(points: Tensor) -> Tensor:
            return nearest_active(volume.active, points)

        def colour(points: Tensor) -> tuple[Tensor, Tensor]:
            query = rays.origins[:1] - points
            query = query / (query.norm(dim=-1, keepdim=True) + 1e-6)
            return self.colours(volume, maps, sources, points, query)

        with torch.no_grad():
            z = sample(rays.origins, rays.directions, rays.near, rays.far, rays.noise, distance, held)
        return render(
            rays.origins, rays.directions, z, (rays.far - rays.near) / COARSE,
            distance=distance, gradient=lambda points: self.sdf_net.gradient(points, volume.values),
            colour=colour, held=held, inverse_deviation=self.variance(), anneal=anneal,
        )  # fmt: skip

    def colours(
        self, volume: Volume, maps: Tensor, sources: Sources, points: Tensor, query: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Colours (p, 3) at points (p, 3) for directions to the viewer (p, 3), and how many views see them (p)."""
        geometry, samples, seen = look(
            points, sources.images, maps, sources.projections, volume.values, volume.active
        )
        towards = directions(query, points, sources.centres)
        return self.blend_net(geometry, samples, towards, seen), seen.sum(1)

    def loss(self, volume: Volume, rendered: Rendered, rays: Targets) -> Tensor:
        """The released terms at their final weights."""
        colour = (rendered.colour - rays.colour).abs()[rendered.valid].mean()
        length = torch.linalg.norm(rendered.gradient, dim=-1)
        eikonal = ((length - 1) ** 2 * rendered.held).sum() / (rendered.held.sum() + 1e-5)
        uniform = self.sdf_net(rays.uniform, volume.values)[0]
        sparsity = 0.5 * (
            torch.exp(-100 * uniform.abs()).mean() + torch.exp(-100 * rendered.distance.abs()).mean()
        )
        mask = (rendered.opacity - rays.mask).abs().mean()
        if (rays.mask <= 0.5).float().mean() <= 0.02:
            mask = mask * 0
        return colour + 0.1 * eikonal + 0.1 * mask + 0.02 * sparsity

    def step_loss(self, sources: Sources, beside: Tensor, rays: Targets, *, way: Way = "dense") -> Tensor:
        """A training step's loss: features of the target view, `beside`, and the sources in one batch."""
        maps = self.features(sources.images, beside)
        volume = self.regularise(*self.cost_volume(maps, sources), way)
        return self.loss(volume, self.render(volume, maps, sources, rays), rays)

    @torch.no_grad()
    def lattice(self, volume: Volume, resolution: int) -> np.ndarray:
        """Distance (r, r, r) at every node of [-1, 1]^3, in pieces of 64^3."""
        axis = torch.linspace(-1, 1, resolution, device=volume.values.device)
        out = np.zeros((resolution,) * 3, np.float32)
        starts = range(0, resolution, BLOCK)
        for i in starts:
            for j in starts:
                for k in starts:
                    parts = [axis[s : s + BLOCK] for s in (i, j, k)]
                    points = torch.stack(torch.meshgrid(*parts, indexing="ij"), -1)
                    value = self.sdf_net(points.reshape(-1, 3), volume.values)[0]
                    shape = points.shape[:3]
                    out[i : i + shape[0], j : j + shape[1], k : k + shape[2]] = (
                        value.view(shape).cpu().numpy()
                    )
        return out

    def mesh(self, volume: Volume, resolution: int) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (p, 3) in the cube and faces of the zero level of the whole lattice."""
        vertices, faces, _, _ = marching_cubes(
            self.lattice(volume, resolution), 0.0, gradient_direction="descent"
        )
        return vertices / (resolution - 1) * 2 - 1, faces

    def vertex_colours(self, volume: Volume, maps: Tensor, sources: Sources, vertices: Tensor) -> Tensor:
        """(p, 3) of vertices (p, 3), all at once; the field's normals stand in for the direction to a viewer."""
        normals = F.normalize(self.sdf_net.gradient(vertices, volume.values).detach(), dim=-1)
        with torch.no_grad():
            return self.colours(volume, maps, sources, vertices, normals)[0]

    @torch.no_grad()
    def reconstruct(
        self, sources: Sources, *, resolution: int, way: Way = "gather"
    ) -> tuple[np.ndarray, ...]:
        """Views to vertices, faces and colours."""
        maps = self.features(sources.images)
        volume = self.regularise(*self.cost_volume(maps, sources), way)
        vertices, faces = self.mesh(volume, resolution)
        colours = self.vertex_colours(
            volume, maps, sources, torch.from_numpy(vertices.astype(np.float32)).to(maps)
        )
        return vertices, faces, colours.cpu().numpy()
