import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.evaluation.meshes import affine, box, join, sphere

from one2345.evaluation import occupancy as occupancy_file
from one2345.evaluation.holes import cap, near_holes
from one2345.evaluation.occupancy import occupy
from one2345.evaluation.topology import Connectivity, Solid
from one2345.geometry import Box, Mesh, evaluation_box, normalise_transform
from one2345.meshing import extract
from one2345.objects import load_mesh
from one2345.objects.mesh_object import occupancy

SHARED = Path(os.environ.get("ONE2345_SHARED", Path(__file__).parents[3] / "shared"))
SCANS = SHARED / "data" / "gso_dev"


def turned(mesh):
    return Mesh(mesh.vertices, mesh.faces[:, ::-1])


def without(mesh, *faces):
    return Mesh(mesh.vertices, np.delete(mesh.faces, faces, axis=0))


def soup(mesh):
    """Each face with vertices of its own, as a file with a texture seam at every edge."""
    return Mesh(mesh.triangles.reshape(-1, 3), np.arange(3 * len(mesh.faces)).reshape(-1, 3))


def _torus(p):
    return torch.sqrt((p[:, :2].norm(dim=-1) - 0.3) ** 2 + p[:, 2] ** 2) - 0.04


SPHERE = sphere(0.3, (0.05, 0.05, 0.05), subdivisions=4)
CUBE = box(np.ones(3) * 0.1)
CLOSED = {
    "sphere": SPHERE,
    "thin torus": extract(_torus, Box(), resolution=64),
    "two triangles a side": box(np.array([0.4, 0.031, 0.2])),
    "overlapping": join(SPHERE, box(np.array([0.4, 0.103, 0.107]))),
    "apart": join(box(np.ones(3) * 0.1, (0.3, 0, 0)), box(np.ones(3) * 0.1, (-0.3, 0, 0))),
    "cavity": join(SPHERE, turned(sphere(0.15, (0.05, 0.05, 0.05), subdivisions=3))),
    "solid in a solid": join(SPHERE, sphere(0.15, (0.05, 0.05, 0.05), subdivisions=3)),
    "inside out": turned(SPHERE),
    "one of two inside out": join(turned(SPHERE), box(np.ones(3) * 0.1, (-0.35, 0, 0))),
    "some faces turned": Mesh(
        SPHERE.vertices, np.where(np.arange(5120)[:, None] % 7, SPHERE.faces, SPHERE.faces[:, ::-1])
    ),
    "beyond the grid": box(np.array([0.2, 0.7, 0.2])),
    "seams": soup(SPHERE),
}  # fmt: skip
OPEN = {
    "half": without(SPHERE, *np.flatnonzero(SPHERE.triangles.mean(1)[:, 0] > 0.1)),
    "one hole": without(SPHERE, 100),
    "holes": without(SPHERE, *range(0, 5120, 97)),
    "inside out with a hole": turned(without(SPHERE, *range(100, 120))),
    "open and closed": join(without(CUBE, 0, 1), box(np.ones(3) * 0.1, (-0.3, 0, 0))),
    "twice the same hole": join(without(SPHERE, *range(50)), without(SPHERE, *range(50))),
    "a sheet": Mesh(CUBE.vertices, CUBE.faces[:2]),
    "cracks": Mesh(
        soup(SPHERE).vertices + np.random.default_rng(0).normal(size=(3 * 5120, 3)) * 1e-7, soup(SPHERE).faces
    ),
}


def asked_everywhere(mesh, grid):
    nodes = grid.nodes().reshape(-1, 3).double().numpy()
    return occupancy(mesh, nodes).reshape((grid.resolution,) * 3)


@pytest.mark.parametrize("name", CLOSED)
def test_closed_is_scanned_and_equals_asking_every_node(name):
    for resolution in (24, 33):
        grid = evaluation_box(resolution)
        found = occupy(CLOSED[name], grid)
        assert found.method == "column scan"
        assert np.array_equal(found.grid, asked_everywhere(CLOSED[name], grid))
        assert found.grid.any()


@pytest.mark.parametrize("name", OPEN)
def test_open_equals_asking_every_node(name):
    for resolution in (24, 33):
        grid = evaluation_box(resolution)
        found = occupy(OPEN[name], grid)
        assert found.method == "winding number"
        assert np.array_equal(found.grid, asked_everywhere(OPEN[name], grid))
        assert found.grid.any() or name == "a sheet"


def test_small_holes_are_asked_about_nearby_only():
    mesh, grid = OPEN["one hole"], evaluation_box(64)
    caps = cap(mesh, Connectivity.of(mesh))
    assert caps.holes == 1 and len(caps.corners) == 3
    near = near_holes(caps, grid)
    assert 0 < near.mean() < 0.03
    assert near[tuple((grid.to_index(torch.from_numpy(caps.corners[0, 0]))).round().long())]
    closed = Mesh(caps.vertices, caps.faces)
    assert Connectivity.of(closed).balanced
    assert occupy(closed, grid).volume == pytest.approx(4 / 3 * np.pi * 0.3**3, rel=0.02)


def test_far_from_half_a_sphere_the_bound_holds():
    """The share of the sphere that a disc fills, in closed form on its axis."""
    mesh = without(sphere(0.1), *np.flatnonzero(sphere(0.1).triangles.mean(1)[:, 2] > 0))
    grid = Box(half_edge=0.5, resolution=64)
    near = near_holes(cap(mesh, Connectivity.of(mesh)), grid)
    axis = grid.nodes().numpy()[32, 32, :, 2]
    share = (1 - np.abs(axis) / np.hypot(axis, 0.1)) / 2
    assert near[32, 32][share > 0.47].all()
    assert not near[32, 32][share < 0.05].any()


def test_between_two_wide_holes_is_outside():
    """A low frame without top and bottom: seen from between them the holes fill most of the sphere."""
    frame = box([0.3, 0.3, 0.12])
    flat = np.ptp(frame.triangles[..., 2], axis=1) == 0
    mesh, grid = without(frame, *np.flatnonzero(flat)), Box(half_edge=0.5, resolution=96)
    caps = cap(mesh, Connectivity.of(mesh))
    assert caps.holes == 2
    assert not near_holes(caps, grid).all()
    assert not occupy(mesh, grid).grid[48, 48, 48]
    assert np.array_equal(occupy(mesh, grid).grid, asked_everywhere(mesh, grid))


def test_what_was_done_to_the_mesh_is_told():
    found = occupy(CLOSED["cavity"], evaluation_box(16))
    assert found.dropped == 1 and found.turned > 0
    assert occupy(CLOSED["some faces turned"], evaluation_box(16)).turned == int(np.ceil(5120 / 7))
    assert occupy(SPHERE, evaluation_box(16)).dropped == occupy(SPHERE, evaluation_box(16)).turned == 0


def test_closed_forms():
    """Volumes of a union, of a sealed cavity, and of cubes that touch in a face, an edge and a corner."""
    grid = evaluation_box(96)
    r, d = 0.2, 0.15
    lens = np.pi * (4 * r + d) * (2 * r - d) ** 2 / 12
    union = join(sphere(r, (-d / 2, 0.01, 0)), sphere(r, (d / 2, 0.01, 0)))
    assert occupy(union, grid).volume == pytest.approx(2 * 4 / 3 * np.pi * r**3 - lens, rel=0.003)
    assert occupy(CLOSED["cavity"], grid).volume == pytest.approx(4 / 3 * np.pi * 0.3**3, rel=0.004)
    cubes = join(*(box(np.full(3, 0.1), c) for c in [(0.1, 0.1, 0.1), (-0.1, 0.1, 0.1), (-0.1, -0.1, -0.1)]))
    assert occupy(cubes, grid).volume == pytest.approx(3 * 0.2**3, rel=1e-6)


def test_one_solid_for_several_boxes_and_placements():
    shape = Solid.of(CLOSED["one of two inside out"])
    for resolution in (16, 24):
        grid = evaluation_box(resolution)
        assert np.array_equal(occupy(shape, grid).grid, occupy(shape.mesh, grid).grid)
    for matrix in (affine(0.9, 30, (0.01, 0.02, 0)), np.diag([1.0, -1, 1, 1])):
        for mesh in (CLOSED["sphere"], OPEN["half"], OPEN["one hole"]):
            moved = Solid.of(mesh).transformed(matrix)
            expected = occupy(mesh.transformed(matrix), evaluation_box(48))
            assert np.array_equal(occupy(moved, evaluation_box(48)).grid, expected.grid)
            assert expected.grid.any()
            caps = cap(moved.mesh, moved.connectivity)
            assert Connectivity.of(Mesh(caps.vertices, caps.faces)).balanced


def test_nothing_is_inside_a_mesh_without_volume():
    empty = Mesh(np.zeros((3, 3)), np.zeros((0, 3), int))
    line = Mesh(np.array([[0, 0, 0], [0.1, 0, 0], [0.2, 0, 0]]), [[0, 1, 2], [0, 1, 1]])
    both_sides = Mesh(CUBE.vertices, np.concatenate([CUBE.faces[:2], CUBE.faces[:2, ::-1]]))
    for mesh in (empty, Mesh(np.zeros((0, 3)), np.zeros((0, 3), int)), line, both_sides):
        assert not occupy(mesh, evaluation_box(16)).grid.any()


def test_nodes_are_asked_in_chunks(monkeypatch):
    grid = evaluation_box(24)
    whole = occupy(OPEN["half"], grid).grid
    monkeypatch.setattr(occupancy_file, "CHUNK", 1000)
    assert np.array_equal(occupy(OPEN["half"], grid).grid, whole)


@pytest.mark.skipif(not SCANS.is_dir(), reason=f"no scans at {SCANS}; ONE2345_SHARED names their folder")
@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("Android_Figure_Orange", "column scan"),
        ("BUNNY_RACER", "column scan"),
        ("Rubbermaid_Large_Drainer", "column scan"),
        ("Sonny_School_Bus", "column scan"),
        ("Razer_Kraken_Pro_headset_Full_size_Black_with_cable", "winding number"),
    ],
)
def test_scans(name, method):
    """Google Scanned Objects (c) Google LLC, CC-BY-4.0, Downs et al., ICRA 2022."""
    mesh = replace(load_mesh(SCANS / "glb" / f"{name}.glb"), texture=None, uv=None)
    mesh = mesh.transformed(normalise_transform(mesh))
    found = occupy(mesh, evaluation_box(64))
    assert found.method == method
    assert np.array_equal(found.grid, asked_everywhere(mesh, evaluation_box(64)))
