"""Objects that the page offers to begin with: analytic shapes, drawn here, so that exact views of them are known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from one2345.files import write_atomic
from one2345.geometry import orbit_cameras
from one2345.objects import MeshObject
from one2345.objects.shapes import random_shape
from one2345.views.images import encode_png, straight_rgba
from one2345.views.synthesis import Oracle

STREAM, RESOLUTION, SHADING = 7, 128, 0.35


@dataclass(frozen=True)
class Example:
    """Shape `index` of the stream, seen from `elevation` degrees. name: what it looks like."""

    name: str
    index: int
    elevation: float

    @cached_property
    def object(self) -> MeshObject:
        """Its surface as a fine mesh, which is seen sooner than the shape itself."""
        shape = random_shape(STREAM, index=self.index)
        return MeshObject(
            shape.mesh(RESOLUTION), id=shape.id, shading=SHADING, antialias=2, normalise=False, repair=False
        )

    def oracle(self, size: int = 256) -> Oracle:
        """What makes exact views of it."""
        return Oracle(
            object=self.object,
            elevation=self.elevation,
            size=size,
            fingerprint=f"{self.object.id}, mesh of {RESOLUTION}, shading {SHADING}",
        )

    def draw(self, folder: Path, size: int = 320) -> Path:
        """Its picture from the input camera, as a PNG with alpha."""
        with torch.no_grad():
            seen = self.object.render(orbit_cameras([0.0], [self.elevation], size=size))
        file = folder / f"{self.name}.png"
        write_atomic(file, encode_png(straight_rgba(seen.rgb, seen.mask)[0]))
        return file


EXAMPLES = (
    Example("vase", 31, 20.0),
    Example("bowl", 29, 25.0),
    Example("table", 28, 30.0),
    Example("stool", 5, 15.0),
)
