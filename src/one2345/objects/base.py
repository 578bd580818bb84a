"""The one interface of everything that can be looked at and measured: analytic shapes and meshes.

Frames and units: the world of `one2345.geometry` (right-handed, z up, object centred at the origin, longest
bounding-box edge 0.8). Distances are in world units, negative inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch

if TYPE_CHECKING:
    from one2345.geometry import Cameras


@dataclass(frozen=True)
class Render:
    """What v cameras see of an object.

    rgb: (v, 3, h, w) float32 in [0, 1], white background.
    depth: (v, h, w) float32, depth along the optical axis (not along the ray); 0 where there is nothing.
    mask: (v, h, w) float32 alpha in [0, 1].
    normal: (v, 3, h, w) float32 unit outward normals in the world frame; 0 where there is nothing.
    """

    rgb: torch.Tensor
    depth: torch.Tensor
    mask: torch.Tensor
    normal: torch.Tensor

    def __post_init__(self) -> None:
        v, _, h, w = self.rgb.shape
        expected = {"rgb": (v, 3, h, w), "depth": (v, h, w), "mask": (v, h, w), "normal": (v, 3, h, w)}
        _check(self, expected)


@dataclass(frozen=True)
class SurfaceSamples:
    """Points drawn uniformly by area from the outer surface, with unit outward normals and colours in [0, 1].

    points, normals, colours: (n, 3) float32.
    """

    points: torch.Tensor
    normals: torch.Tensor
    colours: torch.Tensor

    def __post_init__(self) -> None:
        n = self.points.shape[0]
        _check(self, {"points": (n, 3), "normals": (n, 3), "colours": (n, 3)})

    def __len__(self) -> int:
        return self.points.shape[0]


@runtime_checkable
class Object3D(Protocol):
    """Anything that gives ground truth. Points are world coordinates of shape (..., 3), float32."""

    @property
    def id(self) -> str:
        """Unique, stable name; fit for a folder name."""
        ...

    def sdf(self, points: torch.Tensor) -> torch.Tensor:
        """True signed distance (...) of points (..., 3); cavities that light cannot enter count as inside."""
        ...

    def colour(self, points: torch.Tensor) -> torch.Tensor:
        """Albedo (..., 3) in [0, 1] of the surface point that is nearest to each of points (..., 3)."""
        ...

    def sample_surface(self, n: int, *, seed: int) -> SurfaceSamples:
        """n points uniform by area on the outer surface; the same for the same seed."""
        ...

    def render(self, cameras: Cameras) -> Render:
        """Exact picture for each camera of a batch (v,); albedo only, unless the object has a shading."""
        ...


def _check(value: object, expected: dict[str, tuple[int, ...]]) -> None:
    for name, shape in expected.items():
        found = tuple(getattr(value, name).shape)
        if found != shape:
            raise ValueError(f"{type(value).__name__}.{name} has shape {found}, expected {shape}")
