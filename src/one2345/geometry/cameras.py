"""Pinhole cameras: a batch of intrinsics and camera-to-world matrices with OpenCV axes.

World: right-handed, z up, object at the origin. Camera: x right, y down, z forward; pixel centres
at +0.5. Azimuth 0 looks from -y, counter-clockwise about +z seen from above; elevation is measured
up from the horizon. Angles are degrees at every public boundary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

RADIUS = 1.2
FOCAL_256 = 280.0
OBJECT_EDGE = 0.8


@dataclass(frozen=True)
class Cameras:
    """Batch of pinhole cameras that share one image size.

    K: (..., 3, 3) intrinsics in pixels. c2w: (..., 4, 4) camera-to-world, OpenCV axes.
    size: (height, width) in pixels.
    """

    K: Tensor
    c2w: Tensor
    size: tuple[int, int]

    def __post_init__(self) -> None:
        if (
            self.K.shape[-2:] != (3, 3)
            or self.c2w.shape[-2:] != (4, 4)
            or self.K.shape[:-2] != self.c2w.shape[:-2]
        ):
            raise ValueError(
                f"Cameras need K (..., 3, 3) and c2w (..., 4, 4), not {tuple(self.K.shape)}, {tuple(self.c2w.shape)}"
            )

    @property
    def shape(self) -> torch.Size:
        """Batch dimensions."""
        return self.c2w.shape[:-2]

    @property
    def device(self) -> torch.device:
        return self.c2w.device

    @property
    def w2c(self) -> Tensor:
        """(..., 4, 4) world-to-camera."""
        rotation = self.c2w[..., :3, :3].mT
        translation = -rotation @ self.c2w[..., :3, 3:]
        return torch.cat([torch.cat([rotation, translation], -1), self.c2w[..., 3:, :]], -2)

    @property
    def projections(self) -> Tensor:
        """(..., 3, 4) from homogeneous world points to pixels times depth."""
        return self.K @ self.w2c[..., :3, :]

    @property
    def focals(self) -> Tensor:
        """(...) focal lengths in pixels, the mean over both axes."""
        return (self.K[..., 0, 0] + self.K[..., 1, 1]) / 2

    @property
    def centres(self) -> Tensor:
        """(..., 3) optical centres in the world."""
        return self.c2w[..., :3, 3]

    @property
    def forward(self) -> Tensor:
        """(..., 3) unit optical axes in the world."""
        return self.c2w[..., :3, 2]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: object) -> Cameras:
        return Cameras(K=self.K[index], c2w=self.c2w[index], size=self.size)  # type: ignore[index]

    def to(self, device: torch.device | str | torch.dtype, non_blocking: bool = False) -> Cameras:
        return Cameras(
            K=self.K.to(device, non_blocking=non_blocking),  # type: ignore[call-overload]
            c2w=self.c2w.to(device, non_blocking=non_blocking),  # type: ignore[call-overload]
            size=self.size,
        )

    def resized(self, size: tuple[int, int]) -> Cameras:
        """The same views at another image size: K scaled per axis (pixel centres at +0.5)."""
        scale = self.K.new_tensor([size[1] / self.size[1], size[0] / self.size[0], 1.0])
        return Cameras(K=self.K * scale[:, None], c2w=self.c2w, size=size)

    @staticmethod
    def stack(cameras: Sequence[Cameras]) -> Cameras:
        """New leading batch dimension; all sizes must agree."""
        return Cameras(
            K=torch.stack([c.K for c in cameras]),
            c2w=torch.stack([c.c2w for c in cameras]),
            size=_one_size(cameras),
        )

    @staticmethod
    def cat(cameras: Sequence[Cameras]) -> Cameras:
        """Concatenation along the first batch dimension; all sizes must agree."""
        return Cameras(
            K=torch.cat([c.K for c in cameras]),
            c2w=torch.cat([c.c2w for c in cameras]),
            size=_one_size(cameras),
        )


def _one_size(cameras: Sequence[Cameras]) -> tuple[int, int]:
    sizes = {c.size for c in cameras}
    if len(sizes) != 1:
        raise ValueError(f"cameras of one batch need one image size, not {sorted(sizes)}")
    return sizes.pop()


def look_at(eye: Tensor, target: Tensor | None = None, up: Tensor | None = None) -> Tensor:
    """Camera-to-world (..., 4, 4) of a camera at `eye` (..., 3) that looks at `target` (default: the origin).

    `up` (default +z) gives the roll. Looking straight along `up`, the image's right is world +x
    (the limit of azimuth 0).
    """
    target = torch.zeros_like(eye) if target is None else target.expand_as(eye)
    up = eye.new_tensor([0.0, 0.0, 1.0]) if up is None else up
    forward = torch.nn.functional.normalize(target - eye, dim=-1)
    right = torch.linalg.cross(forward, up.expand_as(forward))
    length = torch.linalg.vector_norm(right, dim=-1, keepdim=True)
    fallback = eye.new_tensor([1.0, 0.0, 0.0]).expand_as(right)
    right = torch.where(length > 1e-6, right / length.clamp_min(1e-12), fallback)
    down = torch.linalg.cross(forward, right)
    rotation = torch.stack([right, down, forward], -1)
    bottom = eye.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*eye.shape[:-1], 1, 4)
    return torch.cat([torch.cat([rotation, eye[..., None]], -1), bottom], -2)


def orbit(azimuth: Tensor | float, elevation: Tensor | float, radius: Tensor | float = RADIUS) -> Tensor:
    """Camera-to-world (..., 4, 4) on a sphere about the origin, looking at it; angles in degrees.

    Exact at the poles: the roll is that of the azimuth, so nothing flips at elevation +-90.
    """
    a, e, r = torch.broadcast_tensors(
        *(torch.as_tensor(x, dtype=torch.float64) for x in (azimuth, elevation, radius))
    )
    a, e = torch.deg2rad(a), torch.deg2rad(e)
    zero = torch.zeros_like(a)
    outward = torch.stack([a.sin() * e.cos(), -a.cos() * e.cos(), e.sin()], -1)
    right = torch.stack([a.cos(), a.sin(), zero], -1)
    down = torch.linalg.cross(-outward, right)
    rotation = torch.stack([right, down, -outward], -1)
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64).expand(*a.shape, 1, 4)
    return torch.cat([torch.cat([rotation, (r[..., None] * outward)[..., None]], -1), bottom], -2).float()


def raised(cameras: Cameras, degrees: float) -> Cameras:
    """Each camera (...) turned about its own horizontal axis through the origin: `degrees` higher on its orbit.

    Of a camera that looks at the origin azimuth, radius and roll stay; past the pole it goes down the other side.
    """
    angle = torch.tensor(-math.radians(degrees), dtype=torch.float64)
    axis = cameras.c2w[..., :3, 0].double()
    zero = torch.zeros_like(axis[..., 0])
    x, y, z = axis.unbind(-1)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    turn = torch.eye(3, dtype=torch.float64, device=axis.device) + angle.sin() * cross
    turn = turn + (1 - angle.cos()) * cross @ cross
    c2w = cameras.c2w.clone()
    c2w[..., :3, :] = (turn @ cameras.c2w[..., :3, :].double()).to(c2w)
    return Cameras(K=cameras.K, c2w=c2w, size=cameras.size)


def spherical(c2w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Azimuth in [0, 360), elevation in [-90, 90] (degrees) and radius of the camera centres of c2w (..., 4, 4)."""
    centre = c2w[..., :3, 3]
    radius = torch.linalg.vector_norm(centre, dim=-1)
    azimuth = torch.rad2deg(torch.atan2(centre[..., 0], -centre[..., 1])) % 360.0
    elevation = torch.rad2deg(torch.asin((centre[..., 2] / radius.clamp_min(1e-12)).clamp(-1, 1)))
    return azimuth, elevation, radius


def intrinsics(size: int | tuple[int, int], focal: float | None = None) -> Tensor:
    """K (3, 3) with a central principal point; `focal` in pixels (default: 280 px at width 256)."""
    height, width = (size, size) if isinstance(size, int) else size
    focal = FOCAL_256 * width / 256.0 if focal is None else focal
    return torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])


def orbit_cameras(
    azimuth: Tensor | Sequence[float] | float,
    elevation: Tensor | Sequence[float] | float,
    *,
    radius: float = RADIUS,
    size: int | tuple[int, int] = 256,
    focal: float | None = None,
) -> Cameras:
    """Cameras on the orbit at the given azimuths and elevations (degrees, broadcast), standard intrinsics."""
    c2w = orbit(torch.as_tensor(azimuth), torch.as_tensor(elevation), radius)
    K = intrinsics(size, focal).expand(*c2w.shape[:-2], 3, 3).clone()
    return Cameras(K=K, c2w=c2w, size=(size, size) if isinstance(size, int) else size)
