"""Bilinear samples of maps that have one row of memory per pixel, and what they pass back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Sampling:
    """What positions in a map mean, as in `grid_sample`.

    padding: beyond the outermost pixel centres there are zeros, or the border's values. align_corners: whether +-1 are
    those centres, or the borders of their pixels.
    """

    padding: Literal["zeros", "border"] = "border"
    align_corners: bool = False

    def corners(self, positions: Tensor, views: Tensor, size: tuple[int, int]) -> Corners:
        """Where to read maps of that height and width at positions (..., 2), column before row, in views (...)."""
        height, width = size
        at = torch.stack(
            [self._pixels(x, n) for x, n in zip(positions.unbind(-1), (width, height), strict=True)]
        )
        low = at.floor()
        share = at - low
        found = []
        for plane, n in ((0, width), (1, height)):
            ends = torch.stack([low[plane], low[plane] + 1])
            inside = (ends >= 0) & (ends <= n - 1)
            shares = torch.stack([1 - share[plane], share[plane]]) * inside
            found.append((ends.clamp_(0, n - 1).long(), shares))
        (column, right), (row, down) = found
        row = row.add_(views * height).mul_(width)
        return Corners(
            torch.stack([(row[i] + column[j]) for i in (0, 1) for j in (0, 1)], -1),
            torch.stack([(down[i] * right[j]) for i in (0, 1) for j in (0, 1)], -1),
        )

    def _pixels(self, x: Tensor, n: int) -> Tensor:
        """Positions along an axis of n pixels in pixels, the first one's centre being 0."""
        at = (x + 1) * ((n - 1) / 2) if self.align_corners else (x + 1) * (n / 2) - 0.5
        return at.clamp(0, n - 1) if self.padding == "border" else at


@dataclass(frozen=True)
class Corners:
    """Rows (..., 4) of a table (views h w, c) and their weights (..., 4)."""

    rows: Tensor
    weights: Tensor

    def read(self, table: Tensor) -> Tensor:
        """Samples (..., c)."""
        weights = self.weights.flatten(0, -2).to(table.dtype)
        found = F.embedding_bag(self.rows.flatten(0, -2), table, per_sample_weights=weights, mode="sum")
        return found.view(*self.rows.shape[:-1], -1)

    def add(self, table: Tensor, upstream: Tensor) -> None:
        """Add to the table's gradient, in place, what samples with the gradient `upstream` (..., c) pass back."""
        values = (self.weights[..., None] * upstream[..., None, :]).to(table.dtype).flatten(0, -2)
        table.scatter_add_(0, self.rows.reshape(-1, 1).expand_as(values), values)


def table_of(maps: Tensor) -> Tensor:
    """Maps (v, c, h, w) as a table (v h w, c); a view of them if the channels of a pixel lie side by side."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)
