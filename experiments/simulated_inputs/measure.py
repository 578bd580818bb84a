"""Measure `SimulatedInputs` against true renders, and (--fit) find the two factors that meet the targets.

    python experiments/simulated_inputs/measure.py --pool DIR [--other NAME=DIR ...] [--fit]

Writes results.json beside itself. --fit scales geometry until the mask IoU meets its target, then appearance
until the PSNR does, and prints the constructor defaults that make both factors 1.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import inspect
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml

from one2345.data.inputs import SimulatedInputs
from one2345.geometry import Cameras, load_plan, orbit_cameras
from one2345.objects import MeshObject, load_mesh
from one2345.views import PosedViews

HERE = Path(__file__).parent
Scene = tuple[SimpleNamespace, PosedViews]


def rig_views(config: dict[str, Any]) -> tuple[float, Cameras, dict[str, Any]]:
    rig = config["rig"]
    cameras = orbit_cameras(rig["azimuth"], rig["elevation"], size=config["size"])
    n = len(cameras)
    return rig["input_elevation"], cameras, {
        "names": tuple(f"s{i}" for i in range(n)), "roles": ("stage1",) * n, "parents": (None,) * n
    }  # fmt: skip


def plan_views(config: dict[str, Any]) -> tuple[float, Cameras, dict[str, Any]]:
    elevation = config["pipeline"]["input_elevation"]
    plan = load_plan(config["pipeline"]["plan"])
    views = plan.views(elevation)
    stage1 = [i for i, view in enumerate(views) if view.role == "stage1"]
    return elevation, plan.cameras(elevation, config["size"]), {
        "names": tuple(v.name for v in views),
        "roles": tuple(v.role for v in views),
        "parents": tuple(None if v.parent is None else stage1[v.parent] for v in views),
    }  # fmt: skip


def render(
    file: Path, id: str, cameras: Cameras, config: dict[str, Any], cache: Path
) -> dict[str, torch.Tensor]:
    """True views of one mesh file, from the cache if they are there."""
    recipe = f"{file.stat().st_size} {config['antialias']} {cameras.size} {cameras.c2w.tolist()}"
    stored = cache / f"{id}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}.pt"
    if not stored.is_file():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the verdict on distance labels, which are not used here
            picture = MeshObject(load_mesh(file), id=id, antialias=config["antialias"]).render(cameras)
        cache.mkdir(parents=True, exist_ok=True)
        torch.save({"images": picture.rgb, "masks": picture.mask, "depth": picture.depth}, stored)
    return torch.load(stored)


def scenes(
    folder: Path, where: dict[str, str], views: Any, config: dict[str, Any], cache: Path
) -> dict[str, Scene]:
    elevation, cameras, names = views(config)
    with (folder / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if all(row[k] == v for k, v in where.items())]
    record = SimpleNamespace(provenance={"elevation": elevation})
    return {
        row["id"]: (
            record,
            PosedViews(
                cameras=cameras, **names, **render(folder / row["file"], row["id"], cameras, config, cache)
            ),
        )
        for row in rows
    }


def psnr(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(v,) dB between pictures (v, 3, h, w)."""
    return -10 * torch.log10((a - b).square().mean((1, 2, 3)).clamp_min(1e-10))


def iou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(v,) of masks (v, h, w) above one half; two empty masks agree."""
    a, b = a > 0.5, b > 0.5
    union = (a | b).sum((1, 2))
    return torch.where(union > 0, (a & b).sum((1, 2)) / union.clamp_min(1), torch.ones(()))


def blank(scene: Scene) -> float:
    return float(psnr(torch.ones_like(scene[1].images), scene[1].images).mean())


def measure(
    inputs: SimulatedInputs, data: dict[str, Scene], seeds: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """PSNR and mask IoU, each (objects, views), means over the seeds."""
    rows = []
    for id, (record, true) in data.items():
        made = [inputs(record, true, key=(seed, 0, id)) for seed in seeds]
        p = torch.stack([psnr(m.images, true.images) for m in made]).mean(0)
        rows.append(torch.stack([p, torch.stack([iou(m.masks, true.masks) for m in made]).mean(0)]))
    return tuple(torch.stack(rows, 1))  # type: ignore[return-value]


def bisect(value: Callable[[float], float], target: float, high: float, steps: int = 8) -> float:
    """Where a falling function meets the target."""
    low = 0.0
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if value(middle) > target else (low, middle)
    return (low + high) / 2


def fit(data: dict[str, Scene], config: dict[str, Any], **base: float) -> dict[str, float]:
    target, seeds = config["target"], config["seeds"][:1]
    g = bisect(
        lambda g: float(measure(SimulatedInputs(geometry=g, appearance=0, **base), data, seeds)[1].mean()),
        target["mask_iou"], 3.0,
    )  # fmt: skip
    a = bisect(
        lambda a: float(measure(SimulatedInputs(geometry=g, appearance=a, **base), data, seeds)[0].mean()),
        target["psnr"], 3.0,
    )  # fmt: skip
    return {"geometry": g, "appearance": a}


def summary(p: torch.Tensor, i: torch.Tensor) -> dict[str, Any]:
    return {
        "psnr": round(float(p.mean()), 2),
        "mask_iou": round(float(i.mean()), 3),
        "psnr_median": round(float(p.median()), 2),
        "mask_iou_median": round(float(i.median()), 3),
    }


def report(folder: Path, where: dict[str, str], config: dict[str, Any], cache: Path) -> dict[str, Any]:
    seeds = config["seeds"]
    rig = scenes(folder, where, rig_views, config, cache)
    useful = {k: v for k, v in rig.items() if blank(v) < config["blank_psnr_below"]}
    p, i = measure(SimulatedInputs(), useful, seeds)
    by_view = {"psnr": p.mean(0).tolist(), "mask_iou": i.mean(0).tolist()}
    flat = {k: (r, PosedViews(**{**vars(v), "depth": None})) for k, (r, v) in useful.items()}
    result: dict[str, Any] = {
        "objects": len(useful),
        "left_out": sorted(set(rig) - set(useful)),
        "rig": summary(p, i) | {"by_view": {k: [round(x, 3) for x in v] for k, v in by_view.items()}},
        "rig_geometry_only": summary(*measure(SimulatedInputs(appearance=0), useful, seeds)),
        "rig_without_depth": summary(*measure(SimulatedInputs(), flat, seeds)),
        "rig_all_objects_mask_iou": summary(*measure(SimulatedInputs(), rig, seeds))["mask_iou"],
    }
    plan = {k: v for k, v in scenes(folder, where, plan_views, config, cache).items() if k in useful}
    roles = next(iter(plan.values()))[1].roles
    for chain in (False, True):
        p, i = measure(SimulatedInputs(chain=chain), plan, seeds)
        for role in ("stage1", "near"):
            chosen = torch.tensor([r == role for r in roles])
            result[f"plan_{role}_chain_{str(chain).lower()}"] = summary(p[:, chosen], i[:, chosen])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pool", type=Path, required=True, help="folder with manifest.csv and meshes")
    parser.add_argument(
        "--other", nargs="*", default=[], metavar="NAME=DIR", help="more folders to measure on"
    )
    parser.add_argument(
        "--fit", action="store_true", help="find the factors instead of measuring the defaults"
    )
    parser.add_argument(
        "--cache", type=Path, default=HERE.parent / "runs" / HERE.name, help="where true renders are kept"
    )
    arguments = parser.parse_args()
    config = yaml.safe_load((HERE / "config.yaml").read_text())
    torch.set_num_threads(1)
    where = config["pool"]["where"]
    if arguments.fit:
        data = scenes(arguments.pool, where, rig_views, config, arguments.cache)
        data = {k: v for k, v in data.items() if blank(v) < config["blank_psnr_below"]}
        factors = fit(data, config)
        base = SimulatedInputs(**factors)
        print(json.dumps(factors), base.amplitudes, f"lowpass={base.lowpass:.4f}")
        return
    start = time.perf_counter()
    defaults = {k: v.default for k, v in inspect.signature(SimulatedInputs).parameters.items()}
    results = {
        "config": config,
        "defaults": defaults,
        "pool": report(arguments.pool, where, config, arguments.cache),
    }
    for item in arguments.other:
        name, folder = item.split("=", 1)
        results[name] = report(Path(folder), {}, config, arguments.cache)
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps({k: v for k, v in results.items() if k not in ("config", "defaults")}, indent=1))
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
