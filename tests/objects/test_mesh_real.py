"""Scanned objects: they load, stand upright, and their occupancy is that of ray parity.

Reads Google Scanned Objects (c) Google LLC, CC-BY-4.0, Downs et al., ICRA 2022, where they are at hand.
"""

import csv
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from one2345.geometry import evaluation_box, orbit_cameras
from one2345.objects import MeshObject, load_mesh

SHARED = Path(os.environ.get("ONE2345_SHARED", Path(__file__).parents[3] / "shared"))
SCANS = SHARED / "data" / "gso_dev"

pytestmark = pytest.mark.skipif(
    not (SCANS / "manifest.csv").is_file(), reason=f"no scans at {SCANS}; ONE2345_SHARED names their folder"
)


def scan(name: str) -> MeshObject:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return MeshObject(load_mesh(SCANS / "glb" / f"{name}.glb"), id=name)


@pytest.mark.parametrize("name", ["Android_Figure_Orange", "BUNNY_RACER", "Sonny_School_Bus"])
def test_scan(name):
    made = scan(name)
    assert made.report.label_quality == "exact"
    nodes = evaluation_box(32).nodes().reshape(-1, 3).numpy().astype(float)
    distance = made.backend.closest(nodes)[0]
    clear = distance > 1e-4
    parity = trimesh.Trimesh(made.mesh.vertices, made.mesh.faces, process=False).contains(nodes)
    # Overlapping components are a union here and cancel in the parity of trimesh.
    agreement = (made.occupancy(nodes) == parity)[clear].mean()
    assert agreement > (0.9995 if made.report.components == 1 else 0.99)

    views = made.render(orbit_cameras(torch.arange(4) * 90.0, 20.0, size=64))
    assert (views.mask.mean((1, 2)) > 0.02).all()
    assert views.rgb[views.mask[:, None].expand_as(views.rgb) > 0].std() > 0.02

    samples = made.sample_surface(500, seed=0)
    assert made.sdf(samples.points).abs().max() < 1e-6
    assert (made.sdf(samples.points - 2e-4 * samples.normals) < 0).float().mean() > 0.98


def test_the_orange_figure_stands_and_looks_at_the_viewer():
    """Its head and feet are apart along z, its arms along x, and its white eyes show from azimuth 0 only."""
    made = scan("Android_Figure_Orange")
    extent = np.ptp(made.mesh.bounds, axis=0)
    assert extent.argmax() == 2
    assert extent[0] > extent[1]
    front, back = made.render(orbit_cameras([0.0, 180.0], 10.0, size=96)).rgb[:, :, 20:45]
    white = [
        ((view.min(0).values > 0.7) & (view.max(0).values < 0.999)).sum().item() for view in (front, back)
    ]
    assert white[0] > 4 * max(white[1], 1)


@pytest.mark.slow
def test_every_scan_has_the_topology_of_its_manifest():
    with open(SCANS / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = MeshObject(load_mesh(SCANS / row["file"]), id=row["id"])
        assert made.report.closed == (row["closed_even"] == "y"), row["id"]
        assert made.report.label_quality == ("exact" if row["closed_even"] == "y" else "approximate"), row[
            "id"
        ]
