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

import torch
from torch import Tensor
from torch.nn import functional as F

from one2345.errors import InputError
from one2345.seeding import numpy_rng

from .lattice import Lattice, LatticeStats, sample_dense

log = logging.getLogger(__name__)

MAX_ROUNDS = 12
PIECE = 2**15
"""Blocks at a time where all their nodes are looked at."""


def sample_near_surface(
    lattice: Lattice,
    *,
    coarse: int = 32,
    finest: int = 2,
    margin: float = 1.25,
    lipschitz: float | None = None,
    probes: int = 4096,
) -> tuple[LatticeStats, Tensor | None]:
    """Evaluate the nodes near the surface and say on which side all others are.

    coarse: blocks per axis at the start, about; finest: cells per axis of the smallest block (powers of
    two); margin: factor on the sampled slopes; lipschitz: a known bound on |grad f| instead of sampled ones;
    probes: random nodes for check 3. Raises InputError for settings out of range.

    Returns what it cost, and the blocks (m, 3) of `finest` cells outside of which there is no surface but at the
    wall; None: the lattice is dense.
    """
    if finest < 2 or finest & (finest - 1):
        raise InputError(f"extractor.finest is {finest}, expected a power of two from 2 on")
    if margin < 1 or coarse < 1:
        raise InputError(f"extractor.margin={margin} and coarse={coarse} must be at least 1")
    n = lattice.box.resolution
    size = finest
    while size * 2 * coarse <= n * 2**0.5:  # of powers of two the nearest
        size *= 2
    if n - 1 <= 2 * finest:
        return sample_dense(lattice), None
    blocks = _Blocks(lattice, size)
    if lipschitz is None:
        bound = margin * _sampled_slopes(lattice, blocks, coarse_key=size)
    else:
        bound = torch.full(blocks.shape, lipschitz, device=lattice.device)

    forced: Tensor | None = None
    rng = numpy_rng("extraction-probes", n)
    widened = 0
    for round_ in range(1, MAX_ROUNDS + 1):
        sides, kept, steep = _refine(lattice, size, finest, bound)
        if forced is not None:
            kept |= forced
        steep = torch.maximum(steep, _evaluate_blocks(lattice, kept, finest, size, bound.shape))
        lattice.fill(sides, finest)
        crossing = _crossings(lattice, sides, kept, finest)
        flat = torch.from_numpy(rng.integers(0, n**3, probes)).to(lattice.device)
        crossing |= _probe(lattice, kept, finest, flat)
        breach = steep > bound * (1 + 1e-4)
        if not bool(breach.any()) and not bool(crossing.any()):
            stats = LatticeStats(lattice.evaluations, n**3, float(bound.max()), round_, widened)
            return stats, kept.nonzero()
        widened += int(crossing.sum()) + int(breach.sum())
        if bool(breach.any()):
            log.debug(
                "extraction: |grad f| reaches %.3g where %.3g was assumed (%d coarse blocks); band widened",
                float(steep[breach].max()), float(bound[breach].min()), int(breach.sum()),
            )  # fmt: skip
            bound = torch.maximum(bound, margin * _over_neighbours(torch.where(breach, steep, 0.0)))
        if bool(crossing.any()):
            log.debug("extraction: surface found in %d skipped blocks; band widened", int(crossing.sum()))
            forced = kept | crossing
    log.warning("extraction: the checks fail after %d rounds; evaluating the whole lattice", MAX_ROUNDS)
    sample_dense(lattice)
    return LatticeStats(lattice.evaluations, n**3, float(bound.max()), MAX_ROUNDS, widened), None


class _Blocks:
    """The partition of the n - 1 cells per axis into blocks of `size` cells; the last one may be cut."""

    def __init__(self, lattice: Lattice, size: int) -> None:
        self.count = -(-(lattice.box.resolution - 1) // size)
        self.size, self.last = size, lattice.box.resolution - 1
        self.shape = (self.count,) * 3
        self.device = lattice.device

    def all(self) -> Tensor:
        """(count^3, 3) block indices."""
        line = torch.arange(self.count, device=self.device)
        return torch.cartesian_prod(line, line, line)

    def centre(self, block: Tensor) -> Tensor:
        """Node at the middle of blocks (m, 3); never more than size / 2 nodes from any node of the block."""
        return (block * self.size + self.size // 2).clamp_max(self.last)

    def steps_to_centre(self, block: Tensor) -> Tensor:
        """Distance (m, (size + 1)^3), in nodes, of all nodes of blocks (m, 3) from their centres, see `at_blocks`."""
        line = torch.arange(self.size + 1, device=self.device)
        away = (block[..., None] * self.size + line).clamp_max(self.last) - self.centre(block)[..., None]
        x, y, z = away.float().square().unbind(1)
        return (x[:, :, None, None] + y[:, None, :, None] + z[:, None, None, :]).sqrt().flatten(1)


def _over_neighbours(x: Tensor) -> Tensor:
    """Largest value (m, m, m) over the 3^3 blocks around each."""
    return F.max_pool3d(x[None, None], 3, stride=1, padding=1)[0, 0]


def _raise_to(most: Tensor, block: Tensor, value: Tensor) -> None:
    """Raise entries `block` (p, 3) of most (m, m, m) to at least value (p,)."""
    m = most.shape[-1]
    flat = (block[:, 0] * m + block[:, 1]) * m + block[:, 2]
    most.view(-1).scatter_reduce_(0, flat, value, "amax")


def _sampled_slopes(lattice: Lattice, blocks: _Blocks, coarse_key: int) -> Tensor:
    """Local bound on |grad f| per coarse block, before the margin."""
    h, index = lattice.box.voxel_size, blocks.all()
    value = lattice.at(blocks.centre(index)).view(blocks.shape)
    position = blocks.centre(torch.arange(blocks.count, device=lattice.device)[:, None])[:, 0] * h
    squared = torch.zeros_like(value)
    for axis in range(3):
        if blocks.count > 1:
            step = position.diff().clamp_min(h).view([-1 if a == axis else 1 for a in range(3)])
            slope = value.diff(dim=axis) / step
            last = slope.narrow(axis, blocks.count - 2, 1)
            squared += torch.cat([slope, last], axis) ** 2
    rng = numpy_rng("extraction-slopes", coarse_key, blocks.count)
    within, offset = rng.integers(0, blocks.size, index.shape), rng.integers(-1, 2, index.shape)
    offset[(offset == 0).all(1)] = (1, 0, 0)
    within, offset = (torch.from_numpy(x).to(lattice.device) for x in (within, offset))
    first = (index * blocks.size + within).clamp_max(blocks.last)
    second = first + offset
    second = torch.where((second < 0) | (second > blocks.last), first - offset, second)
    distance = h * (second - first).float().norm(dim=1)
    pair = (lattice.at(second) - lattice.at(first)).abs() / distance
    local = torch.maximum(squared.sqrt(), pair.view(blocks.shape))
    floor = float(local.flatten().quantile(0.99))
    return _over_neighbours(local).clamp_min(max(floor, 1e-6))


def _refine(lattice: Lattice, size: int, finest: int, bound: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Descend from blocks of `size` to `finest`. Returns, per finest block, the side of the last centre
    evaluated there and whether it is kept; and per coarse block the steepest slope seen."""
    h, start = lattice.box.voxel_size, size
    blocks = _Blocks(lattice, size)
    index = blocks.all()
    value = lattice.at(blocks.centre(index))
    sides = _side(value).view(blocks.shape)
    steep = torch.zeros_like(bound)
    while True:
        radius = 3**0.5 / 2 * size * h
        keep = value.abs() <= bound[tuple((index // (start // size)).T)] * radius
        if size == finest:
            kept = torch.zeros(blocks.shape, dtype=torch.bool, device=lattice.device)
            kept[tuple(index[keep].T)] = True
            return sides, kept, steep
        parent, parent_value = index[keep], value[keep]
        parent_centre = blocks.centre(parent)
        size //= 2
        blocks = _Blocks(lattice, size)
        for axis in range(3):
            sides = sides.repeat_interleave(2, axis).narrow(axis, 0, blocks.count)
        pair = torch.arange(2, device=lattice.device)
        child = (2 * parent[:, None] + torch.cartesian_prod(pair, pair, pair)).flatten(0, 1)
        exists = (child < blocks.count).all(1)
        index = child[exists]
        centre = blocks.centre(index)
        value = lattice.at(centre)
        sides[tuple(index.T)] = _side(value)
        distance = h * (centre - parent_centre.repeat_interleave(8, 0)[exists]).float().norm(dim=1)
        slope = (value - parent_value.repeat_interleave(8)[exists]).abs() / distance.clamp_min(h)
        _raise_to(steep, index // (start // size), slope)


def _side(value: Tensor) -> Tensor:
    return torch.where(value > 0, 1, -1).to(torch.int8)


def _evaluate_blocks(
    lattice: Lattice, kept: Tensor, size: int, start: int, coarse_shape: torch.Size
) -> Tensor:
    """Evaluate all nodes of the kept blocks, rims included; steepest slope to a centre per coarse block."""
    h, blocks = lattice.box.voxel_size, _Blocks(lattice, size)
    steep = torch.zeros(coarse_shape, device=lattice.device)
    for block in kept.nonzero().split(PIECE):
        value = lattice.at_blocks(block, size)
        centre = value[:, len(value.T) // 2, None]
        slope = (value - centre).abs() / (h * blocks.steps_to_centre(block)).clamp_min(h)
        _raise_to(steep, block // (start // size), slope.amax(1))
    return steep


def _crossings(lattice: Lattice, sides: Tensor, kept: Tensor, size: int) -> Tensor:
    """Skipped blocks (m, m, m) that have nodes on both sides, rims included, as far as is known."""
    found = torch.zeros_like(kept)
    # Two skipped blocks beside each other, on two sides: what lies between them is neither's.
    for axis in range(3):
        m = kept.shape[axis]
        low, high = (
            (lambda x, a=axis, b=m: x.narrow(a, 0, b - 1)),
            (lambda x, a=axis, b=m: x.narrow(a, 1, b - 1)),
        )
        apart = (low(sides) != high(sides)) & ~low(kept) & ~high(kept)
        low(found).logical_or_(apart)
        high(found).logical_or_(apart)
    # Known nodes, of kept blocks for the most part, on another side than a skipped block that they touch.
    return found | lattice.torn(torch.where(kept, 0, sides), size)


def _probe(lattice: Lattice, kept: Tensor, size: int, flat: Tensor) -> Tensor:
    """Blocks in which one of the nodes `flat` (p,) turns out to be on another side than it was filled with."""
    n = lattice.box.resolution
    index = torch.stack([flat // n**2, flat // n % n, flat % n], -1)
    index = index[~lattice.is_known(index)]
    wrong = _side(lattice.at(index)) != lattice.side(index)
    block = (index[wrong] // size).clamp_max(kept.shape[0] - 1)
    found = torch.zeros_like(kept)
    found[tuple(block.T)] = True
    return found & ~kept
