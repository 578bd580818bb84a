"""How well known placements of scans are found again.

    python experiments/alignment/measure.py SCANS [--cases 20] [--points 100000] [--seed 0]

SCANS: a folder with manifest.csv (id, file) and meshes. Writes results.json beside itself.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fast_simplification
import numpy as np

from one2345.evaluation.alignment import Aligner, Alignment
from one2345.evaluation.alignment_choice import sure_excess
from one2345.evaluation.alignment_search import second_search, turned, unturned
from one2345.evaluation.correspondence import Correspondence, in_curve_order, scale_of, similarities
from one2345.evaluation.icp import normal_equations
from one2345.evaluation.placements import Placements, rotation_angle, yaw_of, yaw_rotations
from one2345.evaluation.sampling import sample_surface
from one2345.evaluation.surface import Floats, SurfaceCloud
from one2345.geometry import Mesh, normalise_transform
from one2345.objects import load_mesh
from one2345.seeding import numpy_rng

HERE = Path(__file__).parent
# The issue's own: degrees, relative size.
EXACT = (1.0, 0.01)
LOOSE = (2.0, 0.03)
SCALES = (0.8, 0.9, 1.0, 1.1, 1.25)
ICP = Aligner(method="yaw_scale_icp")
ROBUST = replace(ICP, criterion="inliers", threshold=0.02, scales=SCALES)
MIRROR = np.diag([-1.0, 1, 1, 1])


@dataclass(frozen=True)
class Scan:
    """A mesh with longest edge 1 about the origin."""

    id: str
    mesh: Mesh

    def cloud(self, points: int, seed: int, of: str) -> SurfaceCloud:
        return sample_surface(self.mesh, points, seed=seed, object_id=self.id, of=of)


def scans(folder: Path, only: tuple[str, ...] = ()) -> Iterator[Scan]:
    """All of the manifest, or those named."""
    with (folder / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if not only or row["id"] in only]
    for row in rows:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mesh = load_mesh(folder / row["file"])
        yield Scan(row["id"], mesh.transformed(normalise_transform(mesh, 1.0)))


def perturbation(rng: np.random.Generator) -> Floats:
    """(4, 4): yaw from the full circle, size from 0.5 to 2 (uniform in its logarithm), shift up to half an edge along
    each axis."""
    yaw = rng.uniform(0, 360)
    scale = np.exp(rng.uniform(np.log(0.5), np.log(2)))
    return similarities(scale * yaw_rotations(np.array(yaw)), rng.uniform(-0.5, 0.5, 3))


def error(found: Floats, moved: Floats) -> tuple[float, float, float]:
    """Of a transform that should undo `moved`: rotation in degrees, relative size, shift of the origin in edges."""
    left = found @ moved
    size = float(scale_of(left[None])[0])
    return float(rotation_angle(left[:3, :3])), abs(size - 1), float(np.linalg.norm(left[:3, 3]))


def simplified(scan: Scan, faces: int = 2000) -> Scan:
    """Another triangulation of about the same surface."""
    vertices, triangles = fast_simplification.simplify(
        scan.mesh.vertices.astype(np.float32), scan.mesh.faces.astype(np.int32), target_count=faces
    )
    return replace(scan, mesh=Mesh(vertices.astype(float), triangles.astype(np.int64)))


def spoilt(points: Floats, normals: Floats) -> SurfaceCloud:
    return SurfaceCloud(points, normals, np.stack([points.min(0), points.max(0)]))


def noisy(cloud: SurfaceCloud, rng: np.random.Generator) -> SurfaceCloud:
    """Normal deviates of 1 % of the edge."""
    return spoilt(cloud.points + rng.normal(0, 0.01, cloud.points.shape), cloud.normals)


def littered(cloud: SurfaceCloud, rng: np.random.Generator) -> SurfaceCloud:
    """5 % of the points are somewhere in a cube of 1.25 edges."""
    points = cloud.points.copy()
    chosen = rng.random(len(points)) < 0.05
    points[chosen] = rng.uniform(-0.625, 0.625, (int(chosen.sum()), 3))
    return spoilt(points, cloud.normals)


def halved(cloud: SurfaceCloud, rng: np.random.Generator) -> SurfaceCloud:
    """The half of the surface that lies towards a horizontal direction."""
    angle = rng.uniform(0, 2 * np.pi)
    along = cloud.points @ [np.cos(angle), np.sin(angle), 0]
    kept = along > np.median(along)
    return spoilt(cloud.points[kept], cloud.normals[kept])


def unchanged(cloud: SurfaceCloud, rng: np.random.Generator) -> SurfaceCloud:
    return cloud


@dataclass(frozen=True)
class Case:
    """One placement found, or not."""

    id: str
    found: Alignment
    degrees: float
    size: float
    shift: float
    seconds: float
    cpu_seconds: float

    def within(self, tolerance: tuple[float, float]) -> bool:
        return self.degrees <= tolerance[0] and self.size <= tolerance[1]


def cases(
    scan: Scan,
    count: int,
    *,
    points: int,
    seed: int,
    aligner: Aligner = ICP,
    spoil: Callable[[SurfaceCloud, np.random.Generator], SurfaceCloud] = unchanged,
    source: Scan | None = None,
    mirror: bool = False,
) -> Iterator[Case]:
    """`count` random placements of a new sampling each of `source` (the scan itself)."""
    true = scan.cloud(points, seed, "truth")
    for index in range(count):
        rng = numpy_rng(seed, scan.id, index, "placement")
        moved = perturbation(rng)
        cloud = spoil((source or scan).cloud(points, seed, f"prediction {index}"), rng)
        cloud = cloud.transformed(moved @ MIRROR if mirror else moved)
        wall, cpu = time.perf_counter(), time.process_time()
        found = aligner(cloud, true)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        yield Case(scan.id, found, *error(found.matrix, moved), wall, cpu)


def summary(made: list[Case], tolerance: tuple[float, float]) -> dict[str, Any]:
    missed = [case for case in made if not case.within(tolerance)]
    plain = [case for case in made if not case.found.ambiguous_yaws]
    return {
        "tolerance": {"degrees": tolerance[0], "size": tolerance[1]},
        "cases": len(made),
        "found": len(made) - len(missed),
        "missed": [
            {
                "id": c.id, "degrees": round(c.degrees, 2), "size": round(c.size, 4),
                "ambiguous": bool(c.found.ambiguous_yaws),
            }
            for c in missed
        ],
        "missed_and_not_ambiguous": sum(not c.found.ambiguous_yaws for c in missed),
        "ambiguous": sorted({c.id for c in made if c.found.ambiguous_yaws}),
        "called_mirrored": sum(c.found.mirrored for c in made),
        "not_ambiguous": {
            "cases": len(plain),
            "degrees": quantiles([c.degrees for c in plain]),
            "size": quantiles([c.size for c in plain]),
            "shift": quantiles([c.shift for c in plain]),
        },
        "seconds": quantiles([c.seconds for c in made]),
        "cpu_seconds": quantiles([c.cpu_seconds for c in made]),
    }  # fmt: skip


def quantiles(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    return {"median": float(f"{np.median(values):.3g}"), "max": float(f"{max(values):.3g}")}


def margins(scan: Scan, *, points: int, seed: int) -> dict[str, Any]:
    """What the thresholds of ambiguity, of mirroring and of resistance have to tell apart, for a copy in place."""
    true = in_curve_order(scan.cloud(points, seed, "truth"))
    copy = in_curve_order(scan.cloud(points, seed, "prediction 0"))
    pair = Correspondence(copy, true, queries=4096)
    in_place = np.eye(4)[None]
    found = pair.match(in_place)
    normal = normal_equations(pair, in_place, found, window=0.01)[0][0]
    values = np.linalg.eigvalsh(normal)
    turns = turned(np.eye(4), copy, true, ICP.yaws)
    other = second_search(turns, unturned(copy, true, "yaw"), copy, true, freedom="similarity", iterations=50)
    all_yaws = Placements.joined([Placements(in_place, np.zeros(1, int), np.zeros(1)), other, turns])
    excess = sure_excess(pair.match(all_yaws.matrices), 0)
    away = np.abs(yaw_of(all_yaws.matrices[:, :3, :3])) > 2.5
    best = int(np.flatnonzero(away)[excess[away].argmin()])
    mirrored = ICP(copy, true)
    return {
        "residual": round(float(found.residual()[0]), 5),
        "least_excess_of_another_yaw": round(float(excess[best]), 5),
        "that_yaw": round(float(yaw_of(all_yaws.matrices[best, :3, :3])), 1),
        "residual_of_mirror_image": round(mirrored.mirrored_residual, 5),
        "resistance": float(f"{values[0] / values[-1]:.2g}"),
    }


def timing(scan: Scan, *, points: int, seed: int, repeats: int = 5) -> dict[str, Any]:
    """Median seconds, wall and CPU, of clouds that are ready."""
    result: dict[str, Any] = {}
    true = scan.cloud(points, seed, "truth")
    cloud = scan.cloud(points, seed, "prediction 0").transformed(perturbation(numpy_rng(seed, "timing")))
    for method in ("none", "centre_scale", "yaw", "yaw_scale_icp"):
        aligner = replace(ICP, method=method, scales=SCALES)
        taken: list[tuple[float, float]] = []
        for _ in range(repeats):
            wall, cpu = time.perf_counter(), time.process_time()
            aligner(cloud, true)
            taken.append((time.perf_counter() - wall, time.process_time() - cpu))
        wall, cpu = np.median(taken, axis=0).tolist()
        result[method] = {"seconds": round(wall, 3), "cpu_seconds": round(cpu, 3)}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scans", type=Path, help="folder with manifest.csv and meshes")
    parser.add_argument("--cases", type=int, default=20, help="placements of each scan")
    parser.add_argument("--points", type=int, default=100_000, help="of each cloud")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    every = list(scans(options.scans))
    what = {"points": options.points, "seed": options.seed}
    results: dict[str, Any] = {
        "settings": what | {"cases": options.cases, "scans": [scan.id for scan in every]},
        "margins": {scan.id: margins(scan, **what) for scan in every},
        "timing": {scan.id: timing(scan, **what) for scan in every[:3]},
    }
    few = max(1, options.cases // 5)
    rows: dict[str, tuple[dict[str, Any], int, tuple[float, float]]] = {
        "copies": ({}, options.cases, EXACT),
        "copies, yaw only": ({"aligner": replace(ICP, method="yaw")}, few, EXACT),
        "copies, rigid": ({"aligner": replace(ICP, icp="rigid")}, few, EXACT),
        "copies, most inliers": ({"aligner": replace(ROBUST, threshold=0.05)}, few, EXACT),
        "2000 faces": ({"simplify": True}, few, LOOSE),
        "noise of 1 %": ({"spoil": noisy}, few, LOOSE),
        "5 % strays": ({"spoil": littered, "aligner": ROBUST}, few, LOOSE),
        "one half missing": ({"spoil": halved, "aligner": ROBUST}, few, LOOSE),
        "mirrored": ({"mirror": True}, few, LOOSE),
        "mirrored, noise of 1 %": ({"mirror": True, "spoil": noisy}, few, LOOSE),
    }
    for name, (how, count, tolerance) in rows.items():
        how = dict(how)
        simplify = how.pop("simplify", False)
        made = [
            case
            for scan in every
            for case in cases(scan, count, **what, **how, source=simplified(scan) if simplify else None)
        ]
        results[name] = summary(made, tolerance)
        if "mirrored" in name:
            told = {c.id for c in made if c.found.mirrored}
            results[name] = {
                "cases": len(made), "called_mirrored": sum(c.found.mirrored for c in made),
                "told": sorted(told), "not_told": sorted({c.id for c in made} - told),
            }  # fmt: skip
        print(name, json.dumps({k: v for k, v in results[name].items() if k != "missed"}), flush=True)
        (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
