import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evaluation.meshes import box, join, sphere

from one2345.evaluation import enclosed
from one2345.evaluation.enclosed import find_enclosed
from one2345.evaluation.topology import Connectivity, Solid
from one2345.geometry import Mesh
from one2345.objects.cavities import drop_enclosed
from one2345.objects.quality import solid


def found(*parts):
    """One verdict per part."""
    mesh = join(*parts)
    labels = np.repeat(np.arange(len(parts)), [len(p.faces) for p in parts])
    return find_enclosed(mesh, labels, len(parts)).tolist()


BALL = sphere(0.3, subdivisions=3)


def test_inside_outside_and_across():
    inside, outside = box(np.full(3, 0.1), (0.05, 0, 0)), box(np.full(3, 0.01), (0.26, 0.26, 0.26))
    across, larger = box(np.full(3, 0.05), (0.27, 0, 0)), box(np.full(3, 0.5))
    assert found(inside, BALL, outside, across) == [True, False, False, False]
    assert found(inside, BALL, outside, across, larger) == [True, True, True, True, False]
    turned = Mesh(BALL.vertices, BALL.faces[:, ::-1])
    assert found(turned, inside, sphere(0.02, subdivisions=1)) == [False, True, True]


def test_cubes_on_one_lattice():
    """Every ray along an axis would meet edges."""
    corners = np.stack(np.meshgrid(*[np.arange(-2.0, 3)] * 3, indexing="ij"), -1).reshape(-1, 3) * 0.1
    small = [box(np.full(3, 0.025), c) for c in corners]
    assert found(box(np.full(3, 0.3)), *small) == [False] + [True] * 125
    assert found(box(np.full(3, 0.15)), *small) == [False, *(np.abs(corners).max(1) < 0.15).tolist()]


@pytest.fixture
def asked(monkeypatch):
    """Grows when winding numbers are asked for."""
    calls = []
    real = enclosed.CpuBackend
    monkeypatch.setattr(enclosed, "CpuBackend", lambda *a: calls.append(1) or real(*a))
    return calls


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_what_touches_is_left_to_winding_numbers(scale, asked):
    """A tip in the middle of one of the container's triangles, from inside."""
    tip = BALL.triangles[100].mean(0)
    base = np.array([[0.0, 0, 0], [0.05, 0, 0], [0, 0.05, 0]])
    faces = [[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]]
    for share, touches in ((0.99, False), (1, True)):
        tetrahedron = Mesh(np.concatenate([base, [tip * share]]) * scale, faces)
        ball = Mesh(BALL.vertices * scale, BALL.faces)
        verdict = found(ball, tetrahedron)
        assert bool(asked) == touches
        assert verdict == [False, drop_enclosed(join(ball, tetrahedron))[1] > 0]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(2, 9))
def test_the_solid_is_that_of_the_objects(seed, count):
    """Balls and boxes of any size and orientation, inside each other and through each other."""
    random = np.random.default_rng(seed)
    parts: list[Mesh] = []
    for _ in range(count):
        size, centre = 0.4 * random.random() ** 2 + 0.01, random.normal(size=3) * 0.1
        part = (
            sphere(size, centre, subdivisions=2) if random.random() < 0.5 else box(np.full(3, size), centre)
        )
        parts.append(Mesh(part.vertices, part.faces[:, ::-1] if random.random() < 0.4 else part.faces))
    mesh = join(*parts)
    assert Connectivity.of(mesh).balanced
    made, (kept, dropped, turned) = Solid.of(mesh), solid(mesh)
    assert np.array_equal(made.mesh.faces, kept.faces)
    assert (made.dropped, made.turned) == (dropped, turned)
    assert made.connectivity.balanced


def test_too_many_pairs_for_rays_are_left_to_winding_numbers(monkeypatch, asked):
    parts = [BALL, sphere(0.1, (0.1, 0, 0), subdivisions=2), box(np.full(3, 0.01), (0.26, 0.26, 0.26))]
    assert found(*parts) == [False, True, False]
    assert not asked
    monkeypatch.setattr(enclosed, "PAIRS", 0)
    assert found(*parts) == [False, True, False]
    assert asked
