"""Objects with more on their surface than they came with: a pattern over their colours, and darker hollows.

Modelled objects are often plain, which teaches a network neither to compare what views see nor that scans and
photographs are dark where little light gets in.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree
from torch import Tensor

from one2345.geometry import Cameras, camera_rays, z_per_t
from one2345.objects.base import Object3D, Render, SurfaceSamples
from one2345.objects.shapes.textures import albedo, random_texture
from one2345.seeding import key, numpy_rng

SIZES = (0.08, 0.4)
"""Of the pattern, world units: from a tenth of the object, some pixels of a picture of 128, to all of it."""
STEPS = (0.03, 0.06, 0.12, 0.24)
"""How far from the surface room is looked for, world units."""
SAMPLES = 4096
PIECE = 2**16
"""Points whose pattern is worked out at a time."""
FACING = 0.1
"""World distance that counts as much as a unit of difference between normals: tells the sides of a thin wall apart."""


class Painted:
    """An object painted over, its shape as it was; behind the interface of `Object3D`.

    pattern: up to which share a random solid texture (Perlin, SIGGRAPH 1985: a function of the place in space) replaces
    the object's own colours, in [0, 1]. occlusion: by up to how much the colour darkens where no room is before the
    surface, in [0, 1]. Both shares are drawn per object, uniformly from 0.

    Room is what the signed distance finds along the normal (ambient occlusion after Evans, SIGGRAPH 2006 course on
    advanced real-time rendering): 1 - sdf(x + h n) / h, the mean of four distances h. Raises ValueError for strengths
    out of range.
    """

    def __init__(self, item: Object3D, *, pattern: float, occlusion: float, seed: int) -> None:
        for name, value in (("pattern", pattern), ("occlusion", occlusion)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}, expected a number in [0, 1]")
        self.item, self.seed = item, seed
        rng = numpy_rng(seed, "paint", item.id)
        self.share, self.depth = pattern * rng.random(), occlusion * rng.random()
        self._texture = torch.from_numpy(random_texture(rng, size=float(rng.uniform(*SIZES))).packed())

    @property
    def id(self) -> str:
        return self.item.id

    def __getattr__(self, name: str) -> Any:
        # What only some objects have, such as an occupancy grid of their own.
        if name.startswith("__") or name == "item":
            raise AttributeError(name)
        return getattr(self.item, name)

    def sdf(self, points: Tensor) -> Tensor:
        return self.item.sdf(points)

    def colour(self, points: Tensor) -> Tensor:
        """Of the nearest surface points; the paint is that of the nearest of some thousand samples of the surface."""
        flat, (tree, samples) = points.reshape(-1, 3), self._samples
        nearest = torch.from_numpy(np.asarray(tree.query(flat.cpu().double().numpy())[1]))
        painted = self._over(self.item.colour(flat), samples.points[nearest], samples.normals[nearest])
        return painted.view(points.shape)

    def sample_surface(self, n: int, *, seed: int) -> SurfaceSamples:
        found = self.item.sample_surface(n, seed=seed)
        return SurfaceSamples(
            found.points, found.normals, self._over(found.colours, found.points, found.normals)
        )

    def render(self, cameras: Cameras) -> Render:
        """Pictures of the object, painted where the centres of the pixels meet it."""
        seen = self.item.render(cameras)
        view, row, column = (where := seen.depth > 0).nonzero(as_tuple=True)
        rays = camera_rays(cameras.to(seen.depth.device))
        along = seen.depth / z_per_t(cameras.to(seen.depth.device), rays.directions)
        points = (rays.origins + along[..., None] * rays.directions)[where]
        alpha, rgb = seen.mask[where][:, None].clamp_min(1e-3), seen.rgb.clone()
        own = ((rgb[view, :, row, column] - (1 - alpha)) / alpha).clamp(0, 1)
        painted = self._over(own, points, seen.normal[view, :, row, column])
        rgb[view, :, row, column] = alpha * painted + (1 - alpha)
        return Render(rgb=rgb, depth=seen.depth, mask=seen.mask, normal=seen.normal)

    def _over(self, colours: Tensor, points: Tensor, normals: Tensor) -> Tensor:
        """Colours (n, 3) painted over at surface points (n, 3) with normals (n, 3)."""
        if self.share:
            texture = self._texture.to(colours)
            parts = [albedo(texture.expand(len(part), -1), part) for part in points.to(colours).split(PIECE)]
            colours = torch.lerp(colours, torch.cat(parts), self.share) if parts else colours
        if self.depth:
            tree, occlusion = self._hollows
            near = tree.query(_places(points, normals), k=4)[1]
            colours = colours * (
                1 - self.depth * torch.from_numpy(occlusion[near].mean(1, keepdims=True))
            ).to(colours)
        return colours

    @cached_property
    def _samples(self) -> tuple[KDTree, SurfaceSamples]:
        samples = self.item.sample_surface(SAMPLES, seed=key(self.seed, "occlusion", self.id))
        return KDTree(samples.points.cpu().double().numpy()), samples

    @cached_property
    def _hollows(self) -> tuple[KDTree, NDArray[np.float32]]:
        """The samples, and how much of the room before each is taken (n), in [0, 1]."""
        samples = self._samples[1]
        steps = samples.points.new_tensor(STEPS)
        before = samples.points[:, None] + steps[:, None] * samples.normals[:, None]
        taken = 1 - (self.item.sdf(before).to(steps) / steps).clamp(0, 1)
        return KDTree(_places(samples.points, samples.normals)), taken.mean(1).float().cpu().numpy()


def _places(points: Tensor, normals: Tensor) -> NDArray[np.float64]:
    """(n, 6): what lies close together on the same side of a surface."""
    return torch.cat([points.float(), FACING * normals.float()], 1).cpu().double().numpy()
