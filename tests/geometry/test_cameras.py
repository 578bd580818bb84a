"""Cameras, rays and projection: round trips and closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from one2345.geometry import (
    Cameras,
    camera_rays,
    hold_in_frame,
    in_frame,
    intrinsics,
    look_at,
    orbit,
    orbit_cameras,
    pixel_centres,
    pixel_rays,
    project,
    raised,
    sample_views,
    spherical,
    z_per_t,
)

angles = st.floats(0.0, 359.0)
elevations = st.floats(-85.0, 85.0)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "centre"),
    [
        (0, 0, (0, -1.2, 0)),
        (90, 0, (1.2, 0, 0)),
        (180, 0, (0, 1.2, 0)),
        (270, 0, (-1.2, 0, 0)),
        (0, 90, (0, 0, 1.2)),
    ],
)
def test_orbit_places_the_camera(azimuth: float, elevation: float, centre: tuple[float, ...]) -> None:
    assert torch.allclose(orbit(azimuth, elevation)[:3, 3], torch.tensor(centre), atol=1e-6)


def test_axes_of_the_front_camera() -> None:
    c2w = orbit(0.0, 0.0)
    assert torch.allclose(c2w[:3, :3], torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]), atol=1e-7)


@pytest.mark.parametrize("degrees", [30.0, -30.0, 0.0])
def test_raised_cameras_stand_higher_on_their_orbit(degrees: float) -> None:
    azimuths, elevations = [0.0, 100.0, 240.0], [-10.0, 20.0, 55.0]
    higher = raised(orbit_cameras(azimuths, elevations, size=32), degrees)
    wanted = orbit_cameras(azimuths, [e + degrees for e in elevations], size=32)
    assert torch.allclose(higher.c2w, wanted.c2w, atol=1e-6)
    assert torch.equal(higher.K, wanted.K)


@settings(deadline=None, max_examples=25)
@given(angles, elevations, st.floats(0.3, 5.0))
def test_spherical_undoes_orbit(azimuth: float, elevation: float, radius: float) -> None:
    a, e, r = spherical(orbit(azimuth, elevation, radius))
    assert math.isclose((float(a) - azimuth + 180) % 360 - 180, 0, abs_tol=1e-2)
    assert math.isclose(float(e), elevation, abs_tol=1e-2)
    assert math.isclose(float(r), radius, rel_tol=1e-5)


@settings(deadline=None, max_examples=25)
@given(angles, elevations)
def test_look_at_agrees_with_orbit_and_is_a_rotation(azimuth: float, elevation: float) -> None:
    c2w = orbit(azimuth, elevation)
    assert torch.allclose(look_at(c2w[:3, 3]), c2w, atol=1e-5)
    assert torch.allclose(c2w[:3, :3] @ c2w[:3, :3].T, torch.eye(3), atol=1e-6)
    assert math.isclose(float(torch.linalg.det(c2w[:3, :3])), 1.0, abs_tol=1e-5)


@settings(deadline=None, max_examples=25)
@given(angles, elevations, st.integers(8, 40), st.integers(8, 40))
def test_projection_undoes_rays(azimuth: float, elevation: float, height: int, width: int) -> None:
    cameras = orbit_cameras([azimuth], [elevation], size=(height, width))
    rays = camera_rays(cameras)
    t = torch.rand(1, height, width) + 0.2
    pixels, depth = project(rays.at(t).reshape(1, -1, 3), cameras)
    assert torch.allclose(
        pixels.reshape(1, height, width, 2), pixel_centres((height, width))[None], atol=1e-3
    )
    assert torch.allclose(depth.reshape(t.shape), t * z_per_t(cameras, rays.directions), atol=1e-5)
    assert in_frame(pixels, depth, (height, width)).all()


def test_up_in_the_world_is_up_in_the_image_and_right_is_right() -> None:
    cameras = orbit_cameras([0.0], [0.0], size=100)
    pixels, _ = project(torch.tensor([[[0.1, 0.0, 0.0], [0.0, 0.0, 0.1]]]), cameras)
    assert pixels[0, 0, 0] > 50 and abs(float(pixels[0, 0, 1]) - 50) < 1e-4
    assert pixels[0, 1, 1] < 50


def test_points_behind_are_not_in_frame() -> None:
    cameras = orbit_cameras([0.0], [0.0], size=64)
    pixels, depth = project(torch.tensor([[[0.0, -2.0, 0.0]]]), cameras)
    assert depth < 0 and not in_frame(pixels, depth, (64, 64)).any()
    assert torch.isfinite(pixels).all()


def test_resized_cameras_see_the_same_rays() -> None:
    cameras = orbit_cameras([30.0], [10.0], size=64)
    smaller = cameras.resized((32, 16))
    corner = pixel_rays(cameras, torch.tensor([[[0.0, 64.0]]])).directions
    same = pixel_rays(smaller, torch.tensor([[[0.0, 32.0]]])).directions
    assert torch.allclose(corner, same, atol=1e-6)


def test_standard_intrinsics() -> None:
    assert torch.equal(intrinsics(256), torch.tensor([[280.0, 0, 128], [0, 280, 128], [0, 0, 1]]))
    focal = float(orbit_cameras([0.0], [0.0], size=128).K[0, 0, 0])
    assert math.isclose(2 * math.degrees(math.atan(64 / focal)), 49.13, abs_tol=0.01)


def test_w2c_inverts_c2w_and_batches_index() -> None:
    cameras = orbit_cameras([0.0, 50.0, 100.0], [5.0, 10.0, 15.0])
    assert torch.allclose(cameras.w2c @ cameras.c2w, torch.eye(4).expand(3, 4, 4), atol=1e-6)
    assert len(cameras) == 3 and cameras[1].shape == ()
    stacked = Cameras.stack([cameras, cameras])
    assert stacked.shape == (2, 3) and torch.equal(stacked[1].c2w, cameras.c2w)
    assert Cameras.cat([cameras, cameras[:1]]).shape == (4,)
    with pytest.raises(ValueError, match="one image size"):
        Cameras.cat([cameras, cameras.resized((8, 8))])


def test_sampling_at_pixel_centres_returns_the_pixels_and_zero_outside() -> None:
    maps = torch.rand(1, 2, 5, 7)
    centres = pixel_centres((5, 7)).reshape(1, -1, 2)
    assert torch.allclose(sample_views(maps, centres), maps.flatten(2), atol=1e-6)
    assert (sample_views(maps, torch.tensor([[[-3.0, 2.0], [9.0, 2.0]]])) == 0).all()


def test_positions_beyond_the_frame_are_held_at_its_border_pixels() -> None:
    pixels = torch.tensor([[3.0, 2.0], [-2.5, 2.0], [10.5, 8.5]])
    held, beyond = hold_in_frame(pixels, (5, 7))
    assert held.tolist() == [[3.0, 2.0], [0.5, 2.0], [6.5, 4.5]]
    assert torch.allclose(beyond, torch.tensor([0.0, 3.0, math.hypot(4.0, 4.0)]))
