"""The record of one alignment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from .correspondence import scale_of
from .placements import yaw_of
from .surface import Floats

Method = Literal["none", "centre_scale", "yaw", "yaw_scale_icp"]


@dataclass(frozen=True)
class Alignment:
    """matrix (4, 4): prediction → truth's frame, a similarity that never mirrors. Of it: scale; yaw_degrees,
    counter-clockwise about +z in (-180, 180]; tilt_degrees of the vertical; translation (3,).

    residual_before, residual: mean distance to the nearest point, mean of both ways, without and with it.
    inliers: share of points with a neighbour nearer than the threshold, mean of both ways. ambiguous_yaws: others
    that fit as well, or nearly. mirrored: the mirror image fits better. mirrored_residual: of the mirror image;
    proper_residual: that of the prediction which it was compared with, turned over if that is better.
    """

    method: Method
    matrix: Floats
    residual_before: float
    residual: float
    inliers: float
    mirrored: bool
    mirrored_residual: float
    proper_residual: float
    ambiguous_yaws: tuple[float, ...] = ()

    @property
    def scale(self) -> float:
        return float(scale_of(self.matrix[None])[0])

    @property
    def yaw_degrees(self) -> float:
        return float(yaw_of(self.matrix[:3, :3]))

    @property
    def tilt_degrees(self) -> float:
        x, y, z = self.matrix[:3, 2].tolist()
        return math.degrees(math.atan2(math.hypot(x, y), z))

    @property
    def translation(self) -> tuple[float, float, float]:
        x, y, z = self.matrix[:3, 3].tolist()
        return x, y, z

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "method": self.method,
            "yaw_degrees": self.yaw_degrees,
            "scale": self.scale,
            "translation": list(self.translation),
            "tilt_degrees": self.tilt_degrees,
            "residual_before": self.residual_before,
            "residual": self.residual,
            "inliers": self.inliers,
            "ambiguous_yaws": list(self.ambiguous_yaws),
            "mirrored": self.mirrored,
            "mirrored_residual": self.mirrored_residual,
            "proper_residual": self.proper_residual,
            "matrix": self.matrix.tolist(),
        }
