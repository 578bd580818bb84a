"""Half a minute of everything that a run needs, at the smallest sizes, against what is known in closed form."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

RADIUS = 0.4  # of the sphere that is looked at


@dataclass(frozen=True)
class Check:
    """How one part fared. detail: what was found; where it failed, the error in one line."""

    name: str
    works: bool
    detail: str
    seconds: float


def self_test() -> Iterator[Check]:
    """The checks, one after the other; none keeps the next from being made."""
    checks: dict[str, Callable[[], str]] = {
        "configuration": _configuration,
        "ray cast": _ray_cast,
        "extraction": _extraction,
        "network": _network,
    }
    for name, check in checks.items():
        begun = time.perf_counter()
        try:
            works, detail = True, check()
        except Exception as error:  # noqa: BLE001 (whatever is broken here is what is to be told)
            text = " ".join(str(error).split())
            works, detail = False, f"{type(error).__name__}: {text}"
        yield Check(name, works, detail, time.perf_counter() - begun)


def _configuration() -> str:
    """conf/ is there and composes."""
    config = _composed()
    return f"conf/train.yaml composes, {len(config)} nodes"


def _composed() -> dict[str, Any]:
    from one2345.cli.compose import compose, to_plain

    composed = compose("train", ["scale=laptop", "debug=limit", "+run.dir=nowhere"])
    return to_plain(composed.config)


def _ray_cast() -> str:
    """A sphere of triangles, drawn by Embree and measured by libigl."""
    import torch

    from one2345.evaluation.icosphere import icosphere
    from one2345.geometry import camera_rays, orbit_cameras, z_per_t
    from one2345.objects import MeshObject

    sphere = MeshObject(icosphere(RADIUS), id="sphere", normalise=False)
    cameras = orbit_cameras([30.0], [20.0], size=48)
    found = sphere.render(cameras)
    rays = camera_rays(cameras)
    along = -(rays.origins * rays.directions).sum(-1)
    gap = rays.origins.square().sum(-1) - along.square()
    inner = gap < (0.95 * RADIUS) ** 2
    depth = (along - (RADIUS**2 - gap).clamp_min(0).sqrt()) * z_per_t(cameras, rays.directions)
    error = float((found.depth - depth)[inner].abs().max())
    distance = float((sphere.sdf(torch.zeros(1, 3)) + RADIUS).abs().max())
    _demand(error < 0.01, f"depths are off by up to {error:.3f}")
    _demand(distance < 0.01, f"the signed distance at the centre is off by {distance:.3f}")
    return f"{rays.origins.shape[:-1].numel()} rays, depths within {error:.4f}"


def _extraction() -> str:
    """The surface of a random shape, where its own distance is nearly zero."""
    import torch

    from one2345.geometry import evaluation_box
    from one2345.meshing import Extractor
    from one2345.objects import random_shape

    shape = random_shape(0, index=0)
    mesh = Extractor(resolution=32, dense=True)(shape.sdf, evaluation_box(32))
    off = float(shape.sdf(torch.tensor(mesh.vertices, dtype=torch.float32)).abs().max())
    _demand(off < 1 / 32, f"vertices lie up to {off:.3f} off the surface")
    return f"{len(mesh.faces)} triangles, vertices within {off:.4f} of the surface"


def _network() -> str:
    """Data prepared, loaded, reconstructed, rendered, and a step of the optimiser; on a GPU too where there is one."""
    import torch

    from one2345.build import build
    from one2345.data import Recipe, SampleSizes, SceneSizes, ShapesSource
    from one2345.data.datamodule import ReconstructionDataModule

    config = _composed()
    labels = SampleSizes(sdf_points=256, surface_points=128, occupancy=(16, 64))
    with tempfile.TemporaryDirectory(prefix="one2345-doctor-") as folder:
        data = ReconstructionDataModule(
            root=Path(folder) / "data",
            source=ShapesSource(train=1),
            recipe=Recipe(size=48, targets=1, train_samples=labels),
            sizes=SceneSizes(rays=32, sdf_points=256, surface_points=64, targets=1),
            prepare_workers=1,
            progress=False,
        )
        data.ensure_prepared("train")
        batch = next(iter(data.train_dataloader()))
    losses = {}
    for name in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        torch.manual_seed(0)
        model = build(config["model"])
        losses[name] = _step(config, model.to(name), batch.to(name))
    if "cuda" in losses:
        gap = abs(losses["cuda"] - losses["cpu"])
        _demand(
            gap < 0.05 * abs(losses["cpu"]), f"the loss on the GPU is {losses['cuda']}, here {losses['cpu']}"
        )
    return ", ".join(f"loss {loss:.3f} on {name}" for name, loss in losses.items())


def _step(config: dict[str, Any], model: torch.nn.Module, batch: Any) -> float:
    """The loss before the step; every gradient must be finite, and the step must lower the loss."""
    import torch

    from one2345.build import build
    from one2345.training import ReconstructionModule

    module = ReconstructionModule(
        model=model,  # type: ignore[arg-type]
        loss=build(config["loss"]),
        optim=build(config["optim"]),
        terms=build(config["training"]["terms"]),
    )
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-3)
    before, _ = module.losses(batch, 0)
    before.backward()
    grads = [p.grad for p in module.parameters() if p.grad is not None]
    _demand(bool(grads) and all(bool(g.isfinite().all()) for g in grads), "gradients are not finite")
    optimiser.step()
    first, second = before.item(), module.losses(batch, 0)[0].item()
    _demand(second < first, f"a step took the loss from {first} to {second}")
    return first


def _demand(holds: bool, complaint: str) -> None:
    if not holds:
        raise RuntimeError(complaint)
