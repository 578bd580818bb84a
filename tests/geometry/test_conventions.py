"""Every axis flip has its inverse, and a check against something written out by hand."""

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from one2345.geometry import (
    Y_UP_FROM_Z_UP,
    c2w_from_colmap,
    colmap_from_c2w,
    intrinsics_from_nerf,
    opencv_from_opengl,
    opengl_from_opencv,
    orbit,
    y_up_from_z_up,
    z_up_from_y_up,
    zero123_pose,
)


def test_file_axes_are_a_rotation_and_undo_each_other() -> None:
    points = np.random.default_rng(0).normal(size=(20, 3))
    assert np.allclose(z_up_from_y_up(y_up_from_z_up(points)), points)
    assert np.allclose(y_up_from_z_up(points), points @ Y_UP_FROM_Z_UP[:3, :3].T)
    assert math.isclose(np.linalg.det(Y_UP_FROM_Z_UP[:3, :3]), 1.0)
    assert y_up_from_z_up(torch.tensor([0.0, 0.0, 1.0])).tolist() == [0.0, 1.0, 0.0]  # up is up
    assert y_up_from_z_up(torch.tensor([0.0, -1.0, 0.0])).tolist() == [0.0, 0.0, 1.0]  # the glTF front is +z


def test_opengl_camera_looks_along_minus_z() -> None:
    c2w = orbit(0.0, 0.0)
    opengl = opengl_from_opencv(c2w)
    assert torch.allclose(opengl[:3, 2], -c2w[:3, 2]) and torch.allclose(opengl[:3, 1], -c2w[:3, 1])
    assert torch.allclose(opengl[:3, 1], torch.tensor([0.0, 0.0, 1.0]), atol=1e-6)
    assert torch.equal(opencv_from_opengl(opengl), c2w)


@settings(deadline=None, max_examples=25)
@given(st.floats(0, 359), st.floats(-89, 89), st.floats(0.5, 3))
def test_colmap_round_trip(azimuth: float, elevation: float, radius: float) -> None:
    c2w = orbit(azimuth, elevation, radius).double()
    quaternion, translation = colmap_from_c2w(c2w)
    assert torch.allclose(c2w_from_colmap(quaternion, translation), c2w, atol=1e-6)
    assert quaternion[0] >= 0


def test_colmap_identity_looks_along_z() -> None:
    c2w = c2w_from_colmap(torch.tensor([1.0, 0, 0, 0]), torch.tensor([0.0, 0.0, 2.0]))
    assert torch.allclose(c2w[:3, 3], torch.tensor([0.0, 0.0, -2.0]))


def test_zero123_pose_signs() -> None:
    """Polar is measured downwards, azimuth counter-clockwise from above."""
    pose = zero123_pose(orbit(0.0, 0.0), orbit(90.0, -30.0, 1.5))
    assert torch.allclose(pose, torch.tensor([math.radians(30), 1.0, 0.0, 0.3]), atol=1e-5)


def test_nerf_field_of_view() -> None:
    K = intrinsics_from_nerf(2 * math.atan(0.5), (50, 100))
    assert torch.allclose(K, torch.tensor([[100.0, 0, 50], [0, 100, 25], [0, 0, 1]]), atol=1e-4)
