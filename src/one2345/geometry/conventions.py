"""The only place where axes are flipped: camera axes, file axes, and the layouts of other projects.

Our own convention is in `cameras`; every function here maps to or from it and is undone by its sister.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .cameras import spherical

Array = TypeVar("Array", Tensor, "NDArray[Any]")

Y_UP_FROM_Z_UP = np.array(
    [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
)
"""The one axis map of mesh files, (x, y, z) -> (x, z, -y): a rotation, so nothing is mirrored."""


def y_up_from_z_up(points: Array) -> Array:
    """World (..., 3) to the y-up axes of GLB, OBJ and PLY: (x, y, z) -> (x, z, -y)."""
    return _rotated(points, Y_UP_FROM_Z_UP[:3, :3])


def z_up_from_y_up(points: Array) -> Array:
    """Inverse of `y_up_from_z_up`: (x, y, z) -> (x, -z, y)."""
    return _rotated(points, Y_UP_FROM_Z_UP[:3, :3].T)


def _rotated(points: Array, rotation: NDArray[np.float64]) -> Array:
    """rotation (3, 3) applied to points (..., 3) of either kind, exactly: its entries are 0 and +-1."""
    if isinstance(points, Tensor):
        return points @ torch.from_numpy(rotation.T.copy()).to(points)
    return points @ rotation.T.astype(points.dtype)


def opencv_from_opengl(c2w: Tensor) -> Tensor:
    """Camera-to-world (..., 4, 4) with OpenGL/Blender camera axes (y up, z backwards) to OpenCV axes."""
    return c2w * c2w.new_tensor([1.0, -1.0, -1.0, 1.0])


def opengl_from_opencv(c2w: Tensor) -> Tensor:
    """Inverse of `opencv_from_opengl` (the map is its own inverse)."""
    return opencv_from_opengl(c2w)


def c2w_from_colmap(quaternion: Tensor, translation: Tensor) -> Tensor:
    """COLMAP's world-to-camera rotation (..., 4) as (w, x, y, z) and translation (..., 3) to c2w (..., 4, 4)."""
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    w2c = torch.stack(
        [
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
            torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
            torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
        ],
        -2,
    )
    rotation = w2c.mT
    bottom = translation.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*translation.shape[:-1], 1, 4)
    return torch.cat([torch.cat([rotation, -rotation @ translation[..., None]], -1), bottom], -2)


def colmap_from_c2w(c2w: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse of `c2w_from_colmap`: quaternion (..., 4) with w >= 0 and translation (..., 3)."""
    rotation = c2w[..., :3, :3].mT
    translation = -(rotation @ c2w[..., :3, 3:])[..., 0]
    m = rotation
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    squares = torch.stack(
        [
            1 + trace,
            1 + 2 * m[..., 0, 0] - trace,
            1 + 2 * m[..., 1, 1] - trace,
            1 + 2 * m[..., 2, 2] - trace,
        ],
        -1,
    ).clamp_min(0)
    magnitude = squares.sqrt()
    a, b, c = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    d, e, f = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    # Each row is (w, x, y, z) times twice one component; the row of the largest component is the stable one.
    rows = torch.stack(
        [
            torch.stack([squares[..., 0], a, b, c], -1),
            torch.stack([a, squares[..., 1], d, e], -1),
            torch.stack([b, d, squares[..., 2], f], -1),
            torch.stack([c, e, f, squares[..., 3]], -1),
        ],
        -2,
    )
    best = magnitude.argmax(-1)
    row = torch.gather(rows, -2, best[..., None, None].expand(*best.shape, 1, 4))[..., 0, :]
    quaternion = torch.nn.functional.normalize(row, dim=-1)
    return quaternion * torch.where(quaternion[..., :1] < 0, -1.0, 1.0), translation


def zero123_pose(source_c2w: Tensor, target_c2w: Tensor) -> Tensor:
    """Relative pose (..., 4) by which Zero123 is conditioned: [d_polar, sin d_azimuth, cos d_azimuth, d_radius].

    Radians and world units; the polar angle is measured down from +z, so a positive first entry is a
    camera that goes lower; azimuth counter-clockwise seen from above (Liu et al., arXiv 2303.11328).
    """
    azimuth_s, elevation_s, radius_s = spherical(source_c2w)
    azimuth_t, elevation_t, radius_t = spherical(target_c2w)
    turn = torch.deg2rad(azimuth_t - azimuth_s)
    return torch.stack(
        [torch.deg2rad(elevation_s - elevation_t), turn.sin(), turn.cos(), radius_t - radius_s], -1
    )


def intrinsics_from_nerf(camera_angle_x: float, size: tuple[int, int]) -> Tensor:
    """K (3, 3) of a NeRF/Blender `transforms.json`: horizontal field of view in radians, square pixels."""
    height, width = size
    focal = 0.5 * width / float(np.tan(0.5 * camera_angle_x))
    return torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
