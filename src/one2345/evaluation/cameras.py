"""The cameras of a protocol: rings at which pictures are compared, and those whose depth gives points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from one2345.errors import InputError
from one2345.geometry import OBJECT_EDGE, Cameras, camera_rays, orbit_cameras, z_per_t
from one2345.objects import Render

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CameraRings:
    """Cameras that look at the object from rings of equal azimuth steps, starting in front of it.

    rings: mappings with `elevation` (degrees) and `count`. size: pixels. distance: of the cameras from the
    object's centre, in longest edges. fov: field of view, degrees.
    """

    rings: Sequence[Mapping[str, float]]
    size: int
    distance: float = 1.5
    fov: float = 49.134342

    def __post_init__(self) -> None:
        for name in ("distance", "fov"):
            object.__setattr__(self, name, float(getattr(self, name)))
        for index, ring in enumerate(self.rings):
            if set(ring) != {"elevation", "count"}:
                raise InputError(f"rings[{index}]: give elevation and count, found {sorted(ring)}")
        object.__setattr__(self, "rings", tuple(dict(ring) for ring in self.rings))
        if self.size < 8 or not self.distance > 0 or not 0 < self.fov < 180 or not self.rings:
            raise InputError(
                f"cameras need rings, size from 8 pixels, distance > 0 and 0 < fov < 180; found "
                f"{len(self.rings)} rings, size={self.size}, distance={self.distance}, fov={self.fov}"
            )

    @property
    def count(self) -> int:
        """Number of cameras."""
        return sum(int(ring["count"]) for ring in self.rings)

    def cameras(self, edge: float = OBJECT_EDGE) -> Cameras:
        """Cameras (v) around an object with longest edge `edge` at the origin, ring by ring."""
        azimuth = [360.0 * i / ring["count"] for ring in self.rings for i in range(int(ring["count"]))]
        elevation = [float(ring["elevation"]) for ring in self.rings for _ in range(int(ring["count"]))]
        focal = 0.5 * self.size / float(np.tan(np.deg2rad(self.fov) / 2))
        return orbit_cameras(azimuth, elevation, radius=self.distance * edge, size=self.size, focal=focal)

    def describe(self) -> str:
        """`12 views at elevation 30°, 12 at 0°, 512 px`."""
        rings = ", ".join(f"{int(r['count'])} at elevation {r['elevation']:g}°" for r in self.rings)
        return f"{rings}, {self.size} px, distance {self.distance:g} edges"


@dataclass(frozen=True, kw_only=True)
class VisibleSurface:
    """Points of a surface that cameras see: depth maps back-projected, then one point per voxel.

    cameras: in edges of the object. depth: (nearest, furthest) z-depth that counts, in edges. depth_range:
    interval over which depth is quantised to 16 bit, or None. voxel: edge of the cells in each of which points
    are averaged, in edges; 0: none.
    """

    cameras: CameraRings
    depth: Sequence[float] = (0.0, 1e6)
    depth_range: Sequence[float] | None = None
    voxel: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", tuple(float(d) for d in self.depth))
        if self.depth_range is not None:
            object.__setattr__(self, "depth_range", tuple(float(d) for d in self.depth_range))

    def points(
        self, render: Render, cameras: Cameras, *, edge: float, quantised: bool
    ) -> tuple[Floats, Floats]:
        """Points and unit normals (n, 3) of what `cameras` see in `render`, where the longest edge is `edge`.

        quantised: take depth as its 16-bit file would keep it.
        """
        rays = camera_rays(cameras)
        depth = render.depth.double()
        low, high = (d * edge for d in self.depth)
        if quantised and self.depth_range is not None:
            near, far = (d * edge for d in self.depth_range)
            steps = ((depth - near) / (far - near) * 65535).round().clamp(0, 65535)
            depth = torch.where(depth > 0, near + steps / 65535 * (far - near), depth)
        seen = (render.mask > 0.5) & (depth > low) & (depth < high)
        t = depth / z_per_t(cameras, rays.directions).double().clamp_min(1e-9)
        points = (rays.origins.double() + rays.directions.double() * t[..., None])[seen].numpy()
        normals = render.normal.permute(0, 2, 3, 1)[seen].double().numpy()
        if self.voxel <= 0 or not len(points):
            return points, normals
        return _per_voxel(points, normals, self.voxel * edge)

    def describe(self) -> str:
        """`visible from 16 at elevation 30°, 256 px, ...; one point per voxel of 0.01`."""
        thinned = f"; averaged in voxels of {self.voxel:g} edges" if self.voxel else ""
        return f"seen from {self.cameras.describe()}{thinned}"


def _per_voxel(points: Floats, normals: Floats, voxel: float) -> tuple[Floats, Floats]:
    """Means of the points and directions of the summed normals in each occupied voxel."""
    cells = np.floor((points - points.min(0)) / voxel + 0.5).astype(np.int64)
    size = cells.max(0) + 1
    key = (cells[:, 0] * size[1] + cells[:, 1]) * size[2] + cells[:, 2]
    _, inverse, count = np.unique(key, return_inverse=True, return_counts=True)
    mean = np.stack([np.bincount(inverse, points[:, i]) for i in range(3)], -1) / count[:, None]
    total = np.stack([np.bincount(inverse, normals[:, i]) for i in range(3)], -1)
    length = np.linalg.norm(total, axis=-1, keepdims=True)
    return mean, total / np.maximum(length, 1e-12)
