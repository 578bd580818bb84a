"""A synthesiser of views of one's own: what makes the pictures of an object from other sides.

This one believes that every object is turned on a lathe: it looks the same from all sides, so each view is the input
picture again. For a vase that is right, but for the elevation. A model of yours goes where `_view` is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from one2345.views.synthesis import Report, Synthesised, ViewRequest


class Lathe:
    """size: edge of its pictures in pixels. white: level from which a pixel counts as background."""

    elevation = None  # of the input camera, for synthesisers that know it
    consistent = False  # its pictures need not all show one and the same object: the hull becomes a vote

    def __init__(self, *, size: int = 128, white: float = 0.98) -> None:
        self.size, self.white = size, white

    def picture(self) -> Synthesised | None:
        """The input picture, for synthesisers that have it themselves."""
        return None

    def describe(self) -> Mapping[str, Any]:
        """All that decides its pictures: finished views are kept under a hash of this."""
        return {"kind": "lathe", "size": self.size, "white": self.white}

    def __call__(
        self, requests: Sequence[ViewRequest], pictures: Tensor, *, seed: int, report: Report | None = None
    ) -> Synthesised:
        """pictures: (n, 3, size, size), for each request the one that it is made from."""
        images = torch.stack([self._view(r, p, seed) for r, p in zip(requests, pictures, strict=True)])
        if report is not None:
            report(len(requests))
        return Synthesised(images, (images.amin(1) < self.white).float())

    def _view(self, request: ViewRequest, picture: Tensor, seed: int) -> Tensor:
        """The picture (3, size, size) that lies `request.azimuth`, `request.elevation` degrees from `picture`."""
        return picture
