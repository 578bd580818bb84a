"""Rasterisation, baking and dilation against colours that have a closed form."""

import numpy as np
import pytest
import torch
from tests.meshing.texture.shapes import box, sphere, stripes

from one2345.errors import InputError
from one2345.geometry import Mesh, orbit_cameras
from one2345.meshing.texture import Pictures, bake, dilate, own_pixels, rasterise, smooth_normals, unwrap
from one2345.objects import MeshObject

SIZE = 256


@pytest.fixture(scope="module", params=["sphere", "box"])
def flat(request):
    return unwrap({"sphere": sphere(), "box": box(cells=4)}[request.param], size=SIZE).mesh


def square() -> Mesh:
    """The unit square of the plane, its lower left quarter in the texture."""
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    return Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]), uv=corners[:, :2] / 2)


def test_texels_of_a_square_are_where_they_must_be():
    """uv has its origin at the lower left, rows count from the top; half a texel from the edge to the first centre."""
    texels = rasterise(square(), 8, reach=0.0)
    assert sorted(zip(texels.row, texels.column)) == [(r, c) for r in range(4, 8) for c in range(4)]
    assert texels.inside.all()
    points = texels.interpolate(square(), square().vertices)
    expected = np.stack([(texels.column + 0.5) / 4, (8 - texels.row - 0.5) / 4, 0 * texels.row], -1)
    assert points == pytest.approx(expected, abs=1e-6)


def test_texels_beyond_the_border_show_the_nearest_point():
    texels = rasterise(square(), 8, reach=1.4)
    assert len(texels) == 25
    beyond = ~texels.inside
    points = texels.interpolate(square(), square().vertices)
    expected = np.stack([(texels.column + 0.5) / 4, (8 - texels.row - 0.5) / 4, 0 * texels.row], -1).clip(
        0, 1
    )
    assert points[beyond] == pytest.approx(expected[beyond], abs=1e-6)
    # A ring of one texel above and to the right; the texture ends below and to the left.
    assert {(3, c) for c in range(5)} | {(r, 4) for r in range(3, 8)} == set(
        zip(texels.row[beyond].tolist(), texels.column[beyond].tolist())
    )


def test_faces_without_area_in_the_texture_are_no_trouble():
    mesh = Mesh(square().vertices, np.array([[0, 1, 2], [0, 0, 1]]), uv=np.full((4, 2), 0.4))
    texels = rasterise(mesh, 8)
    assert len(texels) and np.isfinite(texels.weights).all()


def test_what_is_baked_is_the_colour_of_the_surface_to_a_texel(flat):
    baked = bake(flat, SIZE, stripes)
    textured = Mesh(flat.vertices, flat.faces, uv=flat.uv, texture=baked.texture)
    object = MeshObject(textured, id="baked", normalise=False, repair=False)
    seen = object.sample_surface(20_000, seed=0)
    truth = stripes(seen.points, seen.normals)
    error = (seen.colours - truth).abs()
    # Bilinear between texels: h^2 / 8 of the second derivative, and h its edge; rounding adds half a level.
    edge = np.sqrt(flat.areas().sum() / (0.5 * SIZE**2))
    bound = 2 * edge**2 / 8 * 0.4 * 47.0**2 + 0.5 / 255
    assert error.mean() < bound / 2
    # At the seams too: a texel from beyond the chart is that of its nearest point, at most a texel away.
    assert error.max() < 1.5 * edge * 0.4 * 47.0
    assert (error.amax(1) > 2 * bound).float().mean() < 0.02


def test_vertex_colours_of_the_same_mesh_are_far_worse(flat):
    from one2345.meshing import colour_vertices

    error = {}
    baked = bake(flat, SIZE, stripes).texture
    for name, mesh in {
        "texture": Mesh(flat.vertices, flat.faces, uv=flat.uv, texture=baked),
        "vertices": colour_vertices(Mesh(flat.vertices, flat.faces), stripes),
    }.items():
        seen = MeshObject(mesh, id=name, normalise=False, repair=False).sample_surface(5000, seed=0)
        error[name] = (seen.colours - stripes(seen.points, seen.normals)).square().mean()
    assert 10 * torch.log10(error["vertices"] / error["texture"]) > 10


def test_the_field_is_asked_in_bounded_chunks_about_unit_normals(flat):
    sizes = []

    def colour(points, normals):
        sizes.append(len(points))
        assert normals.norm(dim=-1) == pytest.approx(torch.ones(len(normals)), abs=1e-4)
        return torch.ones_like(points) * 0.5

    baked = bake(flat, 64, colour, chunk=500)
    assert max(sizes) <= 500 and sum(sizes) == baked.texels
    assert (baked.texture == 128).all()
    with pytest.raises(InputError, match="not finite"):
        bake(flat, 64, lambda p, n: p / 0)


def test_the_field_may_be_baked_smaller_and_enlarged(flat):
    sizes = []

    def colour(points, normals):
        sizes.append(len(points))
        return stripes(points, normals)

    large = bake(flat, 512, colour).texture
    full, sizes[:] = sum(sizes), []
    small = bake(flat, 512, colour, field_size=256).texture
    assert small.shape == large.shape and sum(sizes) < 0.35 * full
    texels = rasterise(flat, 512, reach=0.0)
    error = np.abs(small.astype(float) - large)[texels.row, texels.column]
    assert error.mean() < 2 and np.percentile(error, 99) < 12


def test_the_smaller_field_is_asked_where_no_picture_decides_alone(flat):
    """And there the texture is the one that it would be if the field had been asked everywhere."""
    cameras = orbit_cameras([0.0, 45.0, -45.0, 0.0, 45.0, -45.0], [-30.0] * 3 + [40.0] * 3, size=256)
    seen = MeshObject(flat, id="photo", normalise=False, repair=False).render(cameras)
    white = Pictures(torch.ones_like(seen.rgb), seen.mask, cameras)
    asked = []

    def colour(points, normals):
        asked.append(points.numpy())
        return stripes(points, normals)

    everywhere = bake(flat, 512, colour, field_size=256).texture
    full, asked[:] = sum(map(len, asked)), []
    baked = bake(flat, 512, colour, [white], field_size=256)
    assert 0.5 < baked.own < 0.75 and 0.3 * full < sum(map(len, asked)) < 0.9 * full
    texels = rasterise(flat, 512)
    points, normals = (texels.interpolate(flat, x) for x in (flat.vertices, smooth_normals(flat)))
    behind = own_pixels(points, normals, flat, [white]).share == 0
    assert behind.mean() > 0.1
    error = np.abs(baked.texture.astype(int) - everywhere)[texels.row, texels.column][behind]
    assert error.max() <= 8 and (error > 0).mean() < 0.01


def test_normals_of_a_sphere_are_its_radii_across_seams():
    mesh = unwrap(sphere(), size=64).mesh
    assert len(mesh.vertices) > len(sphere().vertices)
    normals = smooth_normals(mesh)
    assert np.abs(normals - mesh.vertices / 0.4).max() < 0.02
    _, first, inverse = np.unique(mesh.vertices, axis=0, return_index=True, return_inverse=True)
    assert np.array_equal(normals, normals[first][inverse.reshape(-1)])


def test_dilation_fills_with_the_nearest_and_beyond_with_the_mean():
    picture = np.zeros((9, 40, 3), np.float32)
    filled = np.zeros((9, 40), bool)
    picture[4, 4], picture[4, 10] = (1, 0, 0), (0, 0, 1)
    filled[4, [4, 10]] = True
    result = dilate(picture, filled, reach=8)
    assert (result[4, 6] == (1, 0, 0)).all() and (result[4, 8] == (0, 0, 1)).all()
    assert (result[0, 5] == (1, 0, 0)).all()
    assert (result[4, 30] == (0.5, 0, 0.5)).all()
    assert (result[filled] == picture[filled]).all()
    assert dilate(picture, np.zeros_like(filled)) is picture
