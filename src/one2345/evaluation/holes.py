"""Where the holes of an open mesh matter: elsewhere its winding numbers are as good as whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from one2345.geometry import Box, Mesh

from .column_scan import in_frame
from .topology import Connectivity

# Nodes per edge of the blocks that are judged as a whole.
BLOCK = 8
# Share of a sphere that the caps may fill, seen from a block whose nodes take whole numbers: below the 0.5 that
# would change an answer, and by more than the error of the winding numbers beside it.
MAX_SHARE = 0.48
# With more separate holes than this no block is spared.
MAX_HOLES = 2048


@dataclass(frozen=True)
class Caps:
    """An open mesh closed by a fan of triangles over each of its boundaries.

    vertices (n, 3), faces (m, 3): mesh and caps together. corners (b, 3, 3): the triangles of the caps; hole
    (b,): which of `holes` each belongs to.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    corners: NDArray[np.float64]
    hole: NDArray[np.int64]
    holes: int


def cap(mesh: Mesh, connectivity: Connectivity) -> Caps:
    """Closes `mesh`: each connected piece of its boundary is joined to the mean of its end points.

    The boundary of any set of faces is made of cycles, so the sides of the fans cancel, and the whole is a
    surface whose edges are walked equally often in both directions.
    """
    welded, boundary = connectivity.welded, connectivity.boundary
    vertex = np.zeros(int(welded.max(initial=-1)) + 1, np.int64)  # one of the vertices at each merged one
    vertex[welded] = mesh.faces[connectivity.kept]
    tail, head = vertex[boundary.T]
    count = len(mesh.vertices)
    graph = coo_matrix((np.ones(len(tail), np.int8), (tail, head)), shape=(count, count))
    label = connected_components(graph, directed=False)[1]
    used, hole = np.unique(label[tail], return_inverse=True)
    size = np.bincount(hole, minlength=len(used))
    ends = mesh.vertices[tail]
    apex = np.stack([np.bincount(hole, weights=ends[:, i], minlength=len(used)) / size for i in range(3)], -1)
    fans = np.stack([head, tail, count + hole], -1)
    vertices = np.concatenate([mesh.vertices, apex])
    return Caps(vertices, np.concatenate([mesh.faces, fans]), vertices[fans], hole, len(used))


def near_holes(caps: Caps, box: Box) -> NDArray[np.bool_]:
    """(r, r, r) nodes of `box` from which the caps may fill more than `MAX_SHARE` of a sphere.

    A mesh and its caps together have a whole winding number W, and the mesh has W - w with w that of the caps
    (Jacobson et al., SIGGRAPH 2013, section 4.2). A surface of area A no nearer than d fills at most
    A / (4 pi d^2) of the sphere, so outside these nodes |w| < 0.5 and the mesh's exceeds 0.5 where W >= 1.
    """
    n = box.resolution
    if caps.holes > MAX_HOLES:
        return np.ones((n, n, n), bool)
    area = 0.5 * np.linalg.norm(
        np.cross(caps.corners[:, 1] - caps.corners[:, 0], caps.corners[:, 2] - caps.corners[:, 0]), axis=-1
    )
    area = np.bincount(caps.hole, weights=area, minlength=caps.holes)
    axis = (box.half_edge * box.axis()).double().numpy()
    start = np.arange(0, n, BLOCK)
    first, last = axis[start], axis[np.minimum(start + BLOCK, n) - 1]
    gaps: list[NDArray[np.float64]] = []
    for along in in_frame(caps.corners.reshape(-1, 3), box):
        low, high = np.full(caps.holes, np.inf), np.full(caps.holes, -np.inf)
        np.minimum.at(low, np.repeat(caps.hole, 3), along)
        np.maximum.at(high, np.repeat(caps.hole, 3), along)
        gaps.append(np.maximum(0, np.maximum(low[:, None] - last, first - high[:, None])) ** 2)
    share = np.zeros((len(start),) * 3)
    for one, x, y, z in zip(area, *gaps):
        squared = x[:, None, None] + y[:, None] + z
        share += one / (4 * np.pi * np.maximum(squared, 1e-300))
    block = np.arange(n) // BLOCK
    return (share >= MAX_SHARE)[np.ix_(block, block, block)]
