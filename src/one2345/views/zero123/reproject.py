"""A picture as another camera would see it if it showed a ball: a first guess of the view that is asked for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from one2345.geometry import Cameras, intrinsics, orbit
from one2345.views.simulation.drift import ball_depth, image_coordinates, lift


def reproject(pictures: Tensor, poses: Tensor, *, elevation: float) -> Tensor:
    """Pictures (n, 3, h, w) on white, seen from the cameras of poses (n, 4), see `geometry.zero123_pose`.

    The object is taken to be a ball about the centre, in a plane that faces the wanted camera; what the given camera
    can't see of the ball is looked up through it, so that a view from behind is the mirror image, whose outline is
    right. elevation: that of the given camera, in degrees, which no pose says.
    """
    size = (pictures.shape[-2], pictures.shape[-1])
    poses = poses.to(pictures.device).double()
    turn = torch.rad2deg(torch.atan2(poses[:, 1], poses[:, 2]))
    given, wanted = (
        Cameras(
            K=intrinsics(size).to(pictures.device).expand(len(poses), 3, 3),
            c2w=orbit(azimuth, height).to(pictures.device),
            size=size,
        )
        for azimuth, height in (
            (torch.zeros_like(turn), torch.full_like(turn, elevation)),
            (turn, elevation - torch.rad2deg(poses[:, 0])),
        )
    )
    at = image_coordinates(lift(ball_depth(wanted), wanted), given).reshape(-1, *size, 2)
    # Zero is white here, so that what lies outside of the picture is background.
    return 1 - grid_sample(1 - pictures.float(), at, align_corners=False).to(pictures.dtype)
