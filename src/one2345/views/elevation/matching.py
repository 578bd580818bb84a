"""What finds the same point of an object in several pictures: the interface, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import torch
from torch import Tensor

from one2345.errors import InputError


@dataclass(frozen=True)
class Matches:
    """Points seen in two pictures.

    first, second: indices of the pictures, first < second. points_first, points_second: (m, 2) float64 positions
    (x, y) in pixels of the pictures as given, pixel centres at +0.5. confidence: (m,) float64 in [0, 1].
    Raises ValueError when these don't fit together.
    """

    first: int
    second: int
    points_first: Tensor
    points_second: Tensor
    confidence: Tensor

    def __post_init__(self) -> None:
        m = len(self.confidence)
        shapes = (
            tuple(self.points_first.shape),
            tuple(self.points_second.shape),
            tuple(self.confidence.shape),
        )
        if shapes != ((m, 2), (m, 2), (m,)) or not 0 <= self.first < self.second:
            raise ValueError(f"Matches of pictures {self.first} and {self.second} with shapes {shapes}")

    def __len__(self) -> int:
        return len(self.confidence)

    def __getitem__(self, chosen: Tensor) -> Matches:
        """Those that the boolean mask or the indices `chosen` select."""
        return Matches(
            self.first,
            self.second,
            self.points_first[chosen],
            self.points_second[chosen],
            self.confidence[chosen],
        )

    @staticmethod
    def none(first: int, second: int) -> Matches:
        empty = torch.zeros(0, 2, dtype=torch.float64)
        return Matches(first, second, empty, empty, empty[:, 0])


class Matcher(Protocol):
    """Matches pictures (n, 3, h, w) in [0, 1] on white, whose objects are masks (n, h, w), deterministically.

    Returns the matches of every unordered pair in the order of `pairs(n)`, empty ones included.
    """

    def __call__(self, images: Tensor, masks: Tensor) -> Sequence[Matches]: ...


def pairs(count: int) -> list[tuple[int, int]]:
    """Unordered pairs of `count` pictures."""
    return list(combinations(range(count), 2))


def check_pictures(images: Tensor, masks: Tensor) -> None:
    """Raises InputError unless images are (n, 3, h, w) with masks (n, h, w), n at least 2, all finite."""
    if images.ndim != 4 or images.shape[1] != 3 or masks.shape != images.shape[:1] + images.shape[2:]:
        raise InputError(
            f"elevation: images of shape {tuple(images.shape)} with masks {tuple(masks.shape)}; expected "
            "(n, 3, h, w) and (n, h, w)"
        )
    if len(images) < 2:
        raise InputError(f"elevation: {len(images)} picture, at least two are needed to compare")
    if not (images.isfinite().all() and masks.isfinite().all()):
        raise InputError("elevation: the pictures or masks hold NaN or infinity")


def on_object(matches: Matches, masks: Tensor) -> Matches:
    """Those whose ends both lie on the object: each looked up in the mask of its own picture (n, h, w)."""
    inside = _looked_up(masks[matches.first], matches.points_first) & _looked_up(
        masks[matches.second], matches.points_second
    )
    return matches[inside]


def _looked_up(mask: Tensor, points: Tensor) -> Tensor:
    height, width = mask.shape
    x, y = points.floor().long().unbind(-1)
    within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return within & (mask[y.clamp(0, height - 1), x.clamp(0, width - 1)] > 0.5)
