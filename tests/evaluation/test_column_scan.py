import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evaluation.meshes import box, join, sphere

from one2345.evaluation import column_scan
from one2345.evaluation.column_scan import winding_numbers
from one2345.geometry import Box, Mesh, evaluation_box
from one2345.objects.cpu_backend import CpuBackend


def scan(mesh, grid):
    return winding_numbers(mesh.vertices, mesh.faces, grid)


def nodes_of(grid):
    return grid.nodes().double().numpy()


def cube_at(low, high):
    """The cube between two corners, to the bit."""
    unit = box(np.full(3, 0.5), np.full(3, 0.5))
    return Mesh(np.where(unit.vertices > 0.5, high, low), unit.faces)


def test_a_cube_aligned_with_the_nodes_holds_its_lower_faces():
    grid = evaluation_box(24)
    nodes = nodes_of(grid)
    low, high = (5, 3, 8), (17, 20, 9)
    expected = np.zeros((24, 24, 24), np.int32)
    expected[5:17, 3:20, 8:9] = 1
    assert np.array_equal(scan(cube_at(nodes[low], nodes[high]), grid), expected)


def test_cubes_of_a_lattice_fill_it_without_gaps():
    """Voxels drawn as cubes with their corners on the nodes: faces, edges and corners touch all over."""
    random = np.random.default_rng(0)
    filled = random.random((11, 11, 11)) < 0.4
    grid = Box(half_edge=0.37, resolution=12)
    nodes = nodes_of(grid)
    cubes = [cube_at(nodes[tuple(v)], nodes[tuple(v + 1)]) for v in np.argwhere(filled)]
    result = scan(join(*cubes), grid)
    assert np.array_equal(result[:11, :11, :11], filled)
    assert not result[11].any() and not result[:, 11].any() and not result[:, :, 11].any()


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_no_column_slips_between_triangles(data):
    """Tetrahedra with corners on nodes, halfway between, or one bit beside either, flat ones among them, of any
    orientation: nothing leaves the box, and nodes off the surface have the winding number that they should."""
    grid = Box(half_edge=4, resolution=8)  # nodes that floats hold exactly
    count = data.draw(st.integers(1, 6))
    places = st.tuples(st.integers(-5, 5), st.sampled_from([0, 0, 0, -np.inf, np.inf]))
    drawn = np.array(data.draw(st.lists(places, min_size=12 * count, max_size=12 * count)))
    half, beside = drawn.T
    corners = np.where(beside == 0, half / 2, np.nextafter(half / 2, beside)).reshape(-1, 3)
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    mesh = Mesh(corners, np.concatenate([faces + 4 * i for i in range(count)]))
    result = scan(mesh, grid)
    assert not result[[0, -1]].any() and not result[:, [0, -1]].any() and not result[:, :, [0, -1]].any()
    points = nodes_of(grid).reshape(-1, 3)
    clear = CpuBackend(mesh.vertices, mesh.faces).closest(points)[0] > 1e-4
    assert np.array_equal(result.reshape(-1)[clear], _winding(corners.reshape(-1, 4, 3), points)[clear])


def _winding(tetrahedra, points):
    """(p,) sum over tetrahedra (t, 4, 3) of their orientation, where they hold a point, by barycentric weights."""
    total = np.zeros(len(points), np.int64)
    for t in tetrahedra:
        edges = (t[1:] - t[0]).T
        volume = np.linalg.det(edges)
        if abs(volume) > 1e-12:
            weights = np.linalg.solve(edges, (points - t[0]).T)
            total += np.where((weights > 0).all(0) & (weights.sum(0) < 1), int(np.sign(volume)), 0)
    return total


def test_crossings_stay_on_their_edge():
    """Else a triangle that meets no column by its corners could meet one by the rounding of a crossing: of a row
    just below the upper end the share can round to 1."""
    a, b = np.random.default_rng(0).normal(size=(2, 10_000))
    low, high = np.minimum(a, b), np.maximum(a, b)
    beyond = a + 1.0 * (b - a)
    assert ((beyond < low) | (beyond > high)).any()
    crossing = column_scan._between(a, b, np.ones(len(a)))
    assert ((crossing >= low) & (crossing <= high)).all()


def test_sheets_add_up():
    a, b = sphere(0.2, (-0.05, 0, 0)), sphere(0.2, (0.05, 0, 0))
    grid = evaluation_box(32)
    both = scan(join(a, b), grid)
    assert np.array_equal(both, scan(a, grid) + scan(b, grid))
    assert both.max() == 2
    assert np.array_equal(scan(Mesh(a.vertices, a.faces[:, ::-1]), grid), -scan(a, grid))


def test_the_volume_of_a_sphere_converges():
    mesh = sphere(0.31, (0.013, -0.027, 0.041), subdivisions=6)
    true = 4 / 3 * np.pi * 0.31**3
    errors = []
    for resolution in (16, 32, 64, 128):
        grid = evaluation_box(resolution)
        errors.append(abs(np.count_nonzero(scan(mesh, grid)) * grid.voxel_size**3 / true - 1))
        assert errors[-1] < 0.6 * (grid.voxel_size / 0.31) ** 2
    assert errors[-1] < 4e-4


def test_larger_than_the_box():
    grid = evaluation_box(16)
    assert (scan(box(np.full(3, 5.0)), grid) == 1).all()
    slab = scan(box([0.1, 1e6, 1e6]), grid)
    assert np.array_equal(slab == 1, np.abs(nodes_of(grid)[..., 0]) < 0.1)
    for away in np.eye(3) * 3:
        assert not scan(box(np.full(3, 0.1), away), grid).any()
        assert not scan(box(np.full(3, 0.1), -away), grid).any()


@pytest.mark.parametrize("pairs", [1, 7, 100])
def test_chunks_change_nothing(pairs, monkeypatch):
    mesh, grid = join(sphere(0.3, subdivisions=2), box([0.4, 0.03, 0.2])), evaluation_box(20)
    whole = scan(mesh, grid)
    monkeypatch.setattr(column_scan, "PAIRS", pairs)
    assert np.array_equal(scan(mesh, grid), whole)


def test_a_turned_box_is_scanned_along_its_own_axes():
    angle = 0.7
    pose = torch.eye(4)
    pose[:2, :2] = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    pose[:3, 3] = torch.tensor([0.05, -0.02, 0.01])
    grid = Box(half_edge=0.5, resolution=24, pose=pose)
    mesh = box([0.3, 0.1, 0.2], (0.03, 0.02, 0.01))
    inside = (np.abs(nodes_of(grid) - [0.03, 0.02, 0.01]) < [0.3, 0.1, 0.2]).all(-1)
    assert np.array_equal(scan(mesh, grid), inside)


@pytest.mark.slow
def test_a_million_faces():
    mesh = sphere(0.4, subdivisions=8)
    assert len(mesh.faces) > 1_000_000
    grid = evaluation_box(128)
    nodes = nodes_of(grid)
    radius = np.linalg.norm(nodes, axis=-1)
    sure = np.abs(radius - 0.4) > 1e-4
    assert np.array_equal(scan(mesh, grid)[sure], (radius < 0.4)[sure])
