"""The object draws itself: Embree or Warp for meshes, sphere tracing for analytic shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from one2345.geometry import Cameras
from one2345.objects import Render

from ..sources.base import LoadedObject

VERSION = 1
"""Raised whenever the same object would get other pixels."""


@dataclass(frozen=True, kw_only=True)
class RaycastRenderer:
    """Albedo, darkened by as much Lambert shading as the object was loaded with (`Recipe.shading`, 0 to 1).

    The light of the shading is the one of `one2345.objects.shading`: distant and fixed in the world, above, in
    front and to the right of the view of azimuth 0.
    """

    def render(self, loaded: LoadedObject, cameras: Cameras) -> Render:
        return loaded.object.render(cameras)

    def describe(self) -> dict[str, Any]:
        return {"kind": "raycast", "version": VERSION}
