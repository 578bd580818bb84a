"""Ten scans against predictions of them: scores beside those of independent code.

Reads Google Scanned Objects (c) Google LLC, CC-BY-4.0, Downs et al., ICRA 2022, where they are at hand.
"""

import os
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from one2345.evaluation.metrics import chamfer, cloud_distances, fscore, volume_iou
from one2345.evaluation.occupancy import occupy
from one2345.evaluation.topology import mesh_facts
from one2345.geometry import Box, Mesh, evaluation_box, normalise_transform
from one2345.meshing import extract
from one2345.objects import MeshObject, load_mesh
from one2345.objects.topology import weld

SHARED = Path(os.environ.get("ONE2345_SHARED", Path(__file__).parents[3] / "shared"))
SCANS = SHARED / "data" / "gso_dev" / "glb"
THRESHOLDS = (0.01, 0.02, 0.05)
NAMES = [
    "Android_Figure_Orange", "Android_Figure_Panda", "Android_Lego", "Dino_4",
    "BIA_Porcelain_Ramekin_With_Glazed_Rim_35_45_oz_cup", "Nescafe_Momento_Mocha_Specialty_Coffee_Mix_8_ct",
    "Schleich_Bald_Eagle", "Schleich_Hereford_Bull", "Sperry_TopSider_pSUFPWQXPp3", "Wishbone_Pencil_Case",
]  # fmt: skip

pytestmark = pytest.mark.skipif(
    not SCANS.is_dir(), reason=f"no scans at {SCANS}; ONE2345_SHARED names the folder they are in"
)


@cache
def pair(name):
    """A scan, seams welded, and by turns the same with its vertices moved, or extracted from a coarse grid."""
    loaded = load_mesh(SCANS / f"{name}.glb")
    label = weld(loaded)
    vertices = np.zeros((label.max() + 1, 3))
    vertices[label] = loaded.triangles
    true = Mesh(vertices, label)
    true = true.transformed(normalise_transform(true))
    if NAMES.index(name) % 2:
        moved = true.vertices + 0.02 * np.sin(7 * true.vertices[:, [1, 2, 0]] + [0.3, 1.1, 2.0])
        return replace(true, vertices=moved), true
    item = MeshObject(true, id=name)
    return extract(item.sdf, Box(), resolution=40), true


@pytest.mark.parametrize("name", NAMES)
def test_clouds(name):
    predicted, true = (
        trimesh.sample.sample_surface(trimesh.Trimesh(m.vertices, m.faces, process=False), 30_000, seed=i)[0]
        for i, m in enumerate(pair(name))
    )
    there, back = cKDTree(true).query(predicted)[0], cKDTree(predicted).query(true)[0]
    distances = cloud_distances(predicted, true)
    assert chamfer(distances) == pytest.approx(
        ((there.mean() + back.mean()) / 2, ((there**2).mean() + (back**2).mean()) / 2), abs=1e-6
    )
    for threshold, score in zip(THRESHOLDS, fscore(distances, THRESHOLDS)):
        precision, recall = (there <= threshold).mean(), (back <= threshold).mean()
        assert score == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_volumes(name):
    """Both are closed and without cavity. By booleans of the meshes where manifold3d is installed, else by rays
    from the nodes of the grid."""
    meshes = [trimesh.Trimesh(m.vertices, m.faces, process=False) for m in pair(name)]
    assert all(m.is_watertight for m in meshes)
    found = [occupy(m, evaluation_box(128)) for m in pair(name)]
    assert all(f.method == "column scan" and f.dropped == 0 for f in found)
    iou = volume_iou(found[0].grid, found[1].grid)
    if find_spec("manifold3d") is None:
        nodes = evaluation_box(64).nodes().reshape(-1, 3).double().numpy()
        grids = [m.contains(nodes) for m in meshes]
        assert iou == pytest.approx(volume_iou(*grids), rel=0.01)
        coarse = [occupy(m, evaluation_box(64)).grid.reshape(-1) for m in pair(name)]
        # Where a scan crosses itself the parity of the crossings makes a hole.
        assert volume_iou(*coarse) == pytest.approx(volume_iou(*grids), abs=5e-4)
    else:
        both = trimesh.boolean.intersection(meshes, engine="manifold").volume
        either = trimesh.boolean.union(meshes, engine="manifold").volume
        assert iou == pytest.approx(both / either, rel=0.01)
    for mesh, occupancy in zip(pair(name), found):
        assert mesh_facts(mesh).volume == pytest.approx(occupancy.volume, rel=0.01)
