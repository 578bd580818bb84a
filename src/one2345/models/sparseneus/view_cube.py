"""The cube that the published network works in: what its cameras see, in the reference camera's frame."""

from __future__ import annotations

import torch
from torch import Tensor

from one2345.geometry import Cameras, Similarity


def view_cube(
    cameras: Cameras, reference: Cameras, *, near: float, far: float, margin: float = 1.1
) -> Similarity:
    """Frames of b objects in which their cube is [-1, 1]^3 (SparseNeuS, arXiv 2206.05737; the released One-2-3-45).

    cameras: (b, v) sources. reference: (b, 1). near, far: z-depths, in world units, between which a camera sees.
    The axes are the reference camera's (OpenCV: x right, y down, z forward). The cube is the smallest box along
    them around the frusta of all v + 1 cameras, grown to a cube and by `margin`.
    """
    together = Cameras(
        K=torch.cat([reference.K, cameras.K], 1).double(),
        c2w=torch.cat([reference.c2w, cameras.c2w], 1).double(),
        size=cameras.size,
    )
    corners = _frusta(together, near, far).flatten(1, 2)
    home = together.c2w[:, 0]
    local = (corners - home[:, None, :3, 3]) @ home[:, :3, :3]
    low, high = local.amin(1), local.amax(1)
    centre = (low + high) / 2
    scale = margin * (high - low).amax(1) / 2
    pose = home.clone()
    pose[:, :3, 3] += (home[:, :3, :3] @ centre[..., None])[..., 0]
    return Similarity(pose=pose.to(cameras.c2w), scale=scale.to(cameras.c2w))


def _frusta(cameras: Cameras, near: float, far: float) -> Tensor:
    """World positions (b, v, 8, 3) of the corners of each camera's frustum, at the image's outer corners."""
    height, width = cameras.size
    pixels = cameras.K.new_tensor([[u, v, 1.0] for u in (0.0, width) for v in (0.0, height)])
    rays = pixels @ torch.linalg.inv(cameras.K).mT
    local = torch.cat([rays * near, rays * far], -2)
    return local @ cameras.c2w[..., :3, :3].mT + cameras.centres[..., None, :]
