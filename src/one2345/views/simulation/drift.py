"""How the object that a generated view shows differs from the true one: per view, a smooth map of space.

A view-conditioned diffusion model errs in pose and in shape, the more the further the view is from the
picture it was made from. Both errors are one displacement of the points that the view sees, given in the
frame of that view's camera: a similarity about the object's centre (what a jitter of camera pose and focal
length looks like, with a stretch per axis) plus a smooth random field. Being a map of space, the drift of one
view can be looked at from another camera, so a second generation inherits the drift of the first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from one2345.geometry import OBJECT_EDGE, Cameras, camera_rays, project, z_per_t
from one2345.seeding import Part, torch_rng

_SHAPES = {
    "rotation": (3,),
    "stretch": (3,),
    "shift": (3,),
    "coarse": (3, 4, 4),
    "fine": (3, 8, 8),
    "texture": (2, 8, 8),
    "shade": (4,),
    "shade_field": (4, 4, 4),
}
_COUNT = sum(math.prod(shape) for shape in _SHAPES.values())


@dataclass(frozen=True)
class Draw:
    """Standard normal numbers of v views, one row per view: pose (v, 3) each, fields (v, c, cells, cells)."""

    rotation: Tensor
    stretch: Tensor
    shift: Tensor
    coarse: Tensor
    fine: Tensor
    texture: Tensor
    shade: Tensor
    shade_field: Tensor

    @staticmethod
    def named(names: Sequence[str], key: tuple[Part, ...]) -> Draw:
        """The numbers of each named view under `key`; a view's numbers depend on its own name only."""
        rows = {name: torch.randn(_COUNT, generator=torch_rng(*key, "drift", name)) for name in set(names)}
        parts = torch.stack([rows[name] for name in names]).split(
            [math.prod(s) for s in _SHAPES.values()], -1
        )
        return Draw(**{n: p.reshape(-1, *s) for (n, s), p in zip(_SHAPES.items(), parts, strict=True)})


@dataclass(frozen=True)
class Amplitudes:
    """Standard deviations at unit growth.

    rotation: degrees. stretch: logarithm of the scale, per camera axis. shift, warp: world units. texture:
    fraction of the image width. shade, tint: lightness and each channel, of the colour range [0, 1].
    """

    rotation: float
    stretch: float
    shift: float
    warp: float
    texture: float
    shade: float
    tint: float


def growth(angle: Tensor, floor: float) -> Tensor:
    """Share of the drift at `angle` degrees from the origin view: `floor` at 0, by sin(angle / 2) to 1."""
    return floor + (1.0 - floor) * torch.sin(torch.deg2rad(angle) / 2)


def angle_between(centres: Tensor, origins: Tensor) -> Tensor:
    """Degrees (v,) between camera centres (v, 3), seen from the world's origin."""
    a, b = (torch.nn.functional.normalize(x, dim=-1) for x in (centres, origins))
    chord = torch.linalg.vector_norm(a - b, dim=-1)
    return torch.rad2deg(2 * torch.asin((chord / 2).clamp(0, 1)))


def smooth(field: Tensor, at: Tensor) -> Tensor:
    """Bicubic samples (v, p, c) of coarse fields (v, c, n, n) at image coordinates (v, p, 2) in [-1, 1]."""
    samples = grid_sample(field, at[:, None], mode="bicubic", padding_mode="border", align_corners=True)
    return samples[:, :, 0].mT


def image_coordinates(points_world: Tensor, cameras: Cameras) -> Tensor:
    """(v, p, 2) in [-1, 1] over the image, of points (v, p, 3) seen by cameras (v)."""
    pixels, _ = project(points_world, cameras)
    return pixels / pixels.new_tensor([cameras.size[1], cameras.size[0]]) * 2 - 1


def displace(
    points_world: Tensor, cameras: Cameras, draw: Draw, amplitudes: Amplitudes, grown: Tensor
) -> Tensor:
    """Where the drifted object has the points (v, p, 3) of the true one; draw and grown (v,) of each view."""
    size = grown[:, None]
    points = _camera_frame(points_world, cameras)
    centre = _camera_frame(points_world.new_zeros(len(cameras), 1, 3), cameras)
    rotation = torch.linalg.matrix_exp(_skew(draw.rotation * math.radians(amplitudes.rotation) * size))
    stretch = torch.exp(draw.stretch * amplitudes.stretch * size)[:, None]
    moved = ((points - centre) * stretch) @ rotation.mT + (draw.shift * amplitudes.shift * size)[:, None]
    at = image_coordinates(points_world, cameras)
    field = smooth(draw.coarse, at) + 0.5 * smooth(draw.fine, at)
    moved = centre + moved + amplitudes.warp * size[:, None] * field
    return moved @ cameras.c2w[:, :3, :3].mT + cameras.c2w[:, None, :3, 3]


def lift(depth: Tensor, cameras: Cameras) -> Tensor:
    """World points (v, h*w, 3) of z-depth maps (v, h, w) whose size is that of the cameras."""
    rays = camera_rays(cameras)
    return rays.at(depth / z_per_t(cameras, rays.directions)).flatten(1, 2)


def ball_depth(cameras: Cameras) -> Tensor:
    """(v, h, w) z-depth of a stand-in for an unknown shape: a ball; around it, its central plane."""
    height, width = cameras.size
    centre = -(cameras.centres * cameras.forward).sum(-1)[:, None, None]
    plane = lift(centre.expand(-1, height, width), cameras)
    offset = torch.linalg.vector_norm(plane, dim=-1).reshape(-1, height, width)
    return (
        centre - (0.75 * OBJECT_EDGE / 2) * (1 - (offset / (0.75 * OBJECT_EDGE / 2)) ** 2).clamp_min(0).sqrt()
    )


def _camera_frame(points_world: Tensor, cameras: Cameras) -> Tensor:
    return (points_world - cameras.c2w[:, None, :3, 3]) @ cameras.c2w[:, :3, :3]


def _skew(vectors: Tensor) -> Tensor:
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*vectors.shape[:-1], 3, 3)
