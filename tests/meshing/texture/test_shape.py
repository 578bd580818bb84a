"""Repair, decimation and smoothing: what is dropped, what is kept, and where the surface stays."""

import numpy as np
import pytest
import torch
from tests.meshing.texture.shapes import box, sphere

from one2345.errors import InputError
from one2345.geometry import Mesh
from one2345.meshing.texture import Repairs, decimate, repair, smooth, weld


def edge_counts(mesh):
    edges = np.sort(mesh.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    return np.unique(edges, axis=0, return_counts=True)[1]


def test_a_clean_mesh_stays_as_it_is():
    mesh = sphere()
    again, report = repair(mesh)
    assert report == Repairs()
    assert np.array_equal(again.faces, mesh.faces) and np.array_equal(again.vertices, mesh.vertices)


def test_degenerate_duplicate_and_non_manifold_faces_go_and_are_counted():
    mesh = box()
    a, b = mesh.faces[0, :2]
    extra = np.array([[*mesh.vertices[a]], [*(mesh.vertices[a] + mesh.vertices[b]) / 2], [0.01, 0.02, 0.03]])
    n = len(mesh.vertices)
    faces = [
        [a, a, b],  # an index twice
        [n, a, b],  # two vertices at one place
        [a, n + 1, b],  # three on a line
        mesh.faces[3][[1, 2, 0]],  # a copy
        mesh.faces[4][::-1],  # a copy that faces the other way
        [a, b, n + 2],  # a fin: the third face at an edge, the smallest of the three
    ]
    spoilt = Mesh(np.concatenate([mesh.vertices, extra]), np.concatenate([mesh.faces, faces]))
    clean, report = repair(spoilt, speck=0)
    assert report == Repairs(merged=1, degenerate=3, duplicate=2, non_manifold=1)
    assert np.array_equal(clean.vertices, mesh.vertices) and np.array_equal(clean.faces, mesh.faces)
    assert (edge_counts(clean) == 2).all() and clean.volume() == pytest.approx(0.6**3)


def test_specks_go_and_parts_stay():
    body, part = sphere(0.4, 2), sphere(0.05, 1)
    speck = Mesh(sphere(0.001, 0).vertices + 0.6, sphere(0.001, 0).faces)
    pieces, offset, vertices = [], 0, []
    for piece in (body, Mesh(part.vertices + np.array([0.5, 0, 0]), part.faces), speck):
        pieces.append(piece.faces + offset)
        vertices.append(piece.vertices)
        offset += len(piece.vertices)
    clean, report = repair(Mesh(np.concatenate(vertices), np.concatenate(pieces)))
    assert report.specks == 1 and len(clean.faces) == len(body.faces) + len(part.faces)


def test_seams_are_welded_in_the_order_of_the_vertices():
    mesh = sphere(0.4, 1)
    soup = Mesh(mesh.triangles.reshape(-1, 3), np.arange(3 * len(mesh.faces)).reshape(-1, 3))
    welded, merged = weld(soup)
    assert merged == 3 * len(mesh.faces) - len(mesh.vertices)
    assert np.allclose(welded.triangles, mesh.triangles)
    assert np.array_equal(welded.faces[0], [0, 1, 2])


def test_an_empty_mesh_and_one_of_nothing_but_lines():
    empty = Mesh(np.zeros((0, 3)), np.zeros((0, 3), int))
    assert repair(empty)[0].is_empty
    line = Mesh(np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0.0]]), np.array([[0, 1, 2]]))
    assert repair(line)[0].is_empty and repair(line)[1].degenerate == 1
    assert smooth(empty, 3).is_empty


def test_decimation_reaches_its_budget_and_keeps_the_surface():
    mesh = sphere(0.4, 6)  # 81,920 faces
    fewer = decimate(mesh, 5000)
    assert 4000 < len(fewer.faces) <= 5000
    assert (edge_counts(fewer) == 2).all()
    radius = np.linalg.norm(fewer.vertices, axis=1)
    assert np.abs(radius - 0.4).max() < 5e-4  # a facet of such a mesh sags by 3e-4
    assert fewer.volume() == pytest.approx(4 / 3 * np.pi * 0.4**3, rel=2e-3)
    flat = decimate(box(cells=40), 100)
    assert len(flat.faces) <= 100 and flat.volume() == pytest.approx(0.6**3, rel=1e-4)
    assert decimate(mesh, 100_000) is mesh
    with pytest.raises(InputError, match="at least 4"):
        decimate(mesh, 3)


def test_smoothing_removes_noise_and_keeps_the_volume():
    mesh = sphere(0.4, 4)
    random = torch.Generator().manual_seed(0)
    noise = 0.004 * torch.randn(len(mesh.vertices), 1, generator=random).numpy()
    rough = Mesh(mesh.vertices * (1 + noise / 0.4), mesh.faces)
    fair = smooth(rough, 10)
    assert fair.volume() == pytest.approx(rough.volume(), rel=1e-3)
    spread = [np.linalg.norm(m.vertices, axis=1).std() for m in (rough, fair)]
    assert spread[1] < 0.5 * spread[0]
    assert smooth(mesh, 0) is mesh
    with pytest.raises(InputError, match="smooth=-1"):
        smooth(mesh, -1)


def test_smoothing_keeps_the_volume_of_a_coarse_box_within_one_percent():
    """Corners go round, which without the correction would cost 3 % of the volume."""
    mesh = box(cells=6)
    assert smooth(mesh, 20).volume() == pytest.approx(0.6**3, rel=0.01)
    assert np.abs(smooth(mesh, 20).vertices - mesh.vertices).max() > 0.01


def test_the_rim_of_an_open_mesh_stays():
    mesh = sphere(0.4, 3)
    half = Mesh(mesh.vertices, mesh.faces[mesh.vertices[mesh.faces, 2].max(1) > 0.0])
    edges = np.sort(half.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    rim = np.unique(unique[count == 1])
    moved = smooth(half, 5)
    assert np.array_equal(moved.vertices[rim], half.vertices[rim])
    assert not np.array_equal(moved.vertices, half.vertices)
