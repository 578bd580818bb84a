"""What the published network costs: each stage in a process of its own, beside the figures for the released code.

    python benchmarks/published.py [--views 8 32] [--repeats 2] [--pixels 256] [--volume 96] [--out DIR]

The work is that of the released configuration: 256 px, 96^3 voxels, 512 rays of 64 + 64 samples, 256^3 lattice. Weights
are drawn from a seed; the geometric start gives the surface, a sphere. The released code's CPU seconds were measured on
another day on a machine of this kind, with other tools and at another load, so ratios are rough; its 3D network is the
gathered one (dense: 1.07 and 1.41 s). Peaks are of a stage's process with all that comes before it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from harness import as_json, machine
from torch import Tensor

from one2345.data.batch import SceneBatch, TargetRays
from one2345.files import write_atomic
from one2345.geometry import Cameras, load_plan, pixel_rays
from one2345.losses import WeightedLosses
from one2345.meshing import colour_vertices, extract
from one2345.models import SparseNeus
from one2345.models.sparseneus.lifting import lift
from one2345.rendering import PlacedField, RenderSettings, ray_interval, render_rays
from one2345.training.terms import StepTerms, TermSettings

STAGES = (
    "features", "cost volume", "3D network", "rays", "rays and backward", "training step", "extraction",
    "extraction, every node", "vertex colours", "volume to coloured mesh",
)  # fmt: skip
RELEASED: dict[str, dict[int, tuple[float, float]]] = {
    "features": {8: (0.97, 0.64), 32: (5.17, 1.37)},
    "cost volume": {8: (4.14, 2.06), 32: (24.0, 7.15)},
    "3D network": {8: (4.63, 1.57), 32: (7.64, 6.6)},
    "rays": {8: (5.38, 1.97), 32: (16.7, 6.62)},
    "rays and backward": {8: (15.6, 3.51), 32: (59.2, 9.71)},
    "training step": {8: (31.7, 4.74), 32: (138.0, 13.2)},
    "extraction, every node": {8: (110.0, 1.6), 32: (110.0, 1.6)},
    "vertex colours": {8: (5.69, 2.47), 32: (18.9, 6.67)},
}
"""CPU seconds and peak resident GB of the released code; the lattice of 256^3 is eight times one of 128^3, the 3D
network is by gathered taps (as a dense one it took 1.07 and 1.41 s)."""


class Work:
    """The inputs of every stage. lattice: nodes per axis."""

    def __init__(self, *, views: int, pixels: int, volume: int, rays: int, lattice: int) -> None:
        torch.manual_seed(0)
        self.views, self.lattice = views, lattice
        self.model = SparseNeus(published_quirks=True, norm="batch", resolution=volume)
        plan = load_plan("published32")
        cameras = plan.cameras(30.0, pixels)
        first, sources = len(plan.stage1), len(plan.source_views(30.0))
        chosen = [first + i * sources // views for i in range(views)]
        self.cameras, self.reference = Cameras.stack([cameras[chosen]]), Cameras.stack([cameras[:1]])
        self.images = torch.rand(1, views, 3, pixels, pixels)
        self.masks = torch.ones(1, views, pixels, pixels)
        positions = torch.rand(rays, 2) * pixels
        self.rays = pixel_rays(self.reference[:, 0], positions[None])
        self.targets = torch.rand(1, rays, 3), (torch.rand(1, rays) > 0.25).float()
        self.settings = TermSettings(render=RenderSettings(colour_eps=0.0))

    def field(self) -> PlacedField:
        return self.model(self.images, self.masks, self.cameras, reference=self.reference)

    def losses(self, placed: PlacedField) -> Tensor:
        rgb, mask = self.targets
        none = torch.zeros(1, 0, 3)
        batch = SceneBatch(
            ids=("benchmark",), seeds=(0,), images=self.images, masks=self.masks, cameras=self.cameras,
            rays=TargetRays(origins=self.rays.origins, directions=self.rays.directions, rgb=rgb, mask=mask, t=None),
            sdf_points=none, sdf_values=none[..., 0], surface_points=none, surface_normals=none, surface_colours=none,
        ).in_frame(placed.frame)  # fmt: skip
        terms = StepTerms(
            placed.local, batch, inv_s=self.model.variance(), anneal=1.0, settings=self.settings
        )
        return WeightedLosses(colour=1.0, eikonal=0.1, mask=0.1, sparsity=0.02)(terms.functions())[0]

    def call(self, stage: str) -> Callable[[], Any]:
        """What is timed; what comes before it is done here."""
        model = (
            self.model.eval() if stage not in ("training step", "rays and backward") else self.model.train()
        )
        if stage == "features":
            return _no_grad(lambda: model.fused_features(self.images[0]))
        if stage in ("cost volume", "3D network"):
            with torch.no_grad():
                fused = model.fused_features(self.images[0])
                local = self.field().local.cameras[0]
                if stage == "3D network":
                    volume, active = model.cost_volume(model.compress(fused), local)
                    return _no_grad(lambda: model.volume_net(volume, active))
            voxels = model.voxels()
            return _no_grad(lambda: lift(model.compress(fused), voxels, local, model.quirks))
        if stage == "training step":
            optimiser = torch.optim.Adam(model.parameters(), lr=2e-4)

            def step() -> None:
                optimiser.zero_grad()
                self.losses(self.field()).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()

            return step
        if stage == "rays and backward":
            placed = self._detached()
            return lambda: self.losses(placed).backward()
        if stage == "volume to coloured mesh":
            return _no_grad(lambda: self._mesh(self.field(), colours=True))
        with torch.no_grad():
            placed = self.field()
        if stage == "rays":
            origins = placed.frame.points_to_local(self.rays.origins)
            directions = placed.frame.directions_to_local(self.rays.directions)
            rays = type(self.rays)(origins=origins, directions=directions)
            near, far, _ = ray_interval(placed.local, placed.local.box, rays)
            inv_s, settings = model.variance(), self.settings.render
            return _no_grad(
                lambda: render_rays(
                    placed.local, origins, directions, near, far, inv_s=inv_s, settings=settings
                )
            )
        if stage == "vertex colours":
            mesh = self._mesh(placed)
            return _no_grad(lambda: colour_vertices(mesh, _colour(placed)))
        return _no_grad(lambda: self._mesh(placed, dense=stage == "extraction, every node"))

    def _detached(self) -> PlacedField:
        """A field whose gradients end at the volume and the feature maps."""
        with torch.no_grad():
            placed = self.field()
        local: Any = placed.local
        volume = replace(local.volume, values=local.volume.values.requires_grad_())
        return PlacedField(
            replace(local, volume=volume, colour_maps=local.colour_maps.requires_grad_()), placed.frame
        )

    def _mesh(self, placed: PlacedField, *, dense: bool = False, colours: bool = False) -> Any:
        mesh = extract(lambda p: placed.sdf(p[None])[0], placed.box, resolution=self.lattice, dense=dense)
        return colour_vertices(mesh, _colour(placed)) if colours else mesh


def _colour(placed: PlacedField) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda points, normals: placed.surface_colour(points[None], normals[None])[0]


def _no_grad(call: Callable[[], Any]) -> Callable[[], Any]:
    return torch.no_grad()(call)


def measure(stage: str, options: argparse.Namespace, views: int) -> dict[str, Any]:
    """CPU and wall seconds, the least of the repetitions, and this process's peak resident memory in GB."""
    work = Work(
        views=views, pixels=options.pixels, volume=options.volume, rays=options.rays, lattice=options.lattice
    )
    call = work.call(stage)
    before = _peak()
    found = []
    for _ in range(options.repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        result = call()
        found.append((time.process_time() - cpu, time.perf_counter() - wall))
    vertices = len(getattr(result, "vertices", ()))
    return {
        "stage": stage, "views": views, "cpu s": min(c for c, _ in found), "wall s": min(w for _, w in found),
        "peak GB": _peak(), "peak GB before": before, "vertices": vertices,
    }  # fmt: skip


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def table(results: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| stage | views | CPU s | wall s | peak GiB | released: CPU s | peak GB | ratio of CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in results:
        cpu, gb = RELEASED.get(row["stage"], {}).get(row["views"], (None, None))
        theirs = f"{cpu} | {gb} | {cpu / row['cpu s']:.1f}" if cpu else " | | "
        name = f"{row['stage']} ({row['vertices']:,} vertices)" if row["vertices"] else row["stage"]
        lines.append(
            f"| {name} | {row['views']} | {row['cpu s']:.2f} | {row['wall s']:.2f} | {row['peak GB']:.2f} | {theirs} |"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--views", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES)
    for name, value in (("repeats", 2), ("pixels", 256), ("volume", 96), ("rays", 512), ("lattice", 256)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.one:
        print(json.dumps(measure(options.one, options, options.views[0])))
        return
    results = []
    sizes = [f"--{n}={getattr(options, n)}" for n in ("repeats", "pixels", "volume", "rays", "lattice")]
    for stage in options.stages:
        for views in options.views:
            command = [sys.executable, __file__, "--one", stage, "--views", str(views), *sizes]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            results.append(json.loads(done.stdout.splitlines()[-1]))
            print(table(results[-1:]).splitlines()[-1], flush=True)
    facts = {
        "date": datetime.date.today().isoformat(),
        "machine": machine(("torch", "one2345")),
        "threads": torch.get_num_threads(),
        "command": "python benchmarks/published.py " + " ".join(sizes),
        "malloc": {k: v for k, v in os.environ.items() if k.startswith("MALLOC_")},
    }
    head = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    note = (__doc__ or "").split("\n\n")[2].strip()
    write_atomic(options.out / "published.json", as_json({**facts, "results": results}))
    write_atomic(
        options.out / "published.md", f"# The published network\n\n{note}\n\n{head}\n\n{table(results)}\n"
    )


if __name__ == "__main__":
    main()
