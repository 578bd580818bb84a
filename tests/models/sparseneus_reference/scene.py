"""Raw cameras to the cube: the fixture's "Frames and axes"."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scene:
    """Cameras in the cube [-1, 1]^3 of the reference view, float64. View 0 is the reference, the others are sources.

    c2w, w2c, affine: (v, 4, 4), OpenCV axes; affine = K w2c takes cube points to (u z, v z, z) in pixels.
    near_far_train, near_far_eval: (v, 2), distances along a ray in cube units.
    world = reference @ (radius * X + centre): reference (4, 4), centre (3), radius ().
    """

    c2w: Tensor
    w2c: Tensor
    affine: Tensor
    intrinsics: Tensor
    near_far_train: Tensor
    near_far_eval: Tensor
    reference: Tensor
    centre: Tensor
    radius: Tensor
    size: int

    def to_world(self, points: Tensor) -> Tensor:
        """Cube points (p, 3) in the world."""
        in_reference = self.radius * points + self.centre
        return in_reference @ self.reference[:3, :3].T + self.reference[:3, 3]


def normalise_scene(raw_c2w: Tensor, intrinsics: Tensor, near_far: Tensor, *, size: int) -> Scene:
    """The cube around all frusta between near and far, 1.1 times as large as the longest side of their box.

    raw_c2w: (v, 4, 4) in the world. intrinsics: (3, 3) in pixels of pictures `size` wide. near_far: (2), z-depths.
    """
    relative = torch.linalg.inv(raw_c2w[0]) @ raw_c2w
    corners = []
    for pose in relative:
        for u in (0.0, float(size)):
            for v in (0.0, float(size)):
                ray = torch.linalg.inv(intrinsics) @ torch.tensor([u, v, 1.0], dtype=torch.float64)
                corners += [pose[:3, :3] @ (depth * ray) + pose[:3, 3] for depth in near_far]
    low, high = torch.stack(corners).amin(dim=0), torch.stack(corners).amax(dim=0)
    centre, radius = (low + high) / 2, 1.1 * (high - low).max() / 2

    c2w = relative.clone()
    c2w[:, :3, 3] = (relative[:, :3, 3] - centre) / radius
    w2c = torch.linalg.inv(c2w)
    intrinsics4 = torch.eye(4, dtype=torch.float64)
    intrinsics4[:3, :3] = intrinsics
    distance = c2w[:, :3, 3].norm(dim=-1)
    far = 1.05 * (distance + 1)
    return Scene(
        c2w=c2w,
        w2c=w2c,
        affine=intrinsics4 @ w2c,
        intrinsics=intrinsics,
        near_far_train=torch.stack([0.95 * (distance - 1).clamp(min=0.02), far], dim=-1),
        near_far_eval=torch.stack([0.95 * (distance - 1), far], dim=-1),
        reference=raw_c2w[0],
        centre=centre,
        radius=radius,
        size=size,
    )
