"""Points with normals that stand for a surface, moved as one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from .metrics.neighbours import Neighbours

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SurfaceCloud:
    """points, normals (n, 3): samples of a surface and its unit normals there. bounds (2, 3): lower and upper
    corner of the surface's own bounding box (not of the samples)."""

    points: Floats
    normals: Floats
    bounds: Floats

    def __len__(self) -> int:
        return len(self.points)

    @property
    def centre(self) -> Floats:
        """(3,) centre of the bounding box."""
        return self.bounds.mean(0)

    @property
    def edge(self) -> float:
        """Longest edge of the bounding box."""
        return float((self.bounds[1] - self.bounds[0]).max())

    @cached_property
    def _tree(self) -> Neighbours:
        return Neighbours(self.points)

    def neighbours(self, device: torch.device | str = "cpu") -> Neighbours:
        """The points, ready to be asked for the nearest; on the CPU their tree is built once."""
        on_cpu = torch.device(device).type == "cpu"
        return self._tree if on_cpu else Neighbours(self.points, device=device)

    def transformed(self, matrix: Floats) -> SurfaceCloud:
        """Under a (4, 4) similarity (it may mirror). The bounds become those of the moved points, since the
        box of a turned surface is not the turned box."""
        linear = matrix[:3, :3]
        scale = abs(float(np.linalg.det(linear))) ** (1 / 3)
        points = self.points @ linear.T + matrix[:3, 3]
        bounds = np.stack([points.min(0), points.max(0)])
        return SurfaceCloud(points, self.normals @ linear.T / scale, bounds)
