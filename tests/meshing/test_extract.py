import logging

import numpy as np
import pytest
import torch
from tests.meshing.fields import FIELDS, box, leaving, rough, sphere, torus

from one2345.errors import EmptySurfaceError, InputError
from one2345.geometry import Box, orbit
from one2345.meshing import components, extract, extract_with_stats
from one2345.meshing.coarse_to_fine import _crossings, sample_near_surface
from one2345.meshing.lattice import Lattice, sample_dense


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("field", FIELDS, ids=lambda f: f.__name__)
@pytest.mark.parametrize(("resolution", "finest"), [(128, 4), (97, 2)])
def test_equals_dense(field, resolution, finest, align_corners):
    where = Box(align_corners=align_corners)
    fine, stats = extract_with_stats(field, where, resolution=resolution, coarse=16, finest=finest)
    dense, all_ = extract_with_stats(field, where, resolution=resolution, dense=True)
    assert np.array_equal(fine.faces, dense.faces)
    assert np.array_equal(fine.vertices, dense.vertices)
    assert stats.evaluations < all_.evaluations == resolution**3


def test_saves_evaluations_at_256():
    _, stats = extract_with_stats(torus, Box(), resolution=256)
    assert stats.evaluations < 0.03 * 256**3
    assert stats.rounds == 1
    assert stats.widened == 0


def test_kept_nodes_hold_the_dense_values():
    fine, dense = (Lattice(rough, Box(resolution=100)) for _ in range(2))
    sample_near_surface(fine, coarse=12)
    sample_dense(dense)
    index, value = fine.known()
    assert fine.evaluations == len(index) < 100**3
    assert torch.equal(value, dense.values(index))
    assert torch.equal(fine.dense() > 0, dense.dense() > 0)


def test_sphere_is_where_it_should_be():
    mesh = extract(sphere, Box(), resolution=128)
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.37).max() < 1e-4
    assert mesh.volume() == pytest.approx(4 / 3 * np.pi * 0.37**3, rel=2e-3)
    assert (np.einsum("mi,mi->m", mesh.face_normals(), mesh.triangles.mean(1)) >= 0).all()


def test_rotated_box_gives_the_same_surface():
    pose = orbit(33.0, 21.0, 0.05)
    mesh = extract(box, Box(half_edge=0.6, pose=pose), resolution=128)
    assert np.abs(box(torch.from_numpy(mesh.vertices).float()).numpy()).max() < 4e-3
    assert mesh.volume() == pytest.approx(8 * 0.4 * 0.21 * 0.03, rel=0.02)


@pytest.mark.parametrize("dense", [False, True])
def test_closed_at_the_wall(dense):
    mesh = extract(leaving, Box(), resolution=64, dense=dense)
    assert is_closed(mesh)
    assert mesh.bounds[:, 0] == pytest.approx([-0.5, 0.5], abs=1e-6)
    assert mesh.volume() == pytest.approx(0.22, rel=0.01)


def is_closed(mesh):
    edges = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
    return (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


@pytest.mark.parametrize("resolution", [5, 9, 10, 33])
def test_small_lattices_are_closed_at_the_wall_too(resolution):
    def large(p):
        return p.norm(dim=-1) - 0.6

    mesh = extract(large, Box(), resolution=resolution)
    dense = extract(large, Box(), resolution=resolution, dense=True)
    assert np.array_equal(mesh.vertices, dense.vertices)
    assert is_closed(mesh)
    volume = 4 / 3 * np.pi * 0.6**3 - 6 * np.pi / 3 * 0.1**2 * (3 * 0.6 - 0.1)  # the ball less its six caps
    assert mesh.volume() == pytest.approx(volume, rel=0.3 if resolution < 9 else 0.03)


def _hidden(p):
    """Between any two coarse samples of a gentle field, a steep pit: the slope sampling is not told of it."""
    pit = (p - torch.tensor([0.3, 0.3, 0.3])).norm(dim=-1)
    return torch.where(pit < 0.05, 40 * (pit - 0.04), (p[:, 2] + 0.1).clamp(-1, 1))


def test_breach_is_found_logged_and_repaired(caplog):
    with caplog.at_level(logging.DEBUG, "one2345.meshing"):
        fine, stats = extract_with_stats(rough, Box(), resolution=128, lipschitz=0.05, probes=50000)
    dense = extract(rough, Box(), resolution=128, dense=True)
    assert np.array_equal(fine.vertices, dense.vertices)
    assert stats.widened > 0
    assert stats.rounds > 1
    assert "band widened" in caplog.text


def test_piece_in_skipped_blocks_is_found_by_probes_and_followed(caplog):
    with caplog.at_level(logging.DEBUG, "one2345.meshing"):
        fine, stats = extract_with_stats(
            _hidden, Box(), resolution=128, coarse=4, lipschitz=1.0, probes=100000
        )
    dense = extract(_hidden, Box(), resolution=128, dense=True)
    assert np.array_equal(fine.vertices, dense.vertices)
    assert stats.widened > 0
    assert len(np.unique(components(fine)[fine.faces[:, 0]])) == 2


def test_chunks_are_respected():
    sizes = []

    def field(p):
        sizes.append(len(p))
        assert p.dtype == torch.float32
        return sphere(p)

    extract(field, Box(), resolution=48, chunk=1000)
    assert max(sizes) == 1000


@pytest.mark.parametrize(("shift", "word"), [(2.0, "outside"), (-2.0, "inside")])
def test_no_surface_names_the_range(shift, word):
    with pytest.raises(EmptySurfaceError, match=rf"\[.*\].*{word}"):
        extract(lambda p: p.norm(dim=-1) * 0.5 + shift, Box(), resolution=64)


def test_bad_fields_are_named():
    with pytest.raises(InputError, match="NaN at"):
        extract(lambda p: p[:, 0] * torch.nan, Box(), resolution=16)
    with pytest.raises(InputError, match="shape"):
        extract(lambda p: p, Box(), resolution=16)
    with pytest.raises(InputError, match="finest"):
        extract(sphere, Box(), resolution=64, finest=3)


@pytest.mark.slow
def test_512_stays_in_bounded_memory():
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    mesh = extract(torus, Box(), resolution=512)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert len(mesh.faces) > 300_000
    assert grown < 700


@pytest.mark.parametrize(("n", "size"), [(13, 4), (12, 2), (16, 4)])
def test_skipped_blocks_that_touch_the_other_side(n, size):
    """Against the definition, block by block."""
    generator = torch.Generator().manual_seed(n)
    waves = torch.tensor([91.0, 57.0, 33.0])
    lattice = Lattice(lambda points: torch.sin(points @ waves) + 0.98, Box(resolution=n))
    lattice.evaluate(torch.randint(0, n, (n**3 // 4, 3), generator=generator))
    m = -(-(n - 1) // size)
    sides = torch.where(torch.rand(m, m, m, generator=generator) > 0.05, 1, -1).to(torch.int8)
    kept = torch.rand(m, m, m, generator=generator) > 0.5
    index, value = lattice.known()
    expected = torch.zeros_like(kept)
    for block in (~kept).nonzero():
        own = sides[tuple(block)]
        within = ((index >= block * size) & (index <= (block + 1) * size)).all(1)
        expected[tuple(block)] = bool((torch.where(value[within] > 0, 1, -1) != own).any())
        for axis in range(3):
            for step in (-1, 1):
                other = block.clone()
                other[axis] += step
                if 0 <= other[axis] < m and not kept[tuple(other)] and sides[tuple(other)] != own:
                    expected[tuple(block)] = True
    assert torch.equal(_crossings(lattice, sides, kept, size), expected)
    assert expected.any() and (~expected & ~kept).any()
