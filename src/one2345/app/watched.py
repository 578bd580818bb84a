"""The parts of a pipeline as a page needs them: they show each picture as it comes, and stop when they are told to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from one2345.geometry import Box, Mesh
from one2345.meshing import Extractor
from one2345.views.images import composite, straight_rgba
from one2345.views.synthesis import Report, Synthesised, ViewRequest, ViewSynthesizer

Rgba = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class WatchedViews:
    """A `ViewSynthesizer` around another one.

    show: told the request and the straight RGBA (h, w, 4) of each picture. check: called before each call; it stops the
    work by raising. kept: pictures by the names of their views that are not made again. anew: seeds of single views,
    by name, in place of that of the call.
    """

    inner: ViewSynthesizer
    show: Callable[[ViewRequest, Rgba], None]
    check: Callable[[], None]
    kept: Mapping[str, Rgba] = field(default_factory=dict)
    anew: Mapping[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return self.inner.size

    @property
    def elevation(self) -> float | None:
        return self.inner.elevation

    @property
    def consistent(self) -> bool:
        return self.inner.consistent

    def picture(self) -> Synthesised | None:
        return self.inner.picture()

    def describe(self) -> Mapping[str, Any]:
        return self.inner.describe()

    def __call__(
        self,
        requests: Sequence[ViewRequest],
        pictures: Tensor,
        *,
        seed: int,
        report: Report | None = None,
    ) -> Synthesised:
        self.check()
        found = {r.name: _read(self.kept[r.name]) for r in requests if r.name in self.kept}
        missing = [(r, picture) for r, picture in zip(requests, pictures, strict=True) if r.name not in found]
        groups: dict[int, list[tuple[ViewRequest, Tensor]]] = {}
        for request, picture in missing:
            groups.setdefault(self.anew.get(request.name, seed), []).append((request, picture))
        for chosen, members in groups.items():
            asked = [r for r, _ in members]
            made = self.inner(asked, torch.stack([p for _, p in members]), seed=chosen, report=report)
            for request, image, mask in zip(asked, made.images, made.masks, strict=True):
                found[request.name] = (image.float().cpu(), mask.float().cpu())
        for request in requests:
            image, mask = found[request.name]
            self.show(request, straight_rgba(image[None].clamp(0, 1), mask[None])[0])
        if report is not None:
            report(len(requests))
        images, masks = zip(*(found[r.name] for r in requests), strict=True)
        return Synthesised(torch.stack(images), torch.stack(masks))


@dataclass(frozen=True, kw_only=True)
class WatchedExtractor:
    """An `Extractor` around another one, which calls `check` before each part of the field is evaluated.

    It has the other's `repr`, since results are kept and reported by that.
    """

    inner: Extractor
    check: Callable[[], None]

    def __call__(
        self,
        sdf: Callable[[Tensor], Tensor],
        box: Box,
        colour: Callable[[Tensor, Tensor], Tensor] | None = None,
        *,
        device: torch.device | str = "cpu",
    ) -> Mesh:
        def watched_sdf(points: Tensor) -> Tensor:
            self.check()
            return sdf(points)

        def watched_colour(points: Tensor, normals: Tensor) -> Tensor:
            self.check()
            assert colour is not None
            return colour(points, normals)

        return self.inner(watched_sdf, box, None if colour is None else watched_colour, device=device)

    def __repr__(self) -> str:
        return repr(self.inner)


def _read(rgba: Rgba) -> tuple[Tensor, Tensor]:
    return composite(torch.from_numpy(rgba))
