"""Boxes and the mesh value type."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from one2345.geometry import Box, Mesh, Rays, evaluation_box, normalise_transform, orbit

TETRAHEDRON = Mesh(
    vertices=np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    faces=np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]),
)


@pytest.mark.parametrize("align_corners", [False, True])
def test_nodes_and_indices_agree(align_corners: bool) -> None:
    box = Box(half_edge=0.4, resolution=5, pose=orbit(20.0, 30.0, 0.2), align_corners=align_corners)
    nodes = box.nodes()
    index = torch.stack(torch.meshgrid(*[torch.arange(5.0)] * 3, indexing="ij"), -1)
    assert torch.allclose(box.to_index(nodes), index, atol=1e-4)
    assert torch.allclose(box.to_world(box.to_unit(nodes)), nodes, atol=1e-6)
    assert math.isclose(float((nodes[1, 0, 0] - nodes[0, 0, 0]).norm()), box.voxel_size, rel_tol=1e-5)


def test_cell_centres_and_faces() -> None:
    assert Box(half_edge=0.5, resolution=4).axis().tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert Box(half_edge=0.5, resolution=3, align_corners=True).axis().tolist() == [-1, 0, 1]
    assert evaluation_box(64).half_edge == pytest.approx(0.48)


def test_ray_interval_closed_form() -> None:
    box = Box(half_edge=0.5, resolution=2)
    rays = Rays(
        origins=torch.tensor([[-2.0, 0, 0], [-2.0, 0.6, 0], [0.0, 0, 0], [2.0, 0, 0]]),
        directions=torch.tensor([[1.0, 0, 0]]).expand(4, 3),
    )
    near, far, hit = box.ray_interval(rays)
    assert torch.allclose(near[[0, 2]], torch.tensor([1.5, 0.0])) and torch.allclose(
        far[[0, 2]], torch.tensor([2.5, 0.5])
    )
    assert hit.tolist() == [True, False, True, False]
    assert (near <= far).all()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31))
def test_interval_ends_lie_on_the_box(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    box = Box(half_edge=0.5, resolution=2, pose=orbit(33.0, -20.0, 0.1))
    origins = torch.randn(50, 3, generator=generator) * 2
    directions = torch.nn.functional.normalize(
        0.2 * torch.randn(50, 3, generator=generator) - origins, dim=-1
    )
    rays = Rays(origins=origins, directions=directions)
    near, far, hit = box.ray_interval(rays)
    ends = box.to_unit(rays.at(far)).abs().amax(-1)
    assert torch.allclose(ends[hit], torch.ones_like(ends[hit]), atol=1e-4)
    assert (box.to_unit(rays.at((near + far) / 2)).abs().amax(-1)[hit] <= 1).all()


def test_tetrahedron_volume_area_and_mirror() -> None:
    assert TETRAHEDRON.volume() == pytest.approx(1 / 6)
    assert TETRAHEDRON.areas().sum() == pytest.approx(1.5 + math.sqrt(3) / 2)
    mirrored = TETRAHEDRON.transformed(np.diag([-1.0, 1, 1, 1]))
    assert mirrored.volume() == pytest.approx(1 / 6)  # still faces outwards
    assert np.allclose(TETRAHEDRON.face_normals()[3], np.ones(3) / math.sqrt(3))


def test_normalising_puts_the_longest_edge_to_0_8() -> None:
    stretched = TETRAHEDRON.transformed(np.diag([2.0, 5.0, 1.0, 1.0]))
    bounds = stretched.transformed(normalise_transform(stretched)).bounds
    assert np.allclose(bounds.mean(0), 0) and (bounds[1] - bounds[0]).max() == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vertices": np.zeros((3, 2)), "faces": np.zeros((0, 3))}, "vertices must be"),
        ({"vertices": np.full((3, 3), np.nan), "faces": np.zeros((1, 3))}, "NaN"),
        ({"vertices": np.zeros((3, 3)), "faces": np.array([[0, 1, 3]])}, "face indices"),
        (
            {"vertices": np.zeros((3, 3)), "faces": np.zeros((1, 3)), "colours": np.zeros((2, 3))},
            "colours must be",
        ),
        ({"vertices": np.zeros((3, 3)), "faces": np.zeros((1, 3)), "uv": np.zeros((2, 2))}, "uv must be"),
    ],
)
def test_bad_meshes_are_named(values: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mesh(**values)
