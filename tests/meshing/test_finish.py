import numpy as np
import pytest
import torch
import trimesh
from tests.meshing.fields import sphere, two

from one2345.errors import EmptySurfaceError, InputError
from one2345.geometry import Box, Mesh, y_up_from_z_up
from one2345.meshing import (
    Extractor,
    colour_vertices,
    extract,
    remove_floaters,
    srgb_to_linear,
    vertex_normals,
    write_mesh,
)
from one2345.objects import load_mesh


@pytest.fixture
def coloured():
    """A lopsided tetrahedron: no symmetry hides a mirror or a swap of axes."""
    vertices = np.array([[0, 0, 0], [0.8, 0, 0], [0.1, 0.5, 0], [0.05, 0.1, 0.3]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    colours = np.array([[10, 200, 30], [255, 0, 128], [3, 5, 7], [60, 61, 62]], np.float32) / 255
    return Mesh(vertices, faces, colours=colours)


def _reload(path):
    """What trimesh makes of a file of one mesh, attributes kept."""
    (mesh,) = trimesh.load_scene(path, process=False, maintain_order=True).geometry.values()
    return mesh


def _srgb(linear):
    return np.where(
        linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    )


@pytest.mark.parametrize("suffix", ["ply", "obj", "glb"])
def test_same_object_same_pose_in_every_format(coloured, suffix, tmp_path):
    path = write_mesh(coloured, tmp_path / f"a b=1, [ü]'.{suffix}")
    loaded = _reload(path)
    assert np.allclose(loaded.vertices, y_up_from_z_up(coloured.vertices), atol=1e-7)
    assert np.array_equal(loaded.faces, coloured.faces)
    assert coloured.volume() > 0
    assert loaded.volume == pytest.approx(coloured.volume(), rel=1e-6)
    if suffix == "glb":
        raw = np.asarray(loaded.visual.vertex_attributes["color"])[:, :3] / 65535.0
        colours = _srgb(raw)
    else:
        colours = np.asarray(loaded.visual.vertex_colors)[:, :3] / 255.0
    assert np.abs(colours - coloured.colours).max() < 1e-3
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("suffix", ["ply", "obj", "glb"])
def test_our_reader_returns_what_was_written(coloured, suffix, tmp_path):
    loaded = load_mesh(write_mesh(coloured, tmp_path / f"mesh.{suffix}"))
    order = np.array([np.linalg.norm(loaded.vertices - v, axis=1).argmin() for v in coloured.vertices])
    assert np.allclose(loaded.vertices[order], coloured.vertices, atol=1e-7)
    assert np.abs(loaded.colours[order] - coloured.colours).max() < 1e-3
    assert loaded.volume() == pytest.approx(coloured.volume(), rel=1e-6)


@pytest.mark.parametrize("suffix", ["obj", "glb"])
def test_texture_survives(coloured, suffix, tmp_path):
    texture = np.random.default_rng(0).integers(0, 255, (8, 16, 3), dtype=np.uint8)
    uv = np.array([[0.1, 0.2], [0.9, 0.1], [0.4, 0.8], [0.3, 0.6]], np.float32)
    mesh = Mesh(coloured.vertices, coloured.faces, uv=uv, texture=texture)
    loaded = load_mesh(write_mesh(mesh, tmp_path / f"with space.{suffix}"))
    order = np.array([np.linalg.norm(loaded.vertices - v, axis=1).argmin() for v in mesh.vertices])
    assert np.allclose(loaded.uv[order], uv, atol=1e-6)
    assert np.array_equal(loaded.texture, texture)


def test_glb_colours_are_linear_as_the_standard_says(coloured, tmp_path):
    path = write_mesh(coloured, tmp_path / "a.glb")
    raw = _reload(path).visual.vertex_attributes["color"]
    assert np.abs(raw[:, :3] / 65535.0 - srgb_to_linear(coloured.colours)).max() < 1e-5
    assert srgb_to_linear(np.array([0.5])) == pytest.approx([0.21404], abs=1e-5)


def test_written_files_are_the_same_each_time(coloured, tmp_path):
    a, b = (write_mesh(coloured, tmp_path / f"{n}.glb").read_bytes() for n in "ab")
    assert a == b


def test_refuses_what_it_cannot_write(coloured, tmp_path):
    with pytest.raises(InputError, match=r"\.stl"):
        write_mesh(coloured, tmp_path / "a.stl")
    with pytest.raises(InputError, match="no faces"):
        write_mesh(Mesh(coloured.vertices, np.zeros((0, 3))), tmp_path / "a.ply")
    assert not list(tmp_path.iterdir())


def test_floaters_go_and_parts_stay():
    mesh = extract(two, Box(), resolution=96)
    small_share = (0.04 / 0.3) ** 2
    clean, report = remove_floaters(mesh)
    assert (report.kept, report.removed) == (1, 1)
    assert report.removed_area == pytest.approx(small_share / (1 + small_share), rel=0.05)
    assert np.abs(np.linalg.norm(clean.vertices, axis=1) - 0.3).max() < 1e-3
    assert clean.volume() == pytest.approx(4 / 3 * np.pi * 0.3**3, rel=5e-3)
    kept, report = remove_floaters(mesh, min_area_fraction=0.8 * small_share)
    assert (report.kept, report.removed) == (2, 0)
    assert kept is mesh


def test_floaters_keep_colours_in_place():
    mesh = extract(two, Box(), resolution=64)
    mesh = colour_vertices(mesh, lambda p, n: p + 0.5)
    clean, _ = remove_floaters(mesh)
    assert np.allclose(clean.colours, clean.vertices + 0.5, atol=1e-6)


def test_colours_come_in_chunks_with_outward_normals():
    mesh = extract(sphere, Box(), resolution=48)
    sizes = []

    def colour(points, normals):
        sizes.append(len(points))
        assert ((points * normals).sum(-1) > 0.36).all()
        return normals * 0.5 + 0.5

    result = colour_vertices(mesh, colour, chunk=500)
    assert max(sizes) == 500
    assert sum(sizes) == len(mesh.vertices)
    assert np.allclose(result.colours, vertex_normals(mesh) * 0.5 + 0.5, atol=1e-6)
    with pytest.raises(InputError, match="not finite"):
        colour_vertices(mesh, lambda p, n: p * torch.nan)


def test_extractor_does_all_of_it():
    extractor = Extractor(resolution=64)
    result = extractor.run(two, Box(), lambda p, n: torch.ones_like(p) * 0.25)
    assert result.floaters.removed == 1
    assert (result.mesh.colours == 0.25).all()
    assert result.stats.evaluations < result.stats.nodes
    with pytest.raises(EmptySurfaceError):
        extractor(lambda p: p.norm(dim=-1) + 1, Box())
