"""Coloured balls with closed-form views, and a (picklable) source of them that misbehaves on request."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from one2345.data import LoadedObject, Recipe, SampleSizes
from one2345.errors import InputError
from one2345.geometry import camera_rays, z_per_t
from one2345.objects import Render, SurfaceSamples


@dataclass(frozen=True)
class Ball:
    """A ball of `radius` at the origin; its colour is a linear function of position."""

    id: str
    radius: float = 0.4

    def sdf(self, points: torch.Tensor) -> torch.Tensor:
        return points.norm(dim=-1) - self.radius

    def colour(self, points: torch.Tensor) -> torch.Tensor:
        return (0.5 + points).clamp(0, 1)

    def sample_surface(self, n: int, *, seed: int) -> SurfaceSamples:
        generator = torch.Generator().manual_seed(seed)
        normals = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=-1)
        return SurfaceSamples(normals * self.radius, normals, self.colour(normals * self.radius))

    def render(self, cameras) -> Render:
        rays = camera_rays(cameras)
        along = -(rays.origins * rays.directions).sum(-1)
        gap = rays.origins.pow(2).sum(-1) - along**2
        hit = gap < self.radius**2
        t = along - (self.radius**2 - gap).clamp_min(0).sqrt()
        points = rays.at(t)
        white = torch.ones_like(points)
        rgb = torch.where(hit[..., None], self.colour(points), white).movedim(-1, 1)
        normal = torch.where(hit[..., None], points / self.radius, torch.zeros_like(points)).movedim(-1, 1)
        depth = torch.where(hit, t * z_per_t(cameras, rays.directions), torch.zeros_like(t))
        return Render(rgb=rgb, depth=depth, mask=hit.float(), normal=normal)


@dataclass
class Balls:
    """`count` balls, of which `bad` can't be loaded, `deadly` kill the process, `stop` interrupts the run; `slow`
    take forever, `hungry` ever more memory, all others `pause` seconds."""

    count: int = 3
    bad: tuple[str, ...] = ()
    deadly: tuple[str, ...] = ()
    stop: str | None = None
    slow: tuple[str, ...] = ()
    hungry: tuple[str, ...] = ()
    pause: float = 0.0
    print_: dict[str, str] = field(default_factory=dict)

    def ids(self, split: str | None = None) -> list[str]:
        return [i for i in (f"ball-{k}" for k in range(self.count)) if split in (None, self.split(i))]

    def split(self, id: str) -> str:
        return {"1": "val", "2": "test"}.get(id[-1], "train")

    def fingerprint(self, id: str) -> str | None:
        return self.print_.get(id)

    def load(self, id: str, *, shading: float = 0.0) -> LoadedObject:
        if id == self.stop:
            raise KeyboardInterrupt
        if id in self.bad:
            raise InputError(f"{id}: is bad")
        if id in self.deadly:
            os._exit(7)
        taken = []
        while id in self.hungry:
            taken.append(torch.ones(2**24))
            time.sleep(0.02)
        time.sleep(3600.0 if id in self.slow else self.pause)
        ball = Ball(id, 0.3 + 0.02 * int(id[-1]))
        return LoadedObject(object=ball, provenance={"licence": "CC0-1.0", "sha256": self.fingerprint(id)})

    def describe(self) -> dict[str, object]:
        return {"kind": "balls"}


SMALL = SampleSizes(sdf_points=400, surface_points=200, occupancy=(16,))
RECIPE = Recipe(
    size=24,
    targets=3,
    train_samples=SMALL,
    eval_samples=SampleSizes(sdf_points=400, surface_points=300, occupancy=(16, 64)),
)


def tree(root: Path) -> dict[str, bytes]:
    """Relative path -> content of every file but the manifest, which says who did what and when."""
    files = [p for p in sorted(root.rglob("*")) if p.is_file() and not p.name.startswith("manifest.sqlite")]
    return {str(p.relative_to(root)): p.read_bytes() for p in files}
