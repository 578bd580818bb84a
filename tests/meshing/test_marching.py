"""The surface through cells: closed whatever the values, wound outwards, where another implementation puts it."""

import numpy as np
import pytest
import torch
from skimage.measure import marching_cubes
from tests.meshing.fields import rough, torus

from one2345.geometry import Box
from one2345.meshing import extract
from one2345.meshing.lattice import Lattice, sample_dense
from one2345.meshing.marching import EDGES, STEP, triangles_by_case


def test_noise_has_a_closed_surface() -> None:
    """Whatever two cells make of an ambiguous face: each edge of the mesh has two triangles, one in each direction."""
    noise = torch.randn(16, 16, 16, generator=torch.Generator().manual_seed(0))
    box = Box(resolution=16)

    def field(points: torch.Tensor) -> torch.Tensor:
        x, y, z = box.to_index(points).round().long().unbind(-1)
        return noise[x, y, z]

    mesh = extract(field, box, resolution=16, dense=True)
    edges = mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    count = len(mesh.vertices)
    there, back = (edges[:, a].astype(np.int64) * count + edges[:, b] for a, b in ((0, 1), (1, 0)))
    assert len(mesh.faces) > 5000
    assert len(np.unique(there)) == len(there)
    assert np.array_equal(np.sort(there), np.sort(back))
    assert mesh.volume() > 0


def test_triangles_use_the_crossed_edges_of_their_case() -> None:
    for case, triangles in enumerate(triangles_by_case()):
        crossed = {
            number
            for number, (low, axis) in enumerate(EDGES)
            if (case >> low & 1) != (case >> (low + STEP[axis]) & 1)
        }
        assert {edge for triangle in triangles for edge in triangle} == crossed


@pytest.mark.parametrize("field", [torus, rough], ids=lambda f: f.__name__)
def test_vertices_are_where_scikit_image_puts_them(field) -> None:
    box = Box(resolution=48)
    lattice = Lattice(field, box)
    sample_dense(lattice)
    theirs, faces, _, _ = marching_cubes(lattice.dense().numpy(), 0.0, gradient_direction="descent")
    mesh = extract(field, box, resolution=48, dense=True)
    ours = (mesh.vertices / (2 * box.half_edge) + 0.5) * 48 + 0.5  # the margin is their node 0
    assert len(ours) == len(theirs) and abs(len(mesh.faces) - len(faces)) <= 4
    order, their_order = (np.lexsort(v.round(3).T) for v in (ours, theirs))
    np.testing.assert_allclose(ours[order], theirs[their_order], atol=2e-3)
