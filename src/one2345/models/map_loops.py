"""What bilinear samples pass back to their maps on a CPU; written out plainly in `models.map_sampling`."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from ..loops import as_array, compiled, share_out

CHANNELS = 16
"""That a thread adds up together, as many as a line of the cache holds."""

Array = NDArray[Any]


def add(rows: Tensor, weights: Tensor, upstream: Tensor, table: Tensor) -> None:
    """Add to rows (s, 4) of a table (n, c), in place, `upstream` (s, c) by weights (s, 4). IndexError beside it.

    Threads take channels each, so that the sums have one order.
    """
    if len(rows) and not (rows.amin() >= 0 and rows.amax() < len(table)):
        raise IndexError(f"rows {int(rows.amin())} to {int(rows.amax())} of a table of {len(table)}")
    if not table.is_contiguous():
        raise ValueError("the table to add to has to be in order")
    if rows.shape != weights.shape or upstream.shape != (len(rows), table.shape[1]):
        raise ValueError(f"rows {rows.shape}, weights {weights.shape} and values {upstream.shape} don't fit")
    given, made, c = [as_array(part) for part in (rows, weights, upstream)], table.numpy(), table.shape[1]
    share_out(
        -(-c // CHANNELS), lambda start, stop: _add(*given, start * CHANNELS, min(stop * CHANNELS, c), made)
    )


@compiled()
def _add(rows: Array, weights: Array, upstream: Array, start: int, stop: int, table: Array) -> None:
    for j in range(len(rows)):
        for k in range(rows.shape[1]):
            row, weight = rows[j, k], weights[j, k]
            for i in range(start, stop):
                table[row, i] += weight * upstream[j, i]
