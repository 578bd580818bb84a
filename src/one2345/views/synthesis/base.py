"""What makes the pictures of an object from other sides: the interface, and what it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from one2345.geometry import PlannedView


@dataclass(frozen=True, kw_only=True)
class ViewRequest:
    """One picture that is wanted.

    name: of the view, unique among those of one object. parent: name of the view whose picture it is made from;
    None for the input picture. azimuth, elevation: degrees from that picture's camera to the wanted one.
    parent_azimuth, parent_elevation: degrees from the input camera to that picture's (0, 0 for the input).
    """

    name: str
    parent: str | None
    azimuth: float
    elevation: float
    parent_azimuth: float = 0.0
    parent_elevation: float = 0.0

    @staticmethod
    def of(view: PlannedView, parent: PlannedView | None, *, input_elevation: float) -> ViewRequest:
        """The request for a view of a plan whose elevations were laid out for `input_elevation`."""
        from_azimuth = 0.0 if parent is None else parent.azimuth
        from_elevation = input_elevation if parent is None else parent.elevation
        return ViewRequest(
            name=view.name,
            parent=None if parent is None else parent.name,
            azimuth=(view.azimuth - from_azimuth + 180.0) % 360.0 - 180.0,
            elevation=view.elevation - from_elevation,
            parent_azimuth=from_azimuth,
            parent_elevation=from_elevation - input_elevation,
        )


@dataclass(frozen=True)
class Synthesised:
    """Pictures in the order of the requests. images: (n, 3, h, w) float32 on white. masks: (n, h, w) alpha."""

    images: Tensor
    masks: Tensor


Report = Callable[[int], None]
"""Called with how many pictures are done."""


class ViewSynthesizer(Protocol):
    """Makes pictures of one object from given pictures of it.

    size: edge of its square pictures in pixels. elevation: of the input camera in degrees where the synthesiser
    knows it (a replay, a known object), else None. consistent: whether its pictures all show one and the same
    object, as renders and photographs do and a model's don't quite. A picture depends on its request, the picture
    that it is made from and the seed alone: not on the other requests of the call, nor on their order.
    """

    @property
    def size(self) -> int: ...

    @property
    def elevation(self) -> float | None: ...

    @property
    def consistent(self) -> bool: ...

    def picture(self) -> Synthesised | None:
        """The input picture (one) where the synthesiser has it itself, so that none need be given; else None."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """Plain values that decide its pictures: settings, and hashes of weights or of files."""
        ...

    def __call__(
        self,
        requests: Sequence[ViewRequest],
        pictures: Tensor,
        *,
        seed: int,
        report: Report | None = None,
    ) -> Synthesised:
        """pictures: (n, 3, size, size) float32 on white, for each request the one that it is made from."""
        ...
