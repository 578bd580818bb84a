"""A picture's own pixels: they win where the picture sees the surface, and nowhere else."""

import numpy as np
import pytest
import torch
from tests.meshing.texture.shapes import box, sphere

from one2345.geometry import Mesh, orbit_cameras
from one2345.meshing.texture import Pictures, bake, own_pixels, unwrap
from one2345.meshing.texture.pictures import OVERLAP
from one2345.objects import MeshObject

RED, BLUE = torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.1, 0.9])


def photographed(
    mesh: Mesh, azimuth: list[float], colour=RED, size: int = 128, elevation: float = 0.0
) -> Pictures:
    """The mesh in one colour."""
    cameras = orbit_cameras(azimuth, elevation, size=size)
    mask = MeshObject(mesh, id="photo", normalise=False, repair=False).render(cameras).mask
    image = mask[:, None] * colour[:, None, None] + (1 - mask[:, None])
    return Pictures(image, mask, cameras)


def two_boxes() -> Mesh:
    """A small box, seen from the front, before a large one."""
    large = box(0.6)
    small = Mesh(box(0.2).vertices + np.array([0, -0.5, 0]), box(0.2).faces)
    return Mesh(
        np.concatenate([large.vertices, small.vertices]),
        np.concatenate([large.faces, small.faces + len(large.vertices)]),
    )


def at(mesh: Mesh, points: list, normals: list, *pictures: Pictures):
    return own_pixels(np.array(points, float), np.array(normals, float), mesh, pictures)


def test_the_side_that_is_seen_has_the_pictures_colour_the_others_none():
    mesh = box(0.6)
    own = at(
        mesh, [[0, -0.3, 0], [0, 0.3, 0], [0.3, 0, 0], [0, 0, 0.3]], [[0, -1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]],
        photographed(mesh, [0.0]),
    )  # fmt: skip
    assert own.share == pytest.approx([1, 0, 0, 0])
    assert own.colours[0] == pytest.approx(RED.numpy(), abs=1e-5)
    assert own.overlap[0] > 0.97


def test_the_picture_fades_out_towards_the_outline_and_never_shows_the_background():
    mesh = sphere(0.4, 4)
    angle = np.radians(np.arange(0, 90, 1.0))
    normals = np.stack([np.sin(angle), -np.cos(angle), 0 * angle], -1)
    own = own_pixels(0.4 * normals, normals, mesh, [photographed(mesh, [0.0])])
    assert own.share[0] == 1 and own.share[angle > np.radians(75)].max() == 0
    assert (np.diff(own.share) <= 1e-6).all() and np.abs(np.diff(own.share)).max() < 0.4
    used = own.share > 0
    assert own.colours[used] == pytest.approx(np.tile(RED.numpy(), (used.sum(), 1)), abs=1e-4)


def test_a_picture_counts_less_the_more_it_grazes_the_surface():
    """By the cosine at the middle of the front: 0.78, 0.37, and 0.10, which is too little."""
    mesh = box(0.6)
    shares = [
        at(mesh, [[0, -0.3, 0]], [[0, -1, 0]], photographed(mesh, [azimuth], size=256)).share[0]
        for azimuth in (30.0, 55.0, 70.0)
    ]
    assert shares[0] == 1 and 0.4 < shares[1] < 0.75 and shares[2] == 0


def test_what_stands_in_front_hides_what_is_behind():
    mesh = two_boxes()
    picture = photographed(mesh, [0.0])
    own = at(
        mesh, [[0, -0.3, 0], [0.2, -0.3, 0.2], [0, -0.6, 0]], [[0, -1, 0]] * 3, picture
    )  # fmt: skip
    assert own.share == pytest.approx([0, 1, 1], abs=1e-5)
    # Beside the edge of the small box, on the face behind, a shift by a pixel would show the wrong thing.
    beside = at(mesh, [[x, -0.3, 0] for x in (0.155, 0.165, 0.18, 0.21)], [[0, -1, 0]] * 4, picture)
    assert beside.share[0] < 0.3 and beside.share[-1] == 1 and (np.diff(beside.share) >= 0).all()


def test_of_two_pictures_the_one_that_looks_straight_wins():
    mesh = sphere(0.4, 4)
    pictures = [photographed(mesh, [0.0]), photographed(mesh, [40.0], BLUE)]
    for azimuth, colour in ((0.0, RED), (40.0, BLUE)):
        angle = np.radians(azimuth)
        normal = np.array([[np.sin(angle), -np.cos(angle), 0]])
        own = own_pixels(0.4 * normal, normal, mesh, pictures)
        assert own.share[0] == 1 and own.colours[0] == pytest.approx(colour.numpy(), abs=0.1)
    half = np.radians(20)
    normal = np.array([[np.sin(half), -np.cos(half), 0]])
    middle = own_pixels(0.4 * normal, normal, mesh, pictures).colours[0]
    assert middle == pytest.approx(((RED + BLUE) / 2).numpy(), abs=0.02)


def test_a_picture_of_another_pose_is_left_out():
    mesh = Mesh(box(0.6).vertices * [1, 0.3, 0.3], box(0.6).faces)
    wrong = photographed(Mesh(box(0.6).vertices * [0.3, 0.3, 1], box(0.6).faces), [0.0])
    own = at(mesh, [[0, -0.09, 0]], [[0, -1, 0]], wrong)
    assert own.overlap[0] < OVERLAP and own.share[0] == 0


def test_pictures_win_in_the_texture_and_the_field_fills_the_rest():
    mesh = unwrap(sphere(0.4, 3), size=128).mesh
    asked = []

    def field(points, normals):
        asked.append(points)
        return BLUE.expand_as(points)

    baked = bake(mesh, 128, field, [photographed(mesh, [0.0], elevation=20.0)])
    assert 0.1 < baked.own < 0.4
    seen = MeshObject(
        Mesh(mesh.vertices, mesh.faces, uv=mesh.uv, texture=baked.texture),
        id="x",
        normalise=False,
        repair=False,
    )
    front, back = seen.render(orbit_cameras([0.0, 180.0], [20.0, -20.0], size=64)).rgb
    assert front[:, 32, 32] == pytest.approx(RED, abs=0.02) and back[:, 32, 32] == pytest.approx(
        BLUE, abs=0.02
    )
    # Where the picture decides alone, nobody asks the field.
    assert sum(len(p) for p in asked) < baked.texels
