"""Measure the elevation estimate on renders of scans, with true and with simulated near views.

    python experiments/elevation/measure.py NAME=DIR [NAME=DIR ...] [--renders 200] [--seed 0]

DIR: a folder with manifest.csv and meshes. Each render is of the next object of all folders, turned about the vertical
by a random angle, seen from an elevation uniform in [-10, 70]; its near views are rendered (true), and made from
those by SimulatedInputs(chain=True) (simulated). Writes results.json beside itself.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from one2345.geometry import orbit_cameras
from one2345.objects import MeshObject, load_mesh
from one2345.seeding import numpy_rng
from one2345.views import PosedViews
from one2345.views.elevation import NEAR_OFFSETS, ClassicalMatcher, ElevationEstimator
from one2345.views.simulation import SimulatedInputs

HERE = Path(__file__).parent
SIZE = 256
BINS = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)
Row = dict[str, Any]


def objects(folders: dict[str, Path]) -> list[tuple[str, str, Path]]:
    """(set, id, file) of every object of the folders."""
    found = []
    for name, folder in folders.items():
        with (folder / "manifest.csv").open(newline="") as file:
            found += [(name, row["id"], folder / row["file"]) for row in csv.DictReader(file)]
    return found


def render(name: str, id: str, file: Path, index: int, seed: int) -> tuple[Row, PosedViews]:
    """What is known of one render, and its input view followed by its true near views."""
    random = numpy_rng(seed, "elevation", id, index)
    elevation, angle = float(random.uniform(-10, 70)), float(random.uniform(0, 2 * np.pi))
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    thing = MeshObject(load_mesh(file).transformed(turn), id=id, antialias=2, repair=False)
    offsets = [(0.0, 0.0), *NEAR_OFFSETS]
    cameras = orbit_cameras([a for a, _ in offsets], [elevation + e for _, e in offsets], size=SIZE)
    picture = thing.render(cameras)
    views = PosedViews(
        images=(picture.rgb * 255).round() / 255,  # as the files of a synthesiser would hold them
        masks=picture.mask,
        cameras=cameras,
        names=("input", *(f"near{i}" for i in range(len(NEAR_OFFSETS)))),
        roles=("stage1", *("near" for _ in NEAR_OFFSETS)),
        parents=(None, *(0 for _ in NEAR_OFFSETS)),
        depth=picture.depth,
    )
    return {"set": name, "id": id, "index": index, "elevation": elevation}, views


def simulated(views: PosedViews, row: Row, seed: int) -> PosedViews:
    """The views as the simulation of a synthesiser has them."""
    record: Any = SimpleNamespace(provenance={"elevation": row["elevation"]})
    return SimulatedInputs(chain=True)(record, views, key=(seed, "elevation", row["id"], row["index"]))


def judge(estimator: ElevationEstimator, views: PosedViews, row: Row) -> Row:
    """The row with the estimate, its error and the seconds that it took."""
    start = time.perf_counter()
    found = estimator.estimate(views.images[1:], views.masks[1:])
    seconds = time.perf_counter() - start
    # where nothing can be said, the error is that of the prior, which the pipeline would use
    degrees = estimator.prior if found.degrees is None else found.degrees
    return row | {
        "degrees": found.degrees,
        "error": abs(degrees - row["elevation"]),
        "confidence": found.confidence,
        "matches": found.matches,
        "reason": found.reason,
        "seconds": seconds,
    }


def measure(job: tuple[int, tuple[str, str, Path]], seed: int) -> dict[str, Row]:
    """The estimates from true and from simulated near views of one render."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    index, (name, id, file) = job
    row, views = render(name, id, file, index, seed)
    estimator = ElevationEstimator(matcher=ClassicalMatcher())
    return {
        "true": judge(estimator, views, row),
        "simulated": judge(estimator, simulated(views, row, seed), row),
    }


def statistics(rows: list[Row], threshold: float) -> Row:
    """Errors of all rows, of those above the threshold and per bin of confidence."""
    error, confidence = (np.array([r[k] for r in rows]) for k in ("error", "confidence"))
    bins = {
        f"{low:.2f}-{high:.2f}": _errors(error[(confidence >= low) & (confidence < high)])
        for low, high in zip(BINS, (*BINS[1:-1], 1.01))
    }
    kept = confidence >= threshold
    return {
        "all": _errors(error),
        "kept": _errors(error[kept]) | {"share": round(float(kept.mean()), 3)},
        "bins": bins,
        "median seconds": round(float(np.median([r["seconds"] for r in rows])), 2),
    }


def _errors(error: np.ndarray) -> Row:
    if not len(error):
        return {"n": 0}
    return {
        "n": len(error),
        "median": round(float(np.median(error)), 2),
        "p90": round(float(np.quantile(error, 0.9)), 2),
        "within 5": round(float((error < 5).mean()), 3),
    }


def table(name: str, found: Row) -> str:
    """Markdown of one kind of views."""
    lines = [f"| {name} | n | median error | 90 % below | within 5° |", "|---|---|---|---|---|"]
    for label, e in [("all", found["all"]), ("kept", found["kept"]), *found["bins"].items()]:
        if e["n"]:
            lines.append(
                f"| {label} | {e['n']} | {e['median']}° | {e['p90']}° | {100 * e['within 5']:.0f} % |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", metavar="NAME=DIR")
    parser.add_argument("--renders", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    arguments = parser.parse_args()
    folders = {n: Path(p) for n, _, p in (a.partition("=") for a in arguments.folders)}
    listed = objects(folders)
    jobs = [(i, listed[i % len(listed)]) for i in range(arguments.renders)]
    rows: dict[str, list[Row]] = {"true": [], "simulated": []}
    with ProcessPoolExecutor(arguments.workers) as pool:
        for found in pool.map(partial(measure, seed=arguments.seed), jobs):
            for kind, row in found.items():
                rows[kind].append(row)
            if len(rows["true"]) % 20 == 0:
                print(len(rows["true"]), file=sys.stderr, flush=True)
    threshold = ElevationEstimator(matcher=ClassicalMatcher()).threshold
    results = {name: statistics(found, threshold) for name, found in rows.items()}
    for name, found in results.items():
        print(table(name, found) + "\n")
    document = {
        "seed": arguments.seed,
        "renders": arguments.renders,
        "sets": sorted(folders),
        "date": datetime.date.today().isoformat(),
        "threshold": threshold,
        "statistics": results,
        "rows": {
            name: [{k: round(v, 3) if isinstance(v, float) else v for k, v in r.items()} for r in found]
            for name, found in rows.items()
        },
    }
    arguments.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
