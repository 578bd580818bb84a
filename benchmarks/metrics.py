"""Speed of the metrics beside that of other libraries: python benchmarks/metrics.py --help."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import trimesh
from harness import Contest, Values, as_json, machine, markdown, run
from pairs import Pair, pairs
from scipy.spatial import cKDTree

from one2345.evaluation.metrics import chamfer, cloud_distances, fscore, volume_iou
from one2345.evaluation.metrics.cloud import CloudDistances
from one2345.evaluation.metrics.neighbours import Neighbours
from one2345.evaluation.occupancy import occupy
from one2345.evaluation.sampling import sample_surface
from one2345.evaluation.topology import mesh_facts
from one2345.files import write_atomic
from one2345.geometry import Mesh, evaluation_box
from one2345.objects.mesh_object import occupancy

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("one2345", "torch", "numpy", "scipy", "trimesh", "embreex", "libigl", "open3d")


def contests(made: list[Pair], *, points: int, resolution: int) -> list[Contest]:
    """Everything that is timed; a stage more is a line more."""
    listed = [closed_iou(pair, resolution) for pair in made]
    listed += [open_occupancy(made[0], resolution)]
    listed += [facts(made[0])]
    for pair, other in zip(made, made[1:] + made[:1], strict=True):
        listed.append(clouds(f"{pair.name}: visual hull against truth", pair.predicted, pair.true, points))
        listed.append(clouds(f"{pair.name}: truth against truth", pair.true, pair.true, points))
        if other is not pair:
            listed.append(clouds(f"{pair.name} against {other.name}", pair.true, other.true, points))
    return listed


def closed_iou(pair: Pair, resolution: int) -> Contest:
    """The inside of both meshes at the nodes of the grid, and their intersection over union."""
    box = evaluation_box(resolution)
    nodes = box.nodes().reshape(-1, 3).double().numpy()
    meshes = (pair.predicted, pair.true)

    def by_trimesh() -> Values:
        solids = [trimesh.Trimesh(m.vertices, m.faces, process=False) for m in meshes]
        return {"iou": volume_iou(*(s.contains(nodes) for s in solids))}

    if not trimesh.ray.has_embree:
        raise SystemExit("trimesh does not find embreex: pip install embreex")
    ways: dict[str, Callable[[], Values]] = {
        "one2345": lambda: {"iou": volume_iou(*(occupy(m, box).grid for m in meshes))},
        "trimesh.contains, embreex": by_trimesh,
    }
    if find_spec("open3d"):
        ways["open3d compute_occupancy"] = lambda: {
            "iou": volume_iou(*(_open3d_occupancy(m, nodes) for m in meshes))
        }
    sizes = " and ".join(f"{len(m.faces) / 1000:.1f}K" for m in meshes)
    return Contest(
        title=f"IoU of two closed meshes at {resolution}³",
        subject=f"{pair.name}, {sizes} faces",
        ways=ways, ours="one2345", baseline="trimesh.contains, embreex", bar=20, tolerance=1e-4,
    )  # fmt: skip


def open_occupancy(pair: Pair, resolution: int) -> Contest:
    """One mesh with a hole, beside the winding number of every node."""
    box = evaluation_box(resolution)
    nodes = box.nodes().reshape(-1, 3).double().numpy()
    mesh = Mesh(pair.true.vertices, pair.true.faces[20:])
    return Contest(
        title=f"occupancy of an open mesh at {resolution}³",
        subject=f"{pair.name}, 20 of {len(pair.true.faces)} faces missing",
        ways={
            "one2345": lambda: {"inside": occupy(mesh, box).grid.mean()},
            "libigl's winding number at every node": lambda: {"inside": occupancy(mesh, nodes).mean()},
        },
        ours="one2345", baseline="libigl's winding number at every node", tolerance=1e-6,
    )  # fmt: skip


def facts(pair: Pair) -> Contest:
    """Components, open edges, volume, area."""

    def by_trimesh() -> Values:
        solid = trimesh.Trimesh(pair.true.vertices, pair.true.faces, process=False)
        return {"volume": solid.volume, "area": solid.area, "components": solid.body_count,
                "watertight": solid.is_watertight}  # fmt: skip

    def by_us() -> Values:
        found = mesh_facts(pair.true)
        return {"volume": found.volume or 0.0, "area": found.area, "components": found.components,
                "watertight": found.watertight}  # fmt: skip

    return Contest(
        title="facts of a mesh", subject=f"{pair.name}, {len(pair.true.faces)} faces",
        ways={"one2345": by_us, "trimesh": by_trimesh}, ours="one2345", baseline="trimesh", tolerance=1e-6,
    )  # fmt: skip


def clouds(subject: str, predicted: Mesh, true: Mesh, count: int) -> Contest:
    """Chamfer distance and F-score of samples that lie in memory."""
    p = sample_surface(predicted, count, seed=0, object_id=subject, of="predicted").points
    t = sample_surface(true, count, seed=0, object_id=subject, of="true").points
    kept = Neighbours(t)
    kept.query(t[:1])

    def by_scipy() -> Values:
        return _scores(CloudDistances(cKDTree(t).query(p, workers=2)[0], cKDTree(p).query(t, workers=2)[0]))

    ways: dict[str, Callable[[], Values]] = {
        "one2345": lambda: _scores(cloud_distances(p, t)),
        "one2345, tree of the truth kept": lambda: _scores(cloud_distances(p, kept)),
        "scipy cKDTree, defaults, workers=2": by_scipy,
    }
    if find_spec("open3d"):
        ways["open3d compute_point_cloud_distance"] = lambda: _scores(_open3d_distances(p, t))
    return Contest(
        title=f"Chamfer distance and F-score of {count:,} points", subject=subject, ways=ways,
        ours="one2345", baseline="scipy cKDTree, defaults, workers=2", bar=1.6, tolerance=1e-6,
    )  # fmt: skip


def _scores(distances: CloudDistances) -> Values:
    return {"chamfer": chamfer(distances)[0], "f_0.02": fscore(distances, [0.02])[0]}


def _open3d_occupancy(mesh: Mesh, nodes: np.ndarray) -> np.ndarray:
    open3d = import_module("open3d")
    scene = open3d.t.geometry.RaycastingScene()
    scene.add_triangles(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
    return scene.compute_occupancy(nodes.astype(np.float32)).numpy() > 0.5


def _open3d_distances(p: np.ndarray, t: np.ndarray) -> CloudDistances:
    open3d = import_module("open3d")
    a, b = (open3d.geometry.PointCloud(open3d.utility.Vector3dVector(x)) for x in (p, t))
    there, back = a.compute_point_cloud_distance(b), b.compute_point_cloud_distance(a)
    return CloudDistances(np.asarray(there), np.asarray(back))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--faces", type=int, default=50_000)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder of data/gso_dev")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "metrics")
    options = parser.parse_args(arguments)
    report = {
        "machine": machine(PACKAGES),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "repeats": options.repeats,
    }
    made = pairs(options.shared, faces=options.faces, count=options.pairs)
    listed = contests(made, points=options.points, resolution=options.resolution)
    report["results"] = run(listed, repeats=options.repeats, say=lambda text: print(text, file=sys.stderr))
    write_atomic(options.out.with_suffix(".json"), as_json(report))
    write_atomic(options.out.with_suffix(".md"), f"# Speed of the metrics\n\n{markdown(report)}")
    print(markdown(report))


if __name__ == "__main__":
    main()
