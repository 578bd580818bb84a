"""The sparse 3D network over explicit sets of sites: the fixture's quirks 2 and 3."""

from dataclasses import dataclass
from itertools import pairwise, product

import torch
from tests.models.sparseneus_reference.weights import Weights, bn
from torch import Tensor
from torch.utils.checkpoint import checkpoint

NET = "sdf_network_lod0.sparse_costreg_net"
# In the kernel's order: index (dz + 1) * 9 + (dy + 1) * 3 + (dx + 1), x fastest.
OFFSETS = [(dx, dy, dz) for dz, dy, dx in product((-1, 0, 1), repeat=3)]
_KEY = 1024  # above any coordinate plus an offset

Pairs = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Sites:
    """Occupied places (n, 3) of one level, in units of the finest voxels: multiples of `stride`, sorted."""

    ijk: Tensor
    stride: int


@dataclass(frozen=True)
class Block:
    """Values (n, c) of one convolution after norm and ReLU, before a skip is added, at its sites."""

    sites: Sites
    values: Tensor


def _keys(ijk: Tensor) -> Tensor:
    i, j, k = (ijk + 64).unbind(dim=-1)  # offsets may reach below zero
    return (i * _KEY + j) * _KEY + k


def find(sites: Sites, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Of coordinates (m, 3): where each is in `sites` (m), and whether it is there at all (m)."""
    table = _keys(sites.ijk)
    keys = _keys(wanted)
    place = torch.searchsorted(table, keys).clamp(max=len(table) - 1)
    return place, table[place] == keys


def coarser(fine: Sites) -> Sites:
    """Multiples of twice the stride that have an occupied finer site among their 27 neighbours, none below the
    smallest coordinate of the finer level on any axis; no bound above, so 95 makes a site at 96."""
    stride = 2 * fine.stride
    candidates = []
    for offset in OFFSETS:
        at = fine.ijk - torch.tensor(offset) * fine.stride
        candidates.append(at[(at % stride == 0).all(dim=-1)])
    unique = torch.unique(torch.cat(candidates), dim=0)  # sorted by rows, as _keys sorts
    return Sites(unique[(unique >= fine.ijk.amin(dim=0)).all(dim=-1)], stride)


def neighbours(source: Sites, target: Sites) -> Pairs:
    """Per kernel index: (places in target, places in source) where source = target + offset, in source strides."""
    pairs = []
    for offset in OFFSETS:
        place, there = find(source, target.ijk + torch.tensor(offset) * source.stride)
        pairs.append((there.nonzero()[:, 0], place[there]))
    return pairs


def convolve(x: Tensor, kernel: Tensor, pairs: Pairs, count: int) -> Tensor:
    """Gather rows of x (n, in), multiply by the tap of kernel (27, in, out), add into `count` rows (count, out)."""

    def tap(rows: Tensor, matrix: Tensor, source: Tensor) -> Tensor:
        return rows[source] @ matrix

    total = x.new_zeros(count, kernel.shape[2])
    for matrix, (into, source) in zip(kernel, pairs, strict=True):
        # The gathered rows of 27 taps are gigabytes: a backward pass gathers them anew.
        total = total.index_add(0, into, checkpoint(tap, x, matrix, source, use_reentrant=False))
    return total


def swap(pairs: Pairs) -> Pairs:
    return [(source, target) for target, source in pairs]


def sparse_network(
    cost: Tensor, active: Tensor, weights: Weights, *, batch: bool, updates: Weights | None = None
) -> dict[str, Block]:
    """All blocks by name, and "output" (n, 16) = conv11 + conv0 at the active voxels.

    cost: (n, 32) at active (n, 3), sorted. A transposed convolution runs the pairs of its strided sister backwards.
    """
    levels = [Sites(active, 1)]
    for _ in range(3):
        levels.append(coarser(levels[-1]))
    same = [neighbours(level, level) for level in levels]
    down = [neighbours(fine, coarse) for fine, coarse in pairwise(levels)]
    blocks: dict[str, Block] = {}

    def unit(name: str, x: Tensor, pairs: Pairs, level: int) -> Tensor:
        y = convolve(x, weights[f"{NET}.{name}.net.0.kernel"], pairs, len(levels[level].ijk))
        y = bn(y, weights, f"{NET}.{name}.net.1", batch=batch, updates=updates)
        blocks[name] = Block(levels[level], y)
        return y

    c0 = unit("conv0", cost, same[0], 0)
    c2 = unit("conv2", unit("conv1", c0, down[0], 1), same[1], 1)
    c4 = unit("conv4", unit("conv3", c2, down[1], 2), same[2], 2)
    x = unit("conv6", unit("conv5", c4, down[2], 3), same[3], 3)
    x = c4 + unit("conv7", x, swap(down[2]), 2)
    x = c2 + unit("conv9", x, swap(down[1]), 1)
    x = c0 + unit("conv11", x, swap(down[0]), 0)
    blocks["output"] = Block(levels[0], x)
    return blocks


def dense(values: Tensor, sites: Tensor, *, grid: int) -> Tensor:
    """Values (n, c) at sites (n, 3) in a cube (g, g, g, c), zero elsewhere."""
    i, j, k = sites.unbind(dim=-1)
    cube = values.new_zeros(grid, grid, grid, values.shape[1])
    return cube.index_put((i, j, k), values)
