"""Accounts of a lattice on a CPU, in loops; what is computed is written out plainly in `meshing.lattice`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..loops import as_array, compiled, share_out

Array = NDArray[Any]


def places(blocks: Tensor, size: int, last: int, slots: Tensor, per_axis: int, bits: int) -> Tensor:
    """Places (m, (size + 1)^3) int32 of all nodes of blocks (m, 3) of `size` cells, whose bricks have slots."""
    found = torch.empty(len(blocks), (size + 1) ** 3, dtype=torch.int32)
    given, made = (as_array(blocks), size, last, as_array(slots), per_axis, bits), found.numpy()
    share_out(len(blocks), lambda start, stop: _places(*given, start, stop, made))
    return found


def positions(places: Tensor, bricks: Tensor, per_axis: int, bits: int, axis: Tensor) -> Tensor:
    """Entries (p, 3) of `axis` at the nodes of places (p)."""
    found = axis.new_empty(len(places), 3)
    given, made = (as_array(places), as_array(bricks), per_axis, bits, as_array(axis)), found.numpy()
    share_out(len(places), lambda start, stop: _positions(*given, start, stop, made))
    return found


def torn(store: Tensor, bricks: Tensor, per_axis: int, bits: int, size: int, skipped: Tensor) -> Tensor:
    """Which blocks (m, m, m) of `size` cells touch a known node on another side than theirs in `skipped` (m, m, m).

    skipped: 1 or -1, 0 for blocks that are not asked about.
    """
    found = torch.zeros(skipped.shape, dtype=torch.bool)
    given = as_array(store), as_array(bricks), per_axis, bits, size, as_array(skipped)
    _torn(*given, found.numpy())
    return found


@compiled()
def _places(
    blocks: Array,
    size: int,
    last: int,
    slots: Array,
    per_axis: int,
    bits: int,
    start: int,
    stop: int,
    found: Array,
) -> None:
    low = (1 << bits) - 1
    for block in range(start, stop):
        number = 0
        for i in range(size + 1):
            x = min(blocks[block, 0] * size + i, last)
            for j in range(size + 1):
                y = min(blocks[block, 1] * size + j, last)
                for k in range(size + 1):
                    z = min(blocks[block, 2] * size + k, last)
                    slot = slots[((x >> bits) * per_axis + (y >> bits)) * per_axis + (z >> bits)]
                    within = ((x & low) << 2 * bits) | ((y & low) << bits) | (z & low)
                    found[block, number] = (slot << 3 * bits) + within
                    number += 1


@compiled()
def _positions(
    places: Array, bricks: Array, per_axis: int, bits: int, axis: Array, start: int, stop: int, found: Array
) -> None:
    for i in range(start, stop):
        x, y, z = _node(places[i], bricks, per_axis, bits)
        found[i, 0], found[i, 1], found[i, 2] = axis[x], axis[y], axis[z]


@compiled()
def _torn(
    store: Array, bricks: Array, per_axis: int, bits: int, size: int, skipped: Array, found: Array
) -> None:
    count = len(skipped)
    for place in range(len(store)):
        value = store[place]
        if np.isnan(value):
            continue
        side = 1 if value > 0 else -1
        x, y, z = _node(place, bricks, per_axis, bits)
        # A node on the rim of blocks belongs to those before it, too.
        for i in range(x // size - (x % size == 0), x // size + 1):
            for j in range(y // size - (y % size == 0), y // size + 1):
                for k in range(z // size - (z % size == 0), z // size + 1):
                    if min(i, j, k) >= 0 and max(i, j, k) < count and skipped[i, j, k] == -side:
                        found[i, j, k] = True


@compiled()
def _node(place: int, bricks: Array, per_axis: int, bits: int) -> tuple[int, int, int]:
    """The node at a place, along each axis."""
    brick, low = bricks[place >> 3 * bits], (1 << bits) - 1
    return (
        (brick // (per_axis * per_axis) << bits) + ((place >> 2 * bits) & low),
        (brick // per_axis % per_axis << bits) + ((place >> bits) & low),
        (brick % per_axis << bits) + (place & low),
    )
