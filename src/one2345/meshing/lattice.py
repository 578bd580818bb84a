"""Values of a signed distance field on a regular lattice, each node evaluated at most once, in chunks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from one2345.errors import InputError
from one2345.geometry import Box

Sdf = Callable[[Tensor], Tensor]
"""Signed distance (p,) of world points (p, 3) float32, negative inside."""

FAR = 1e3
BITS = 3
EDGE = 1 << BITS
"""Nodes along an edge of a brick."""


@dataclass(frozen=True)
class LatticeStats:
    """What an evaluation cost. evaluations: points asked of the field; nodes: of the lattice; lipschitz:
    largest bound on |grad f| in use (None when dense); rounds: passes of the refinement; widened: blocks
    that a failed check added to the band."""

    evaluations: int
    nodes: int
    lipschitz: float | None = None
    rounds: int = 1
    widened: int = 0


class Lattice:
    """n^3 nodes of `box`, of which memory is held for the bricks of 8^3 that values are known in.

    All of it lies on `device`, where the field is asked. A node without a value counts as on the side that
    `fill` gave its block; around the box lies a margin of one node, outside, that closes surfaces at the wall.
    512^3 with a surface of some hundred thousand vertices needs about 0.1 GB.
    """

    def __init__(self, sdf: Sdf, box: Box, *, chunk: int = 65536, device: torch.device | str = "cpu") -> None:
        if box.resolution < 2:
            raise InputError(f"extraction resolution is {box.resolution}, expected at least 2")
        self.sdf, self.box, self.chunk, self.device = sdf, box, chunk, torch.device(device)
        self.evaluations = 0
        self._axis = box.axis().to(self.device, torch.float32)
        self._per_axis = -(-box.resolution // EDGE)
        self._slots = torch.full((self._per_axis**3,), -1, dtype=torch.int32, device=self.device)
        self._bricks = torch.zeros(0, dtype=torch.int64, device=self.device)  # of each slot, its number
        self._store = torch.zeros(0, device=self.device)  # (slots * EDGE^3), NaN where unknown
        self._sides = torch.ones(1, 1, 1, dtype=torch.int8, device=self.device)
        self._block = box.resolution
        self._low, self._high = float("inf"), float("-inf")

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest value that the field has returned."""
        return self._low, self._high

    def at(self, index: Tensor) -> Tensor:
        """Field values (p,) at nodes (p, 3); evaluates those not known yet."""
        places = self._places(index)
        self._evaluate(places)
        return self._store[places]

    def evaluate(self, index: Tensor) -> None:
        """Evaluate those of the nodes (p, 3) that are not known yet; nodes may be named more than once."""
        self._evaluate(self._places(index))

    def at_blocks(self, blocks: Tensor, size: int) -> Tensor:
        """Field values (m, (size + 1)^3) at all nodes of blocks (m, 3) of `size` cells, rims included, the last axis
        fastest; evaluates those not known yet. Beyond the lattice's end its last node counts."""
        last = self.box.resolution - 1
        line = torch.arange(size + 1, device=self.device)
        if self._looped:  # which need no more than a node in each brick
            line = line[(line % EDGE == 0) | (line == size)]
        nodes = (
            (blocks[:, None] * size + torch.cartesian_prod(line, line, line)).clamp_max(last).flatten(0, 1)
        )
        if self._looped:
            from . import lattice_loops

            self._hold(nodes)
            places = lattice_loops.places(blocks, size, last, self._slots, self._per_axis, BITS)
        else:
            places = self._places(nodes).view(len(blocks), (size + 1) ** 3)
        self._evaluate(places.flatten())
        return self._store[places]

    def torn(self, skipped: Tensor, size: int) -> Tensor:
        """Which blocks (m, m, m) of `size` cells have a known node, rims included, on another side than theirs in
        skipped (m, m, m) int8; 0 there: not asked about."""
        if self._looped:
            from . import lattice_loops

            return lattice_loops.torn(self._store, self._bricks, self._per_axis, BITS, size, skipped)
        # Blocks are numbered as if there were one more along each axis, which a node at the far end belongs to.
        line = skipped.shape[0] + 1
        skipped = F.pad(skipped, (0, 1) * 3).flatten()
        torn = torch.zeros_like(skipped, dtype=torch.bool)
        index, value = self.known()
        side, block = torch.where(value > 0, 1, -1), index // size
        number = (block[:, 0] * line + block[:, 1]) * line + block[:, 2]
        rim = (index == block * size) & (index > 0)  # belongs to the block before, too
        for x, y, z in itertools.product((0, 1), repeat=3):
            before = torch.tensor([x, y, z], device=self.device)
            touches = (rim | (before == 0)).all(1).nonzero()[:, 0]
            at = number[touches] - ((x * line + y) * line + z)
            there = skipped[at]
            torn[at[(there != 0) & (there != side[touches])]] = True
        return torn.view(line, line, line)[:-1, :-1, :-1]

    def known(self) -> tuple[Tensor, Tensor]:
        """Nodes (m, 3) that hold the field's own value, and the values (m,)."""
        places = (~self._store.isnan()).nonzero()[:, 0]
        return self._nodes(places), self._store[places]

    def is_known(self, index: Tensor) -> Tensor:
        """Whether nodes (p, 3) hold the field's own value (p,)."""
        return ~self._peek(index).isnan()

    def fill(self, sides: Tensor, size: int) -> None:
        """Say on which side, 1 or -1, the unknown nodes of each block lie: sides (m, m, m) int8, of `size` nodes."""
        self._sides, self._block = sides, size

    def side(self, index: Tensor) -> Tensor:
        """Side (p,) that `fill` gave to the blocks of nodes (p, 3)."""
        x, y, z = (index // self._block).clamp_max(len(self._sides) - 1).unbind(-1)
        return self._sides[x, y, z]

    def values(self, index: Tensor) -> Tensor:
        """Values (p,) at nodes (p, 3) from -1 to n, the margin's included: unknown ones are one voxel from the surface.

        The margin mirrors the box's outermost nodes and is outside: so the surface closes half a node beyond the last
        one, exactly at the wall for nodes at cell centres.
        """
        n, h = self.box.resolution, self.box.voxel_size
        within = index.clamp(0, n - 1)
        found = self._peek(within)
        unknown = found.isnan().nonzero()[:, 0]
        found[unknown] = self.side(within[unknown]) * found.new_tensor(h)
        margin = (within != index).any(-1).nonzero()[:, 0]
        mirrored = found[margin].abs()
        found[margin] = torch.where(mirrored == 0, mirrored.new_tensor(h), mirrored)
        return found

    def dense(self) -> Tensor:
        """(n + 2, n + 2, n + 2) `values` of all nodes with the margin, axes x, y, z of the box: 0.5 GB for 512^3."""
        n = self.box.resolution
        line = torch.arange(-1, n + 1, device=self.device)
        plane = torch.cartesian_prod(line, line)
        planes = [
            self.values(torch.cat([torch.full_like(plane[:, :1], x), plane], 1)) for x in range(-1, n + 1)
        ]
        return torch.stack(planes).view(n + 2, n + 2, n + 2)

    def _peek(self, index: Tensor) -> Tensor:
        brick, within = self._split(index)
        slot = self._slots[brick].long()
        if not len(self._store):
            return torch.full_like(slot, torch.nan, dtype=torch.float32)
        found = self._store[slot.clamp_min(0) * EDGE**3 + within]
        return found.masked_fill_(slot < 0, torch.nan)

    @property
    def _looped(self) -> bool:
        """Whether accounts are kept by compiled loops. What they compute is the same."""
        return self.device.type == "cpu"

    def _places(self, index: Tensor) -> Tensor:
        """Where nodes (p, 3) are kept (p,), with memory for their bricks."""
        brick, within = self._hold(index)
        return self._slots[brick].long() * EDGE**3 + within

    def _hold(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Get memory for the bricks of nodes (p, 3); their `_split`."""
        brick, within = self._split(index)
        needed = torch.zeros(self._slots.shape, dtype=torch.bool, device=self.device)
        needed[brick] = True
        new = (needed & (self._slots < 0)).nonzero()[:, 0]
        if len(new):
            used = len(self._bricks)
            self._slots[new] = torch.arange(used, used + len(new), dtype=torch.int32, device=self.device)
            self._bricks = torch.cat([self._bricks, new])
            self._store = torch.cat([self._store, self._store.new_full((len(new) * EDGE**3,), torch.nan)])
        return brick, within

    def _split(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Brick and place in it of nodes (p, 3)."""
        x, y, z = index.unbind(-1)
        brick = ((x >> BITS) * self._per_axis + (y >> BITS)) * self._per_axis + (z >> BITS)
        low = EDGE - 1
        return brick, ((x & low) << 2 * BITS) | ((y & low) << BITS) | (z & low)

    def _nodes(self, places: Tensor) -> Tensor:
        """Inverse of `_places`: (p, 3)."""
        brick, m, low = self._bricks[places >> 3 * BITS], self._per_axis, EDGE - 1
        outer = torch.stack([brick // m**2, brick // m % m, brick % m], -1)
        inner = torch.stack([places >> 2 * BITS, places >> BITS, places], -1) & low
        return (outer << BITS) + inner

    def _evaluate(self, places: Tensor) -> None:
        places = places[self._store[places].isnan()]
        if len(places):  # each once, in the order of the bricks
            wanted = torch.zeros(self._store.shape, dtype=torch.bool, device=self.device)
            wanted[places] = True
            places = wanted.nonzero()[:, 0]
        for part in places.split(self.chunk) if len(places) else ():
            if self._looped:
                from . import lattice_loops

                along = lattice_loops.positions(part, self._bricks, self._per_axis, BITS, self._axis)
            else:
                along = self._axis[self._nodes(part)]
            points = self.box.to_world(along)
            with torch.no_grad():
                value = self.sdf(points)
            if value.shape != (len(part),):
                raise InputError(
                    f"the SDF returned shape {tuple(value.shape)} for {len(part)} points, expected ({len(part)},)"
                )
            bad = int(value.isnan().sum())
            if bad:
                raise InputError(f"the SDF returned NaN at {bad} of {len(part)} points; check the weights")
            value = value.float().clamp(-FAR, FAR)
            self._store[part] = value
            self._low, self._high = min(self._low, float(value.min())), max(self._high, float(value.max()))
        self.evaluations += len(places)


def sample_dense(lattice: Lattice) -> LatticeStats:
    """Evaluate every node."""
    n = lattice.box.resolution
    line = torch.arange(n, device=lattice.device)
    for slab in line.split(EDGE):
        lattice.evaluate(torch.cartesian_prod(slab, line, line))
    return LatticeStats(evaluations=lattice.evaluations, nodes=n**3)
