"""Which components of a closed mesh another one encloses: `objects.cavities`, several times faster."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from one2345.geometry import Mesh
from one2345.objects.cavities import ENCLOSED
from one2345.objects.cpu_backend import CpuBackend

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Rays go along the first row of this rotation: along an axis they would meet the edges of meshes that stand on
# a lattice.
TURN = (
    np.array([[2, 3, 6], [6, 2, -3], [-3, 6, -2]])
    / 7
    @ np.array([[20, 21, 0], [-21, 20, 0], [0, 0, 29]])
    / 29
)
# (point, triangle) pairs looked at together.
PAIRS = 1 << 18
# Of the extent of what is compared: closer to an edge or a triangle than this a ray tells nothing.
CLEAR = 1e-12


def find_enclosed(mesh: Mesh, component: Ints, count: int) -> NDArray[np.bool_]:
    """(count,) components of a mesh that lie inside another one with all their vertices and face centres.

    component (m,): of each face; all of them closed.
    """
    enclosed = np.zeros(count, bool)
    order = np.argsort(component, kind="stable")
    ends = np.cumsum(np.bincount(component, minlength=count))
    starts = ends - np.diff(ends, prepend=0)
    faces = mesh.faces[order]
    low, high = _extent(mesh.vertices, faces)
    low, high = np.minimum.reduceat(low, starts, axis=1), np.maximum.reduceat(high, starts, axis=1)
    turned = mesh.vertices @ TURN.T
    for container in range(count):
        within = (low > low[:, [container]]).all(0) & (high < high[:, [container]]).all(0) & ~enclosed
        if not within.any():
            continue
        shell = faces[starts[container] : ends[container]]
        rays = _Rays(turned, shell)
        backend: CpuBackend | None = None
        for one in np.flatnonzero(within).tolist():
            part = faces[starts[one] : ends[one]]
            corners = np.unique(part)
            verdict = rays.enclose(np.concatenate([turned[corners], turned[part].mean(1)]))
            if verdict is None:
                backend = backend or CpuBackend(mesh.vertices, shell)
                points = np.concatenate([mesh.vertices[corners], mesh.vertices[part].mean(1)])
                verdict = bool((np.abs(backend.winding(points)) > ENCLOSED).all())
            enclosed[one] = verdict
    return enclosed


class _Rays:
    """A closed surface, faces (m, 3) of vertices (n, 3), and whether rays along x that start inside leave it."""

    def __init__(self, vertices: Floats, faces: Ints) -> None:
        low, high = _extent(vertices, faces)
        order = np.argsort(low[1])
        self.vertices, self.faces = vertices, faces[order]
        self.low, self.high = low[:, order], high[:, order]
        self.longest = float((self.high[1] - self.low[1]).max())

    def enclose(self, points: Floats) -> bool | None:
        """Whether all points (p, 3) of a connected surface are inside; None where rays do not tell."""
        low, high = points.min(0), points.max(0)
        start, stop = np.searchsorted(self.low[1], [low[1] - self.longest, high[1]])
        first, last = self.low[:, start:stop], self.high[:, start:stop]
        beside = (last[0] >= low[0]) & (last[1] >= low[1]) & (last[2] >= low[2]) & (first[2] <= high[2])
        corners = self.vertices[self.faces[start:stop][beside]]
        entered = (first[0, beside] <= high[0]).any()
        verdict = _all_inside(points[:1], corners)
        # Where no triangle enters the points' box they are inside all or none.
        return _all_inside(points, corners) if verdict and entered else verdict


def _all_inside(points: Floats, corners: Floats) -> bool | None:
    """Whether rays from all points (p, 3) along +x leave the triangles (t, 3, 3); None if one meets an edge."""
    if len(points) * len(corners) > PAIRS:
        return None
    a, b, c = (corners[:, i] - points[:, None] for i in range(3))
    turns = np.stack([_cross(a, b), _cross(b, c), _cross(c, a)])
    size = max(float(np.abs(a).max(initial=0)), float(np.abs(b).max(initial=0)))
    point, face = np.nonzero((turns > 0).all(0) | (turns < 0).all(0))
    ahead = np.einsum("hi,hi->h", a[point, face], np.cross(b[point, face], c[point, face]))
    if (np.abs(turns) <= CLEAR * size**2).any() or (np.abs(ahead) <= CLEAR * size**3).any():
        return None
    side = np.sign(turns[0, point, face])
    leaves = np.bincount(point, weights=np.where(side * ahead > 0, side, 0.0), minlength=len(points))
    return bool((leaves != 0).all())


def _extent(vertices: Floats, faces: Ints) -> tuple[Floats, Floats]:
    """(3, m) lower and upper corners of the boxes of triangles."""
    a, b, c = (vertices.T[:, faces[:, i]] for i in range(3))
    return np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)


def _cross(a: Floats, b: Floats) -> Floats:
    return a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1]
