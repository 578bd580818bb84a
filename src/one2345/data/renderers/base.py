"""What makes the pictures of an object."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from one2345.geometry import Cameras
from one2345.objects import Render

from ..sources.base import LoadedObject


@runtime_checkable
class Renderer(Protocol):
    """Same cameras, same answer, whoever draws. Must be picklable: workers get their own copy.

    Depth, mask and outline are the object's whoever draws; colours depend on the light that each states.
    """

    def render(self, loaded: LoadedObject, cameras: Cameras) -> Render:
        """What cameras (v,) see, on the CPU. Raises InputError with the reason when it can't be drawn."""
        ...

    def describe(self) -> dict[str, Any]:
        """Plain values that decide the pixels, for the recipe's hash; paths and limits left out."""
        ...
