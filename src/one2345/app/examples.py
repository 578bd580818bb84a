"""Objects that the page offers to begin with: analytic shapes, drawn here, so that exact views of them are known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from one2345.files import write_atomic
from one2345.geometry import orbit_cameras
from one2345.objects.shapes import AnalyticShape, random_shape
from one2345.views.images import encode_png, straight_rgba
from one2345.views.synthesis import Oracle

STREAM, SHADING = 7, 0.35


@dataclass(frozen=True)
class Example:
    """Shape `index` of the stream, seen from `elevation` degrees. name: what it looks like."""

    name: str
    index: int
    elevation: float

    @cached_property
    def shape(self) -> AnalyticShape:
        return replace(random_shape(STREAM, index=self.index), shading=SHADING)

    def oracle(self, size: int = 256) -> Oracle:
        """What makes exact views of it."""
        return Oracle(
            object=self.shape,
            elevation=self.elevation,
            size=size,
            fingerprint=f"{self.shape.id}, shading {SHADING}",
        )

    def draw(self, folder: Path, size: int = 320) -> Path:
        """Its picture from the input camera, as a PNG with alpha."""
        with torch.no_grad():
            seen = self.shape.render(orbit_cameras([0.0], [self.elevation], size=size))
        file = folder / f"{self.name}.png"
        write_atomic(file, encode_png(straight_rgba(seen.rgb, seen.mask)[0]))
        return file


EXAMPLES = (
    Example("vase", 31, 20.0),
    Example("bowl", 29, 25.0),
    Example("table", 28, 30.0),
    Example("stool", 5, 15.0),
)
