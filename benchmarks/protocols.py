"""Seconds that each protocol takes per object, truths cold and kept: python benchmarks/protocols.py --help."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from harness import as_json, machine
from pairs import with_faces

from one2345.array_cache import ArrayCache
from one2345.build import build
from one2345.data import Recipe
from one2345.data.sources import open_meshes
from one2345.evaluation import Appearance, MeshTruth, Prediction, measure, visual_hull_mesh
from one2345.files import write_atomic
from one2345.geometry import Mesh
from one2345.objects import MeshObject
from one2345.paths import conf_dir
from one2345.views import PosedViews

ROOT = Path(__file__).resolve().parents[1]
PROTOCOLS = ("one2345-strict", "one2345", "syncdreamer", "triposr", "crm", "instantmesh")
PACKAGES = ("one2345", "torch", "numpy", "scipy", "embreex", "libigl")


def hull(item: MeshObject, faces: int) -> Mesh:
    """The visual hull of eight exact views, with about `faces` faces and the colours of the views."""
    cameras = Recipe(plan="ring8", size=128).view_plan.cameras(20.0, 128)
    seen = item.render(cameras)
    views = PosedViews(
        images=seen.rgb, masks=seen.mask, cameras=cameras, names=tuple(f"v{i}" for i in range(8)),
        roles=("stage1",) * 8, parents=(None,) * 8,
    )  # fmt: skip
    return with_faces(lambda n: visual_hull_mesh(views, resolution=n), faces)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("truth", type=Path, help="folder of true meshes")
    parser.add_argument("--faces", type=int, default=50_000)
    parser.add_argument("--protocols", nargs="+", default=PROTOCOLS, choices=PROTOCOLS)
    parser.add_argument("--objects", type=int, default=None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "protocols")
    options = parser.parse_args(arguments)
    source = open_meshes(options.truth)
    appearance = Appearance(metrics=["psnr", "ssim"]).load()
    protocols = [
        build(yaml.safe_load((conf_dir() / "protocol" / f"{name}.yaml").read_text()), allow_any=True)
        for name in options.protocols
    ]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for id in source.ids()[: options.objects]:
            mesh = source.mesh(id)
            prediction = Prediction(hull(MeshTruth(mesh, id=id).item, options.faces))
            for protocol in protocols:
                row: dict[str, Any] = {
                    "object": id, "protocol": protocol.name, "faces": len(prediction.mesh.faces),
                    "true_faces": len(mesh.faces),
                }  # fmt: skip
                for kept in ("cold", "kept"):
                    wall, cpu = time.perf_counter(), time.process_time()
                    truth = MeshTruth(mesh, id=id, cache=ArrayCache(folder))
                    truth.cloud(protocol).neighbours().query(truth.cloud(protocol).points[:1])
                    truth.occupancy(protocol)
                    truth.thickness()
                    if set(protocol.pictures) & set(appearance.columns):
                        truth.views(protocol)
                    row[f"truth_{kept}"] = [time.perf_counter() - wall, time.process_time() - cpu]
                row["occupancy_of_truth"] = truth.facts()["occupancy"]
                times: list[tuple[float, float]] = []
                for _ in range(options.repeats):
                    wall, cpu = time.perf_counter(), time.process_time()
                    to_world = prediction.to_world(truth, protocol)
                    measured = measure(prediction.mesh, to_world, truth, protocol, appearance=appearance)
                    times.append((time.perf_counter() - wall, time.process_time() - cpu))
                row["prediction"] = [median(t[i] for t in times) for i in (0, 1)]
                row["occupancy_of_prediction"] = measured.facts["occupancy"]
                rows.append(row)
            print(id, file=sys.stderr)
    report = {
        "machine": machine(PACKAGES), "date": f"{datetime.now(UTC):%Y-%m-%d}", "repeats": options.repeats,
        "rows": rows,
    }  # fmt: skip
    write_atomic(options.out.with_suffix(".json"), as_json(report))
    text = markdown(report)
    write_atomic(options.out.with_suffix(".md"), text)
    print(text)


def markdown(report: dict[str, Any]) -> str:
    """Median and worst over the objects, wall and CPU seconds."""
    lines = [
        "# Seconds per object and protocol", "",
        "Prediction: all that is done for one prediction, alignment and pictures included. Truth: clouds, tree, grids",
        "and pictures of one true mesh, for the first time and from what was kept. Median (largest) over the objects.",
        "",
        "| protocol | objects | prediction, wall | prediction, CPU | truth cold, wall | truth kept, wall |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name in dict.fromkeys(row["protocol"] for row in report["rows"]):
        rows = [row for row in report["rows"] if row["protocol"] == name]
        cells = [
            f"{median(v):.2f} ({max(v):.2f})"
            for v in (
                [row[key][i] for row in rows]
                for key, i in (("prediction", 0), ("prediction", 1), ("truth_cold", 0), ("truth_kept", 0))
            )
        ]
        lines.append(f"| {name} | {len(rows)} | {' | '.join(cells)} |")
    faces = [row["faces"] for row in report["rows"]]
    opened = sorted({r["object"] for r in report["rows"] if r["occupancy_of_truth"] != "column scan"})
    lines += [
        "",
        f"Predictions have {min(faces):,} to {max(faces):,} faces. Open truths: {', '.join(opened) or 'none'}.",
        f"{report['date']}; " + "; ".join(f"{k}: {v}" for k, v in report["machine"].items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
