import time

import numpy as np
import pytest
import trimesh
from tests.evaluation.meshes import affine, box, join, sphere

from one2345.evaluation import topology
from one2345.evaluation.topology import Connectivity, Solid, mesh_facts
from one2345.geometry import Mesh
from one2345.objects.quality import solid
from one2345.objects.topology import is_degenerate, weld

BALL = sphere(0.3, subdivisions=4)
CUBE = box(np.full(3, 0.1))


def faces_of(mesh, faces):
    return Mesh(mesh.vertices, faces)


def test_a_ball():
    facts = mesh_facts(BALL)
    assert (facts.faces, facts.components, facts.floaters, facts.floater_area_fraction) == (5120, 1, 0, 0.0)
    assert facts.watertight and facts.open_edges == facts.nonmanifold_edges == 0
    assert facts.volume == pytest.approx(4 / 3 * np.pi * 0.3**3, rel=0.005)
    assert facts.area == pytest.approx(4 * np.pi * 0.3**2, rel=0.005)
    assert facts.thin is False


def test_seams_inside_out_and_far_away_make_no_difference():
    expected = mesh_facts(BALL)
    soup = Mesh(BALL.triangles.reshape(-1, 3), np.arange(3 * 5120).reshape(-1, 3))
    far = BALL.transformed(affine(shift=(1e4, 1e4, 0)))
    for mesh in (soup, faces_of(BALL, BALL.faces[:, ::-1]), far):
        facts = mesh_facts(mesh)
        assert facts.watertight and facts.components == 1
        assert facts.volume == pytest.approx(expected.volume, rel=1e-8)


@pytest.mark.parametrize("colliding", [False, True])
def test_equal_positions_are_merged_and_no_others(colliding, monkeypatch):
    if colliding:
        monkeypatch.setattr(topology, "FACTORS", (0, 0, 0))
    random = np.random.default_rng(0)
    vertices = random.integers(-2, 3, (400, 3)) * random.choice([0.0, -0.0, 1.0, 5e-324, 0.1], (400, 1))
    mesh = Mesh(vertices, random.integers(0, 400, (900, 3)))
    known, expected = Connectivity.of(mesh), weld(mesh)
    assert np.array_equal(known.kept, np.flatnonzero(~is_degenerate(expected)))
    pairs = np.unique(np.stack([known.welded, expected[known.kept]], -1).reshape(-1, 2), axis=0)
    assert len(np.unique(pairs[:, 0])) == len(np.unique(pairs[:, 1])) == len(pairs)


@pytest.mark.parametrize("largest", range(3))
def test_floaters_are_all_but_the_largest_component(largest):
    half = [0.1 if i == largest else 0.05 for i in range(3)]
    parts = [box(np.full(3, h), c) for h, c in zip(half, [(-0.4, 0, 0.3), (0, 0.4, 0), (0.4, 0, -0.3)])]
    mesh = join(*parts)
    mesh = faces_of(
        mesh, np.concatenate([[[0, 0, 1]] * 5, mesh.faces])
    )  # degenerate ones are of no component
    facts = mesh_facts(mesh)
    assert (facts.components, facts.floaters) == (3, 2)
    assert facts.floater_area_fraction == pytest.approx(2 / 6)
    assert facts.volume == pytest.approx(0.2**3 + 2 * 0.1**3)


def test_open_edges():
    facts = mesh_facts(faces_of(CUBE, CUBE.faces[1:]))
    assert (facts.open_edges, facts.nonmanifold_edges, facts.watertight) == (3, 0, False)
    assert facts.volume is None and facts.thin is None
    assert mesh_facts(faces_of(CUBE, CUBE.faces[1:]), volume=0.008).thin is False


def test_edges_of_more_than_two_faces():
    """Two cubes along one edge: closed, but not a manifold. A wall inside a cube: open."""
    touching = mesh_facts(join(CUBE, box(np.full(3, 0.1), (0.2, 0.2, 0))))
    assert (touching.nonmanifold_edges, touching.open_edges, touching.watertight) == (1, 0, True)
    assert touching.components == 1
    assert touching.volume == pytest.approx(2 * 0.2**3)
    wall = mesh_facts(faces_of(CUBE, np.concatenate([CUBE.faces, [[0, 3, 7], [0, 7, 4]]])))
    assert (wall.nonmanifold_edges, wall.watertight) == (4, False)


def test_a_sealed_cavity_belongs_to_the_volume():
    cavity = join(CUBE, faces_of(box(np.full(3, 0.05)), box(np.full(3, 0.05)).faces[:, ::-1]))
    assert mesh_facts(cavity).volume == pytest.approx(0.2**3)
    assert mesh_facts(cavity).floaters == 1


@pytest.mark.parametrize(
    ("thickness", "thin"), [(0.045, False), (0.042, False), (0.038, True), (0.001, True)]
)
def test_thin_is_a_plate_below_four_per_cent(thickness, thin):
    """2 · volume / area of a plate of edge 1 and thickness t is t / (1 + 2 t)."""
    t = thickness / (1 - 2 * thickness)
    plate = box([0.5, 0.5, t / 2])
    assert 2 * mesh_facts(plate).volume / mesh_facts(plate).area == pytest.approx(thickness)
    for scale in (1.0, 0.8, 30.0):
        assert mesh_facts(plate.transformed(affine(scale=scale))).thin is thin


def test_turned_faces_are_closed_but_unbalanced():
    faces = BALL.faces.copy()
    faces[::7] = faces[::7, ::-1]
    mesh = faces_of(BALL, faces)
    known = Connectivity.of(mesh)
    assert known.open_edges == 0 < known.unbalanced_edges <= 3 * len(faces[::7])
    assert not known.balanced
    assert mesh_facts(mesh).watertight
    assert mesh_facts(mesh).volume == pytest.approx(mesh_facts(BALL).volume)


def test_a_surface_with_one_side_has_no_volume():
    """Klein's bottle: no open edge, and no inside."""
    u, v = np.meshgrid(np.arange(24), np.arange(16), indexing="ij")
    corner = lambda i, j: ((i % 24) * 16 + (np.where(i >= 24, -j, j) % 16)).reshape(-1)  # noqa: E731
    a, b, c, d = corner(u, v), corner(u + 1, v), corner(u + 1, v + 1), corner(u, v + 1)
    faces = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)])
    vertices = np.random.default_rng(0).normal(size=(24 * 16, 3))
    facts = mesh_facts(Mesh(vertices, faces))
    assert facts.watertight and facts.components == 1
    assert facts.volume is None and facts.thin is None


def test_nothing_to_say():
    for faces in (np.zeros((0, 3), int), [[0, 0, 1]]):
        facts = mesh_facts(Mesh(np.zeros((3, 3)), faces))
        assert (facts.components, facts.floaters, facts.watertight) == (0, 0, False)
        assert facts.area == facts.floater_area_fraction == 0


@pytest.mark.parametrize("seed", range(3))
def test_as_trimesh_counts(seed):
    """Random faces left out of a ball, and some doubled."""
    random = np.random.default_rng(seed)
    kept = BALL.faces[random.random(5120) < 0.7]
    mesh = faces_of(BALL, np.concatenate([kept, np.roll(kept[:40], 1, axis=1)]))
    facts = mesh_facts(mesh)
    edges = np.sort(trimesh.geometry.faces_to_edges(mesh.faces), axis=1)
    uses = np.unique(edges, axis=0, return_counts=True)[1]
    assert facts.open_edges == (uses % 2).sum()
    assert facts.nonmanifold_edges == (uses > 2).sum()
    assert facts.components == len(trimesh.graph.connected_components(edges, min_len=2))
    assert facts.area == pytest.approx(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).area)


@pytest.mark.parametrize(
    "mesh", [BALL, faces_of(BALL, BALL.faces[:, ::-1]), join(CUBE, BALL), faces_of(BALL, BALL.faces[:99])]
)
def test_the_solid_is_that_of_the_objects(mesh):
    made, (kept, dropped, turned) = Solid.of(mesh), solid(mesh)
    assert np.array_equal(made.mesh.faces, kept.faces)
    assert (made.dropped, made.turned) == (dropped, turned)
    assert made.connectivity.balanced == (Connectivity.of(kept).unbalanced_edges == 0)


@pytest.mark.slow
def test_a_million_faces_take_seconds():
    mesh = sphere(0.3, subdivisions=8)
    start = time.process_time()
    assert mesh_facts(mesh).watertight
    assert time.process_time() - start < 6
