"""Nearest neighbours in a cloud of points, exact, on the CPU (a k-d tree) or on a GPU (all pairs)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from one2345 import kaolin

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Search = Callable[[Floats, Floats], tuple[Floats, Ints]]
"""A cloud (n, 3) and queries (q, 3) to distance (q,) and index (q,) of the nearest point."""

# On surface samples, times of 100 K queries in 100 K points beside scipy's defaults: a tree that is neither
# balanced nor compacted takes a third to build, and a quarter to query where the clouds are far apart; larger
# leaves and queries in the order of a space-filling curve take another quarter off each.
LEAF = 32
# Cells per axis of that curve, as bits: 3 of them fill a 16-bit key, which numpy sorts by radix.
CURVE_BITS = 5
# Pairs of all_pairs held at a time: 256 MB of distances.
PAIRS = 1 << 25


class Neighbours:
    """A cloud of points (n, 3) that can be asked for nearest neighbours; built once, asked often.

    device: "cpu" asks a k-d tree; a CUDA device kaolin where it is installed, else `all_pairs`. search: in
    place of these. Raises ValueError, naming the cloud `name`, for an empty one or points that are not finite.
    """

    def __init__(
        self,
        points: ArrayLike,
        *,
        name: str = "point",
        device: torch.device | str = "cpu",
        search: Search | None = None,
    ) -> None:
        self.points = _points(points, name)
        self._search = search or _search_on(torch.device(device))

    def __len__(self) -> int:
        return len(self.points)

    def query(self, queries: Neighbours | ArrayLike) -> tuple[Floats, Ints]:
        """Distance (q,) from each of `queries` (q, 3) to the nearest point, and its index (q,)."""
        asked = queries if isinstance(queries, Neighbours) else Neighbours(queries, name="query")
        if self._search is not None:
            return self._search(self.points, asked.points)
        found, at = self._tree.query(asked.points[asked.curve], workers=-1)
        distance, index = np.empty(len(asked)), np.empty(len(asked), np.int64)
        distance[asked.curve], index[asked.curve] = found, self.curve[at]
        return distance, index

    @cached_property
    def curve(self) -> Ints:
        """(n,) order of the points along a Morton curve: neighbours in it touch the same parts of a tree."""
        along = self.points.T.copy()
        low = along.min(1)
        edge = float((along.max(1) - low).max())
        scale = (2**CURVE_BITS - 1) / edge if edge > 1e-300 else 0.0
        key = np.zeros(len(self), np.uint16)
        for axis in range(3):
            cell = ((along[axis] - low[axis]) * scale).astype(np.uint16)
            key |= _SPREAD[cell] << np.uint16(axis)
        return np.argsort(key, kind="stable")

    @cached_property
    def _tree(self) -> KDTree:
        return KDTree(self.points[self.curve], leafsize=LEAF, balanced_tree=False, compact_nodes=False)


def all_pairs(
    cloud: ArrayLike, queries: ArrayLike, *, device: torch.device | str = "cuda"
) -> tuple[Floats, Ints]:
    """Nearest points by comparing all pairs on a device: distance (q,) and index (q,).

    Pairs are compared by |p|^2 - 2 p·q about the cloud's centre in float64, a matrix product; the distance of
    the chosen one is then computed from its difference. So a distance is too long by 1e-7 of the clouds'
    extent at most, and that only where it is itself no longer.
    """
    points, asked = (_points(x, name) for x, name in ((cloud, "point"), (queries, "query")))
    centre = points.mean(0)
    p, q = (torch.from_numpy(x - centre).to(device) for x in (points, asked))
    left = torch.cat([q, torch.ones_like(q[:, :1])], 1)
    right = torch.cat([-2 * p, (p * p).sum(1, keepdim=True)], 1).T
    rows = max(1, PAIRS // len(p))
    index = torch.cat([(part @ right).argmin(1) for part in left.split(rows)])
    return (q - p[index]).norm(dim=1).cpu().numpy(), index.cpu().numpy()


def _search_on(device: torch.device) -> Search | None:
    """What searches there; None for the tree."""
    if device.type == "cpu":
        return None
    return partial(kaolin.nearest if kaolin.available(device) else all_pairs, device=device)


def _points(points: ArrayLike, name: str) -> Floats:
    array = np.ascontiguousarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 3 or not len(array):
        raise ValueError(f"the {name} cloud has shape {array.shape}, expected (n, 3) with n > 0")
    if not np.isfinite(array).all():
        raise ValueError(f"the {name} cloud holds NaN or infinite points")
    return array


def _spread_bits() -> NDArray[np.uint16]:
    """For each number of CURVE_BITS bits, these moved to every third place."""
    numbers = np.arange(2**CURVE_BITS, dtype=np.uint16)
    spread = np.zeros_like(numbers)
    for bit in range(CURVE_BITS):
        spread |= ((numbers >> np.uint16(bit)) & np.uint16(1)) << np.uint16(3 * bit)
    return spread


_SPREAD = _spread_bits()
