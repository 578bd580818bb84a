import numpy as np
import pytest
import torch
from tests.evaluation.test_metrics import _box_mesh

from one2345.evaluation import grid_occupancy, is_closed
from one2345.geometry import Box, Mesh, evaluation_box
from one2345.meshing import extract
from one2345.objects.mesh_object import occupancy


def _join(*meshes):
    start = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.faces + s for m, s in zip(meshes, start)]),
    )


def _torus(p):
    return torch.sqrt((p[:, :2].norm(dim=-1) - 0.3) ** 2 + p[:, 2] ** 2) - 0.04


SPHERE = extract(lambda p: (p - 0.05).norm(dim=-1) - 0.3, Box(), resolution=48)
CASES = {
    "sphere": SPHERE,
    "thin torus": extract(_torus, Box(), resolution=64),
    "two triangles a side": _box_mesh(np.array([0.4, 0.031, 0.2])),
    "overlapping": _join(SPHERE, _box_mesh(np.array([0.4, 0.103, 0.107]))),
    "apart": _join(_box_mesh(np.ones(3) * 0.1, (0.3, 0, 0)), _box_mesh(np.ones(3) * 0.1, (-0.3, 0, 0))),
    "cavity": _join(SPHERE, Mesh(SPHERE.vertices * 0.5, SPHERE.faces[:, ::-1])),
    "beyond the grid": _box_mesh(np.array([0.2, 0.7, 0.2])),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_asking_every_node(name):
    mesh = CASES[name]
    assert is_closed(mesh)
    for resolution, grid in grid_occupancy(mesh, (24, 33)).items():
        nodes = evaluation_box(resolution).nodes().reshape(-1, 3).double().numpy()
        assert np.array_equal(grid.reshape(-1), occupancy(mesh, nodes))
        assert grid.any()


def test_open_mesh_is_asked_everywhere():
    mesh = Mesh(SPHERE.vertices, SPHERE.faces[: len(SPHERE.faces) // 2])
    assert not is_closed(mesh)
    grid = grid_occupancy(mesh, (24,))[24]
    nodes = evaluation_box(24).nodes().reshape(-1, 3).double().numpy()
    assert np.array_equal(grid.reshape(-1), occupancy(mesh, nodes))


def test_closed_asks_far_fewer_nodes(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "one2345.evaluation.occupancy.occupancy", lambda m, p: asked.append(len(p)) or occupancy(m, p)
    )
    grid_occupancy(SPHERE, (64,))
    assert asked[0] < 0.08 * 64**3


def test_twisted_winding_is_not_closed():
    faces = SPHERE.faces.copy()
    faces[5] = faces[5, ::-1]
    assert not is_closed(Mesh(SPHERE.vertices, faces))
