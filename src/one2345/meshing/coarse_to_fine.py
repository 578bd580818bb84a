"""Coarse-to-fine evaluation of a lattice: only blocks through which the surface can pass are refined.

A block of b^3 cells whose centre has |f| > L * (half its diagonal) holds no surface if |grad f| <= L in it.
L is local: the largest slope seen around each coarse block (differences between block centres and between
one random pair of neighbouring nodes per block, largest over the 3^3 neighbouring blocks, and at least the
99th percentile over all blocks) times `margin`. So a field that is a poor distance far from its surface, or
jumps there, costs evaluations only where it does so.

Three checks follow, each of which widens the band and repeats when it fails:
1. slopes between the nodes of kept blocks and their centres, and between centres of successive levels,
   stay below L;
2. no skipped block has nodes of both signs, its rim included: a surface that reaches the rim of the band
   is followed across it, whatever L is;
3. random nodes of skipped blocks have the sign that the block was given.
What is left over is a surface that lies wholly inside skipped blocks, and is missed by the probes.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from one2345.errors import InputError
from one2345.seeding import numpy_rng

from .lattice import Lattice, LatticeStats, sample_dense

log = logging.getLogger(__name__)

Index = NDArray[np.int32]
MAX_ROUNDS = 12


def sample_near_surface(
    lattice: Lattice,
    *,
    coarse: int = 32,
    finest: int = 4,
    margin: float = 1.25,
    lipschitz: float | None = None,
    probes: int = 4096,
) -> LatticeStats:
    """Evaluate the nodes near the surface and give all others a value of the right sign.

    coarse: blocks per axis at the start, about; finest: cells per axis of the smallest block (powers of
    two); margin: factor on the sampled slopes; lipschitz: a known bound on |grad f| instead of sampled ones;
    probes: random nodes for check 3. Raises InputError for settings out of range.
    """
    if finest < 2 or finest & (finest - 1):
        raise InputError(f"extractor.finest is {finest}, expected a power of two from 2 on")
    if margin < 1 or coarse < 1:
        raise InputError(f"extractor.margin={margin} and coarse={coarse} must be at least 1")
    n = lattice.box.resolution
    size = finest
    while size * 2 * coarse <= n:
        size *= 2
    if n - 1 <= 2 * finest:
        return sample_dense(lattice)
    blocks = _Blocks(lattice, size)
    if lipschitz is None:
        bound = margin * _sampled_slopes(lattice, blocks, coarse_key=size)
    else:
        bound = np.full(blocks.shape, lipschitz, np.float32)

    forced: NDArray[np.bool_] | None = None
    rng = numpy_rng("extraction-probes", n)
    widened = 0
    for round_ in range(1, MAX_ROUNDS + 1):
        centre_sign, kept, steep = _refine(lattice, size, finest, bound)
        if forced is not None:
            kept |= forced
        steep = np.maximum(steep, _evaluate_blocks(lattice, kept, finest, size, bound.shape))
        _fill(lattice, centre_sign, finest)
        crossing = _mixed(lattice, finest) & ~kept
        crossing |= _probe(lattice, kept, finest, probes, rng)
        breach = steep > bound * (1 + 1e-4)
        if not breach.any() and not crossing.any():
            return LatticeStats(lattice.evaluations, n**3, float(bound.max()), round_, widened)
        widened += int(crossing.sum()) + int(breach.sum())
        if breach.any():
            log.debug(
                "extraction: |grad f| reaches %.3g where %.3g was assumed (%d coarse blocks); band widened",
                float(steep[breach].max()), float(bound[breach].min()), int(breach.sum()),
            )  # fmt: skip
            bound = np.maximum(bound, margin * maximum_filter(np.where(breach, steep, 0), size=3))
        if crossing.any():
            log.debug("extraction: surface found in %d skipped blocks; band widened", int(crossing.sum()))
            forced = kept | crossing
    log.warning("extraction: the checks fail after %d rounds; evaluating the whole lattice", MAX_ROUNDS)
    sample_dense(lattice)
    return LatticeStats(lattice.evaluations, n**3, float(bound.max()), MAX_ROUNDS, widened)


class _Blocks:
    """The partition of the n - 1 cells per axis into blocks of `size` cells; the last one may be cut."""

    def __init__(self, lattice: Lattice, size: int) -> None:
        self.count = -(-(lattice.box.resolution - 1) // size)
        self.size, self.last = size, lattice.box.resolution - 1
        self.shape = (self.count,) * 3

    def all(self) -> Index:
        """(count^3, 3) block indices."""
        return np.indices(self.shape, np.int32).reshape(3, -1).T

    def centre(self, block: Index) -> Index:
        """Node at the middle of blocks (m, 3); never more than size / 2 nodes from any node of the block."""
        return np.minimum(block * self.size + self.size // 2, self.last)


def _sampled_slopes(lattice: Lattice, blocks: _Blocks, coarse_key: int) -> NDArray[np.float32]:
    """Local bound on |grad f| per coarse block, before the margin."""
    h, index = lattice.box.voxel_size, blocks.all()
    centre = blocks.centre(index)
    value = lattice.at(centre).reshape(blocks.shape)
    position = blocks.centre(np.arange(blocks.count, dtype=np.int32)) * h
    squared = np.zeros(blocks.shape, np.float32)
    for axis in range(3):
        if blocks.count > 1:
            step = np.maximum(np.diff(position), h).astype(np.float32)
            shape = [1, 1, 1]
            shape[axis] = -1
            slope = np.diff(value, axis=axis) / step.reshape(shape)
            edge = [(0, 0)] * 3
            edge[axis] = (0, 1)
            squared += np.pad(slope, edge, mode="edge") ** 2
    rng = numpy_rng("extraction-slopes", coarse_key, blocks.count)
    first = np.minimum(index * blocks.size + rng.integers(0, blocks.size, index.shape), blocks.last)
    offset = rng.integers(-1, 2, index.shape)
    offset[(offset == 0).all(1)] = (1, 0, 0)
    second = first + offset
    second = np.where((second < 0) | (second > blocks.last), first - offset, second)
    distance = h * np.linalg.norm(second - first, axis=1)
    pair = np.abs(lattice.at(second) - lattice.at(first)) / distance
    local = np.maximum(np.sqrt(squared), pair.reshape(blocks.shape).astype(np.float32))
    floor = np.quantile(local, 0.99)
    return np.maximum(maximum_filter(local, size=3), max(floor, 1e-6)).astype(np.float32)


def _refine(
    lattice: Lattice, size: int, finest: int, bound: NDArray[np.float32]
) -> tuple[NDArray[np.int8], NDArray[np.bool_], NDArray[np.float32]]:
    """Descend from blocks of `size` to `finest`. Returns, per finest block, the sign of the last centre
    evaluated there and whether it is kept; and per coarse block the steepest slope seen."""
    h, start = lattice.box.voxel_size, size
    blocks = _Blocks(lattice, size)
    index = blocks.all()
    value = lattice.at(blocks.centre(index))
    sign = np.where(value > 0, 1, -1).astype(np.int8).reshape(blocks.shape)
    steep = np.zeros(bound.shape, np.float32)
    while True:
        radius = np.sqrt(3.0) / 2 * size * h
        limit = bound[tuple((index // (start // size)).T)]
        keep = np.abs(value) <= limit * radius
        if size == finest:
            kept = np.zeros(blocks.shape, bool)
            kept[tuple(index[keep].T)] = True
            return sign, kept, steep
        parent, parent_value = index[keep], value[keep]
        parent_centre = blocks.centre(parent)
        size //= 2
        blocks = _Blocks(lattice, size)
        sign = sign.repeat(2, 0).repeat(2, 1).repeat(2, 2)[tuple(slice(blocks.count) for _ in range(3))]
        child = (2 * parent[:, None] + np.indices((2, 2, 2), np.int32).reshape(3, 8).T[None]).reshape(-1, 3)
        exists = (child < blocks.count).all(1)
        index = child[exists]
        centre = blocks.centre(index)
        value = lattice.at(centre)
        sign[tuple(index.T)] = np.where(value > 0, 1, -1)
        distance = h * np.linalg.norm(centre - parent_centre.repeat(8, 0)[exists], axis=1)
        slope = np.abs(value - parent_value.repeat(8)[exists]) / np.maximum(distance, h)
        np.maximum.at(steep, tuple((index // (start // size)).T), slope.astype(np.float32))


def _evaluate_blocks(
    lattice: Lattice, kept: NDArray[np.bool_], size: int, start: int, coarse_shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Evaluate all nodes of the kept blocks, rims included; steepest slope to a centre per coarse block."""
    h, n = lattice.box.voxel_size, lattice.box.resolution
    blocks = _Blocks(lattice, size)
    offset = np.indices((size + 1,) * 3, np.int32).reshape(3, -1).T
    steep = np.zeros(coarse_shape, np.float32)
    index = np.argwhere(kept).astype(np.int32)
    wanted = np.zeros((n, n, n), bool)
    pieces = [index[s : s + 4096] for s in range(0, len(index), 4096)]
    for piece in pieces:
        i, j, k = np.minimum(piece[:, None] * size + offset, blocks.last).reshape(-1, 3).T
        wanted[i, j, k] = True
    wanted &= ~lattice.known
    lattice.evaluate(np.flatnonzero(wanted))
    for piece in pieces:
        node = np.minimum(piece[:, None] * size + offset, blocks.last)
        centre = blocks.centre(piece)
        i, j, k = node.reshape(-1, 3).T
        difference = lattice.interior[i, j, k].reshape(len(piece), -1)
        difference = np.abs(difference - lattice.interior[tuple(centre.T)][:, None])
        distance = h * np.sqrt(((node - centre[:, None]) ** 2).sum(-1))
        slope = (difference / np.maximum(distance, h)).max(1)
        np.maximum.at(steep, tuple((piece // (start // size)).T), slope.astype(np.float32))
    return steep


def _fill(lattice: Lattice, sign: NDArray[np.int8], size: int) -> None:
    """Nodes that were not evaluated get the sign of their block, one voxel in size."""
    n, h = lattice.box.resolution, np.float32(lattice.box.voxel_size)
    block = np.minimum(np.arange(n) // size, sign.shape[0] - 1)
    for x in range(n):
        plane = sign[block[x]][np.ix_(block, block)].astype(np.float32) * h
        np.copyto(lattice.interior[x], plane, where=~lattice.known[x])


def _mixed(lattice: Lattice, size: int) -> NDArray[np.bool_]:
    """Per block whether its nodes, rim included, have both signs."""
    count = _Blocks(lattice, size).count
    high = low = lattice.interior > 0
    for axis in range(3):
        high = _reduce(high, axis, size, count, np.logical_or)
        low = _reduce(low, axis, size, count, np.logical_and)
    return high != low


def _reduce(x: NDArray[np.bool_], axis: int, size: int, count: int, how: np.ufunc) -> NDArray[np.bool_]:
    """Reduce runs of size + 1 nodes, neighbours sharing one, along an axis."""
    x = np.moveaxis(x, axis, 0)
    last = np.minimum(np.arange(1, count + 1) * size, x.shape[0] - 1)
    result = how.reduceat(x[: last[-1] + 1], np.arange(count) * size, axis=0)
    return np.moveaxis(how(result, x[last]), 0, axis)


def _probe(
    lattice: Lattice, kept: NDArray[np.bool_], size: int, probes: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Blocks in which a random node turned out to have another sign than it was filled with."""
    found = np.zeros_like(kept)
    n = lattice.box.resolution
    flat = np.unique(rng.integers(0, n**3, probes))
    flat = flat[~lattice.known.reshape(-1)[flat]]
    if len(flat):
        index = np.unravel_index(flat, (n, n, n))
        filled = lattice.interior[index] > 0
        lattice.evaluate(flat)
        wrong = (lattice.interior[index] > 0) != filled
        block = np.minimum(np.stack(index, -1)[wrong] // size, kept.shape[0] - 1)
        found[tuple(block.T)] = True
        found &= ~kept
    return found
