"""A triangle soup to what an unwrapper takes: no degenerate, duplicate or non-manifold faces, no specks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from one2345.geometry import Mesh

from ..clean import remove_floaters, subset

FLAT = 1e-15
"""A face counts as degenerate below this share of the squared extent of the mesh."""


@dataclass(frozen=True)
class Repairs:
    """What `repair` did: vertices merged, and faces dropped by reason (of specks: pieces)."""

    merged: int = 0
    degenerate: int = 0
    duplicate: int = 0
    non_manifold: int = 0
    specks: int = 0


def repair(mesh: Mesh, *, speck: float = 1e-4) -> tuple[Mesh, Repairs]:
    """The shape of `mesh` alone, without colours or texture: vertices of one place merged, each face once.

    Dropped are faces without area, copies of a face whichever way they wind, and at edges of more than two faces the
    smallest ones beyond two; then pieces below the share `speck` of the largest piece's area (0 keeps all). The order
    of what is kept stays.
    """
    shape, merged = weld(mesh)
    faces = shape.faces
    extent = float(np.ptp(shape.bounds, axis=0).max()) if len(faces) else 0.0
    distinct = (faces != np.roll(faces, 1, axis=1)).all(1)
    solid = distinct & (shape.areas() > FLAT * extent**2)
    faces = faces[solid]
    _, first = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    once = faces[np.sort(first)]
    area = Mesh(shape.vertices, once).areas()
    manifold = ~_excess(once, area)
    kept = subset(Mesh(shape.vertices, once), manifold)
    kept, floaters = remove_floaters(kept, min_area_fraction=speck)
    report = Repairs(
        merged=merged,
        degenerate=int((~solid).sum()),
        duplicate=len(faces) - len(once),
        non_manifold=int((~manifold).sum()),
        specks=floaters.removed,
    )
    return kept, report


def weld(mesh: Mesh) -> tuple[Mesh, int]:
    """The shape with vertices at the same place (in float32) as one vertex, and how many fewer there are."""
    merged, inverse = np.unique(places(mesh.vertices), return_index=True, return_inverse=True)[1:]
    if len(merged) == len(mesh.vertices):
        return Mesh(mesh.vertices, mesh.faces), 0
    order = np.argsort(merged, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    faces = rank[inverse.reshape(-1)][mesh.faces]
    return Mesh(mesh.vertices[merged[order]], faces), len(mesh.vertices) - len(merged)


def places(vertices: NDArray[np.float64]) -> NDArray[np.void]:
    """One comparable item (n,) per position (n, 3), equal where positions are in float32."""
    rounded = np.ascontiguousarray(vertices, np.float32) + np.float32(0)  # -0 becomes 0
    return rounded.view(np.dtype((np.void, 12)))[:, 0]


def _excess(faces: NDArray[np.int64], area: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(m,) faces that are the third or later at one of their edges, the larger ones counted first."""
    by_size = np.argsort(-area, kind="stable")
    edges = np.sort(faces[by_size][:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    code = edges[:, 0] * (int(faces.max()) + 1 if faces.size else 1) + edges[:, 1]
    order = np.argsort(code, kind="stable")
    ordered = code[order]
    start = np.r_[True, ordered[1:] != ordered[:-1]] if len(ordered) else np.zeros(0, bool)
    rank = np.arange(len(ordered)) - np.maximum.accumulate(np.where(start, np.arange(len(ordered)), 0))
    late = np.zeros(len(code), bool)
    late[order] = rank >= 2
    result = np.zeros(len(faces), bool)
    result[by_size] = late.reshape(-1, 3).any(1)
    return result
