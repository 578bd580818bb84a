"""The views of a known object: what a perfect synthesiser would make, for evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from one2345.errors import InputError
from one2345.geometry import Cameras, orbit_cameras
from one2345.hub import sha256
from one2345.objects import MeshObject, Object3D, load_mesh

from .base import Report, Synthesised, ViewRequest


class Oracle:
    """Renders `object` (in the world frame) from the cameras that are asked for.

    elevation: of the input camera, degrees. size: edge of the pictures. fingerprint: digest of what the object is
    made from; its id where that says as much.
    """

    consistent = True

    def __init__(
        self, *, object: Object3D, elevation: float, size: int = 256, fingerprint: str | None = None
    ) -> None:
        self.object = object
        self.size = size
        self.elevation = float(elevation)
        self._fingerprint = fingerprint or object.id

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "oracle", "object": self._fingerprint, "size": self.size, "elevation": self.elevation}

    def picture(self) -> Synthesised:
        """The render from the input camera."""
        seen = self.object.render(orbit_cameras([0.0], [self.elevation], size=self.size))
        return Synthesised(seen.rgb, seen.mask)

    def cameras(self, requests: Sequence[ViewRequest]) -> Cameras:
        """The cameras (n) of the wanted pictures, in the world."""
        return orbit_cameras(
            [r.parent_azimuth + r.azimuth for r in requests],
            [self.elevation + r.parent_elevation + r.elevation for r in requests],
            size=self.size,
        )

    def __call__(
        self, requests: Sequence[ViewRequest], pictures: Tensor, *, seed: int, report: Report | None = None
    ) -> Synthesised:
        seen = self.object.render(self.cameras(requests))
        if report is not None:
            report(len(requests))
        return Synthesised(seen.rgb, seen.mask)


def open_oracle(
    *, object: str | Path | None, elevation: float | None, size: int = 256, up: str = "auto"
) -> Oracle:
    """The oracle of a mesh file. elevation: of the input camera, degrees. up: see `objects.load_mesh`.

    Raises InputError where the file or the elevation is missing.
    """
    if object is None:
        raise InputError("views=oracle needs the object: views.object=FILE (GLB, OBJ, ...)")
    if elevation is None or isinstance(elevation, str):
        raise InputError("views=oracle needs the elevation of the input camera in degrees: elevation=20")
    file = Path(object).expanduser()
    mesh = MeshObject(load_mesh(file, up=up), id=file.stem, antialias=2, repair=False)  # type: ignore[arg-type]
    return Oracle(object=mesh, elevation=elevation, size=size, fingerprint=sha256(file))
