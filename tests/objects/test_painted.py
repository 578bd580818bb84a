"""Paint over objects: what it may change, and what it is worth in hollows, against closed forms."""

from __future__ import annotations

import pytest
import torch
import trimesh
from tests.data.spheres import Ball

from one2345.geometry import Mesh, orbit_cameras, project
from one2345.objects import MeshObject, Painted, random_shape

CAMERAS = orbit_cameras([0.0, 90.0, 200.0], [20.0, -10.0, 60.0], size=48)


def test_only_colours_change() -> None:
    own = Ball("a")
    item = Painted(own, pattern=1.0, occlusion=1.0, seed=0)
    plain, seen = own.render(CAMERAS), item.render(CAMERAS)
    for name in ("depth", "mask", "normal"):
        assert torch.equal(getattr(seen, name), getattr(plain, name))
    outside = (plain.mask == 0)[:, None].expand_as(plain.rgb)
    assert (seen.rgb[outside] == 1).all()
    assert (seen.rgb - plain.rgb)[~outside].abs().mean() > 0.02
    points = torch.rand(50, 3) - 0.5
    assert torch.equal(item.sdf(points), own.sdf(points))
    ours, theirs = (x.sample_surface(40, seed=3) for x in (item, own))
    assert torch.equal(ours.points, theirs.points)
    assert not torch.equal(ours.colours, theirs.colours)
    assert item.id == own.id


def test_the_same_for_the_same_seed_and_drawn_anew_for_others() -> None:
    first, again, other, reseeded = (
        Painted(Ball(name), pattern=1.0, occlusion=0.0, seed=seed).render(CAMERAS).rgb
        for name, seed in (("a", 0), ("a", 0), ("b", 0), ("a", 1))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, reseeded)
    shares = [Painted(Ball(str(k)), pattern=0.5, occlusion=0.2, seed=0) for k in range(200)]
    for values, most in (([x.share for x in shares], 0.5), ([x.depth for x in shares], 0.2)):
        assert 0 <= min(values) < 0.03 * most
        assert 0.97 * most < max(values) <= most


def test_pictures_and_samples_show_the_same_paint() -> None:
    item = Painted(random_shape(0, index=3), pattern=1.0, occlusion=1.0, seed=0)
    assert item.share > 0.2
    cameras = orbit_cameras([30.0], [20.0], size=96)
    seen = item.render(cameras)
    samples = item.sample_surface(4000, seed=0)
    facing = ((cameras.centres[0] - samples.points) * samples.normals).sum(-1) > 0.3
    pixels, depth = project(samples.points, cameras[0])
    column, row = pixels.long().clamp(0, 95).unbind(-1)
    shown = facing & ((seen.depth[0, row, column] - depth).abs() < 0.01)
    assert shown.sum() > 300
    difference = (seen.rgb[0, :, row[shown], column[shown]].T - samples.colours[shown]).abs().mean(1)
    assert difference.median() < 0.02


def test_a_ball_is_not_darkened_and_the_bottom_of_a_pit_is() -> None:
    ball = Painted(Ball("a"), pattern=0.0, occlusion=1.0, seed=0)
    assert ball._hollows[1].max() < 1e-4  # sdf(x + h n) is h
    assert torch.allclose(ball.render(CAMERAS).rgb, Ball("a").render(CAMERAS).rgb, atol=1e-3)
    pit = Painted(MeshObject(_pit(), id="pit", normalise=False), pattern=0.0, occlusion=1.0, seed=0)
    own = pit.item
    # On the axis, at the bottom of a pit of radius 0.1: at height h, room is min(h, 0.1).
    expected = 1 - (1 + 1 + 0.1 / 0.12 + 0.1 / 0.24) / 4
    points, up = torch.tensor([[0.0, 0.0, -0.1]]), torch.tensor([[0.0, 0.0, 1.0]])
    bottom = pit._over(own.colour(points), points, up) / own.colour(points)
    assert bottom.mean() == pytest.approx(1 - pit.depth * expected, abs=0.03)
    outer = torch.tensor([[0.0, 0.0, -0.3]])
    assert torch.allclose(pit._over(own.colour(outer), outer, -up), own.colour(outer), atol=1e-3)


@pytest.mark.parametrize("name", ["pattern", "occlusion"])
def test_strengths_out_of_range(name: str) -> None:
    strengths = {"pattern": 0.0, "occlusion": 0.0, name: 1.5}
    with pytest.raises(ValueError, match=rf"{name} is 1.5"):
        Painted(Ball("a"), **strengths, seed=0)


def _pit() -> Mesh:
    """A cylinder of radius and half height 0.3 with a round pit of radius 0.1 in its top, down to -0.1."""
    profile = [[0, -0.3], [0.3, -0.3], [0.3, 0.3], [0.1, 0.3], [0.1, -0.1], [0, -0.1]]
    lathed = trimesh.creation.revolve(profile, sections=64)
    return Mesh(vertices=lathed.vertices, faces=lathed.faces)


def test_colours_off_the_surface_are_those_of_the_nearest_point_on_it() -> None:
    item = Painted(random_shape(0, index=3), pattern=1.0, occlusion=1.0, seed=0)
    samples = item.sample_surface(500, seed=4)
    off = samples.points + 0.01 * samples.normals
    nearest = (item.sdf(off) - 0.01).abs() < 1e-4
    assert nearest.sum() > 300
    difference = (item.colour(off) - samples.colours)[nearest].abs().mean(1)
    assert difference.median() < 0.02
