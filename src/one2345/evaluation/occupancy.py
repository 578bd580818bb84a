"""Which nodes of the evaluation grid lie inside a mesh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from one2345.geometry import Box, Mesh, evaluation_box
from one2345.objects.mesh_object import occupancy

_MAX_SPAN = 2.0


def grid_occupancy(mesh: Mesh, resolutions: Sequence[int]) -> dict[int, NDArray[np.bool_]]:
    """For each r of `resolutions` (r, r, r) bool at the cell centres of r^3 cells over a cube of 1.2 edges:
    whether the winding number exceeds 0.5 (sealed cavities are inside).

    For a closed mesh the winding number is constant between sheets of the surface, so it is asked for only
    at nodes beside the surface and once in each region that the others form: the same answer, several times
    faster.
    """
    closed = is_closed(mesh)
    grids = [_Grid(mesh, resolution, closed) for resolution in resolutions]
    inside = occupancy(mesh, np.concatenate([grid.points for grid in grids]))
    ends = np.cumsum([len(grid.points) for grid in grids])
    return {
        grid.resolution: grid.filled(part)
        for grid, part in zip(grids, np.split(inside, ends[:-1]), strict=True)
    }


class _Grid:
    """One grid: `points` (p, 3) to ask about, and `filled`, which spreads the answers over all nodes."""

    def __init__(self, mesh: Mesh, resolution: int, closed: bool) -> None:
        self.resolution = resolution
        box = evaluation_box(resolution)
        self.region: NDArray[np.int32] | None = None
        self.first: NDArray[np.int64] = np.zeros(0, np.int64)
        self.asked: NDArray[np.int64] = np.arange(resolution**3)
        if closed:
            near = _beside_surface(mesh, box)
            labelled: Any = ndimage.label(~near)
            self.region = np.asarray(labelled[0], np.int32).reshape(-1)
            ids, first = np.unique(self.region, return_index=True)
            self.first = first[ids > 0]
            self.asked = np.concatenate([self.first, np.flatnonzero(near)])
        axis = (box.half_edge * box.axis()).double().numpy()  # to the bit the nodes of `box`
        self.points = np.stack([axis[i] for i in np.unravel_index(self.asked, (resolution,) * 3)], -1)

    def filled(self, inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(r, r, r) from the answers at `points`."""
        result = np.zeros(self.resolution**3, bool)
        if self.region is not None:
            of_region = np.zeros(int(self.region.max(initial=0)) + 1, bool)
            of_region[self.region[self.first]] = inside[: len(self.first)]
            result = of_region[self.region]
        result[self.asked] = inside
        return result.reshape((self.resolution,) * 3)


def is_closed(mesh: Mesh) -> bool:
    """Whether every edge is walked equally often in both directions, which makes winding numbers integers."""
    if mesh.is_empty:
        return False
    a = mesh.faces[:, [0, 1, 2]].ravel()
    b = mesh.faces[:, [1, 2, 0]].ravel()
    key = np.minimum(a, b) * len(mesh.vertices) + np.maximum(a, b)
    order = np.argsort(key, kind="stable")
    key, direction = key[order], np.where(a < b, 1, -1)[order]
    starts = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
    return not np.add.reduceat(direction, starts).any()


def _beside_surface(mesh: Mesh, box: Box) -> NDArray[np.bool_]:
    """Nodes that hold every crossing of a lattice edge with the surface between themselves: of an edge that a
    triangle crosses at p the upper end, which is p rounded up. These lie in the triangle's box, its corners
    rounded up. Large triangles are split first."""
    n = box.resolution
    near = np.zeros((n, n, n), bool)
    triangles = (mesh.triangles / box.half_edge + 1) * (n / 2) - 0.5
    while len(triangles):
        extent = np.ptp(triangles, axis=1).max(1)
        small = triangles[extent <= _MAX_SPAN]
        low = np.ceil(small.min(1)).astype(np.int64)
        high = np.ceil(small.max(1)).astype(np.int64)
        span = int((high - low).max(initial=-1)) + 1
        for offset in np.ndindex(span, span, span):
            node = low + offset
            use = (node <= high).all(1) & (node >= 0).all(1) & (node < n).all(1)
            near[tuple(node[use].T)] = True
        triangles = _split(triangles[extent > _MAX_SPAN])
    return near


def _split(triangles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each triangle (m, 3, 3) into four by its edges' midpoints."""
    a, b, c = triangles.transpose(1, 0, 2)
    ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
    corners = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return np.concatenate([np.stack(t, 1) for t in corners])
