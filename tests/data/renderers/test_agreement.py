"""Ray casting and Blender side by side: same outline, same depth, same colour of the surface.

ONE2345_BLENDER names the interpreter that has bpy (`make blender-env`: .venv-blender/bin/python).
"""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from one2345.data import LoadedObject, ShapesSource
from one2345.data.renderers import BlenderRenderer, RaycastRenderer
from one2345.data.sources import FolderSource, open_meshes
from one2345.errors import InputError
from one2345.geometry import OBJECT_EDGE, Cameras, orbit_cameras
from one2345.objects import MeshObject, Render
from one2345.objects.quality import MeshWarning

PYTHON = os.environ.get("ONE2345_BLENDER", "")
SHARED = Path(os.environ.get("ONE2345_SHARED", Path(__file__).parents[4] / "shared"))
SCANS = SHARED / "data/gso_dev"
pytestmark = pytest.mark.skipif(not PYTHON, reason="ONE2345_BLENDER doesn't name an interpreter that has bpy")


def both(loaded: LoadedObject, cameras: Cameras, **values) -> tuple[Render, Render]:
    blender = BlenderRenderer(python=PYTHON, threads=2, **values)
    return RaycastRenderer().render(loaded, cameras), blender.render(loaded, cameras)


def overlap(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a > 0.5, b > 0.5
    return float((a & b).sum() / (a | b).sum())


def surface(ours: Render, theirs: Render) -> torch.Tensor:
    """Pixels (v, h, w) both sides see wholly: none of their neighbours is background."""
    solid = ((ours.mask > 0.99) & (theirs.mask > 0.99) & (theirs.depth > 0)).float()[:, None]
    return -torch.nn.functional.max_pool2d(-solid, 3, 1, 1)[:, 0] > 0.5


def odd_cameras() -> Cameras:
    """Not square, pixels neither, principal points off the middle; each view its own."""
    cameras = orbit_cameras([0.0, 90.0, 200.0], [20.0, 0.0, 60.0], size=(96, 128))
    K = cameras.K.clone()
    K[0, 0, 0] *= 1.3
    K[0, 0, 2] += 10.3
    K[1, 1, 2] -= 8.6
    K[2, 1, 1] *= 1.25
    K[2, 1, 2] += 5.5
    return Cameras(K=K, c2w=cameras.c2w, size=cameras.size)


def test_an_analytic_shape_under_odd_cameras() -> None:
    ours, theirs = both(
        ShapesSource(train=4).load("shape-0-000003"), odd_cameras(), samples=4, surface="albedo"
    )
    seen = surface(ours, theirs)
    assert overlap(ours.mask, theirs.mask) > 0.99 and overlap(ours.depth > 0, theirs.depth > 0) > 0.99
    # Depth is along the axis: distance along the rays would be up to 12 % more at the corners.
    assert (ours.depth - theirs.depth).abs()[seen].quantile(0.99) < 0.01 * OBJECT_EDGE
    assert (ours.depth - theirs.depth).abs()[seen].median() < 5e-4
    assert (ours.normal * theirs.normal).sum(1)[seen].median() > 0.999
    assert (ours.rgb - theirs.rgb).abs().movedim(1, -1)[seen].mean() < 0.02


def _coloured(kind: str) -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=3)
    if kind == "factor":
        material = trimesh.visual.material.PBRMaterial(baseColorFactor=[200, 90, 30, 255], metallicFactor=0.0)
        mesh.visual = trimesh.visual.TextureVisuals(material=material)
    elif kind == "vertices":
        colours = np.full((len(mesh.vertices), 4), 255, dtype=np.uint8)
        colours[:, :3] = (mesh.vertices * 0.4 + 0.5) * 255
        mesh.visual.vertex_colors = colours
    return mesh


@pytest.mark.parametrize("kind", ["factor", "vertices", "plain"])
def test_base_colours_show_as_in_the_ray_caster(tmp_path: Path, kind: str) -> None:
    _coloured(kind).export(tmp_path / "a.glb")
    cameras = orbit_cameras([30.0], [10.0], size=64)
    ours, theirs = both(FolderSource(root=tmp_path).load("a"), cameras, samples=4, surface="albedo")
    seen = surface(ours, theirs)
    assert seen.sum() > 500
    assert (ours.rgb - theirs.rgb).abs().movedim(1, -1)[seen].max() < 0.02


def test_a_white_matt_sphere_in_white_light_is_nearly_white(tmp_path: Path) -> None:
    material = trimesh.visual.material.PBRMaterial(
        baseColorFactor=[188, 188, 188, 255], metallicFactor=0.0, roughnessFactor=1.0
    )
    mesh = trimesh.creation.icosphere(subdivisions=4)
    mesh.visual = trimesh.visual.TextureVisuals(material=material)
    mesh.export(tmp_path / "a.glb")
    loaded, cameras = FolderSource(root=tmp_path).load("a"), orbit_cameras([30.0], [10.0], size=48)
    ours, lit = both(loaded, cameras, samples=64)
    seen = surface(ours, lit)
    # A convex body in uniform light of radiance 1 shows its albedo, and some gloss of a dielectric above it.
    difference = (lit.rgb - ours.rgb).movedim(1, -1)[seen].mean()
    assert -0.01 < difference < 0.06
    dim = both(loaded, cameras, samples=64, light_strength=0.25)[1]
    linear = [((r.rgb.movedim(1, -1)[seen] + 0.055) / 1.055).pow(2.4).mean() for r in (dim, lit)]
    assert float(linear[0] / linear[1]) == pytest.approx(0.25, abs=0.01)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not SCANS.is_dir(), reason=f"no scans at {SCANS}; ONE2345_SHARED names their folder")
def test_scans() -> None:
    source = open_meshes(SCANS)
    cameras = orbit_cameras([0.0, 130.0], [20.0, -5.0], size=256)
    for id in source.ids():
        loaded = source.load(id)
        ours, theirs = both(loaded, cameras, samples=64, surface="albedo")
        assert isinstance(loaded.object, MeshObject)
        # Averages over pixels, as Blender's are; an odd number, so that no pixel is exactly half covered.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MeshWarning)
            fine = MeshObject(loaded.object.mesh, id=id, normalise=False, antialias=9, repair=False).render(
                cameras
            )
        seen = surface(ours, theirs)
        assert overlap(ours.depth > 0, theirs.depth > 0) > 0.99, id
        assert overlap(fine.mask, theirs.mask) > 0.99, id
        away = (ours.depth - theirs.depth).abs()[seen]
        assert away.mean() < 0.001 * OBJECT_EDGE and away.quantile(0.99) < 0.01 * OBJECT_EDGE, id
        assert (fine.rgb - theirs.rgb).abs().movedim(1, -1)[seen].mean() < 0.02, id


def test_a_file_that_is_read_another_way_is_refused(tmp_path: Path) -> None:
    _coloured("plain").export(tmp_path / "a.glb")
    loaded = FolderSource(root=tmp_path).load("a")
    assert loaded.asset is not None
    larger = replace(loaded, asset=replace(loaded.asset, to_world=1.02 * loaded.asset.to_world))
    with pytest.raises(
        InputError, match=r"a: Blender .* another way than the loader does: its bounds differ by 0\.008"
    ):
        both(larger, orbit_cameras([30.0], [10.0], size=16), samples=1)
