"""Values of a signed distance field on a regular lattice, each node evaluated at most once, in chunks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from one2345.errors import InputError
from one2345.geometry import Box

Sdf = Callable[[Tensor], Tensor]
"""Signed distance (p,) of world points (p, 3) float32, negative inside."""

FAR = 1e3


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
    """n^3 nodes of `box` with a margin of one node around them, so that surfaces can be closed at the wall.

    values: (n + 2, n + 2, n + 2) float32, axes x, y, z of the box; `known` (n, n, n) says which nodes of the
    interior hold the field's own value. Everything is float32 or bool: 512^3 needs 0.7 GB.
    """

    def __init__(self, sdf: Sdf, box: Box, *, chunk: int = 65536, device: torch.device | str = "cpu") -> None:
        if box.resolution < 2:
            raise InputError(f"extraction resolution is {box.resolution}, expected at least 2")
        self.sdf, self.box, self.chunk, self.device = sdf, box, chunk, device
        n = box.resolution
        self.values: NDArray[np.float32] = np.zeros((n + 2, n + 2, n + 2), np.float32)
        self.known: NDArray[np.bool_] = np.zeros((n, n, n), bool)
        self.evaluations = 0
        self._axis = box.axis().to(torch.float32)
        self._low, self._high = np.inf, -np.inf

    @property
    def interior(self) -> NDArray[np.float32]:
        """(n, n, n) view of the values at the box's own nodes."""
        return self.values[1:-1, 1:-1, 1:-1]

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest value that the field has returned."""
        return self._low, self._high

    def at(self, index: NDArray[np.integer]) -> NDArray[np.float32]:
        """Field values (p,) at node indices (p, 3); evaluates those not known yet."""
        i, j, k = index.T
        missing = ~self.known[i, j, k]
        if missing.any():
            n = self.box.resolution
            flat = (i[missing].astype(np.int64) * n + j[missing]) * n + k[missing]
            self.evaluate(np.unique(flat))
        return self.interior[i, j, k]

    def evaluate(self, flat: NDArray[np.int64]) -> None:
        """Evaluate the nodes of flat interior indices (p,), which must be distinct and not yet known."""
        n = self.box.resolution
        for start in range(0, len(flat), self.chunk):
            index = np.unravel_index(flat[start : start + self.chunk], (n, n, n))
            unit = torch.stack([self._axis[torch.from_numpy(i)] for i in index], -1)
            with torch.no_grad():
                result = self.sdf(self.box.to_world(unit).to(self.device))
            if result.shape != (len(unit),):
                raise InputError(
                    f"the SDF returned shape {tuple(result.shape)} for {len(unit)} points, "
                    f"expected ({len(unit)},)"
                )
            value = result.float().cpu().numpy()
            bad = int(np.isnan(value).sum())
            if bad:
                raise InputError(f"the SDF returned NaN at {bad} of {len(value)} points; check the weights")
            value = np.clip(value, -FAR, FAR)
            self.interior[index] = value
            self.known[index] = True
            self._low, self._high = min(self._low, float(value.min())), max(self._high, float(value.max()))
        self.evaluations += len(flat)

    def fill_wall(self) -> None:
        """Give the margin the mirrored positive value, so that the surface closes half a node beyond the
        last one: exactly at the wall for nodes at cell centres."""
        v, h = self.values, np.float32(self.box.voxel_size)
        for axis in range(3):
            w = np.moveaxis(v, axis, 0)
            for outer, inner in ((0, 1), (-1, -2)):
                mirrored = np.abs(w[inner])
                w[outer] = np.where(mirrored > 0, mirrored, h)


def sample_dense(lattice: Lattice) -> LatticeStats:
    """Evaluate every node."""
    n = lattice.box.resolution
    step = max(1, lattice.chunk * 16)
    for start in range(0, n**3, step):
        flat = np.arange(start, min(start + step, n**3), dtype=np.int64)
        lattice.evaluate(flat[~lattice.known.reshape(-1)[flat]])
    return LatticeStats(evaluations=lattice.evaluations, nodes=n**3)
