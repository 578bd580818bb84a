"""Our cameras as kaolin's, and back."""

from __future__ import annotations

from typing import Any

import torch

from one2345.errors import InputError
from one2345.geometry import Cameras, opencv_from_opengl, opengl_from_opencv

from .library import require

# Of kaolin's clipping planes, which ours do not have: they hold the box with room to spare from radius 1.2.
NEAR, FAR = 0.01, 100.0


def to_kaolin_camera(cameras: Cameras, *, near: float = NEAR, far: float = FAR) -> Any:
    """`kaolin.render.camera.Camera` of all of `cameras` (...), flattened to one batch.

    kaolin's axes are OpenGL's (y up, looking along -z), its `x0`, `y0` the principal point's offset from the
    image's centre, y0 upwards. Raises InputError for a K with skew, which kaolin has no place for.
    """
    kaolin = require()
    flat = Cameras(K=cameras.K.reshape(-1, 3, 3), c2w=cameras.c2w.reshape(-1, 4, 4), size=cameras.size)
    if (flat.K[:, 0, 1] != 0).any() or (flat.K[:, 1, 0] != 0).any():
        raise InputError("kaolin's pinhole camera has no skew, but K[0, 1] is not 0")
    height, width = flat.size
    view = Cameras(K=flat.K, c2w=opengl_from_opencv(flat.c2w), size=flat.size).w2c
    x0, y0 = flat.K[:, 0, 2] - width / 2, height / 2 - flat.K[:, 1, 2]
    params = torch.stack([x0, y0, flat.K[:, 0, 0], flat.K[:, 1, 1]], -1)
    module = kaolin.render.camera
    return module.Camera(
        extrinsics=module.CameraExtrinsics.from_view_matrix(view, dtype=view.dtype, device=view.device),
        intrinsics=module.PinholeIntrinsics(width, height, params, near, far),
    )


def from_kaolin_camera(camera: Any) -> Cameras:
    """Inverse of `to_kaolin_camera`: Cameras (n). Raises InputError for a lens that is no pinhole."""
    if camera.lens_type != "pinhole":
        raise InputError(
            f"only kaolin's pinhole cameras can be converted, and this one's lens is {camera.lens_type}"
        )
    lens, view = camera.intrinsics, camera.extrinsics.view_matrix()
    width, height = int(lens.width), int(lens.height)
    K = torch.zeros_like(view[:, :3, :3])
    K[:, 0, 0], K[:, 1, 1], K[:, 2, 2] = lens.focal_x, lens.focal_y, 1.0
    K[:, 0, 2], K[:, 1, 2] = width / 2 + lens.x0, height / 2 - lens.y0
    return Cameras(K=K, c2w=opencv_from_opengl(torch.linalg.inv(view)), size=(height, width))
