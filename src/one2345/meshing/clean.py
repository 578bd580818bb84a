"""Removal of floaters: small pieces that hang in the air beside the object."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from one2345.geometry import Mesh

MIN_AREA_FRACTION = 0.02


@dataclass(frozen=True)
class Floaters:
    """Outcome of `remove_floaters`: pieces kept and removed, and the removed share of the whole area."""

    kept: int
    removed: int
    removed_area: float


def remove_floaters(mesh: Mesh, *, min_area_fraction: float = MIN_AREA_FRACTION) -> tuple[Mesh, Floaters]:
    """Drop the connected pieces whose area is below `min_area_fraction` of the largest piece's area.

    Pieces are connected through shared vertices. The default of 2 % keeps real parts (a wheel of a toy car
    has some 5 % of its body) and drops specks; 0 keeps everything. Unused vertices go, the order stays.
    """
    if not 0 <= min_area_fraction <= 1:
        raise ValueError(f"min_area_fraction is {min_area_fraction}, expected a number in [0, 1]")
    if mesh.is_empty:
        return mesh, Floaters(kept=0, removed=0, removed_area=0.0)
    label = components(mesh)[mesh.faces[:, 0]]
    area = mesh.areas()
    per_piece = np.bincount(label, area)
    used = np.bincount(label) > 0
    keep = used & (per_piece >= min_area_fraction * per_piece.max())
    total = float(per_piece.sum())
    removed = float(per_piece[~keep].sum()) / total if total > 0 else 0.0
    report = Floaters(kept=int(keep.sum()), removed=int((used & ~keep).sum()), removed_area=removed)
    return (mesh, report) if report.removed == 0 else (subset(mesh, keep[label]), report)


def components(mesh: Mesh) -> NDArray[np.int32]:
    """(n,) label of the connected piece of each vertex; unused vertices are pieces of their own."""
    a, b = mesh.faces[:, [0, 1]].ravel(), mesh.faces[:, [1, 2]].ravel()
    count = len(mesh.vertices)
    graph = coo_matrix((np.ones(len(a), bool), (a, b)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def subset(mesh: Mesh, faces: NDArray[np.bool_]) -> Mesh:
    """The faces chosen by (m,), with the vertices that they use, in their order."""
    kept = mesh.faces[faces]
    used, inverse = np.unique(kept, return_inverse=True)
    return replace(
        mesh,
        vertices=mesh.vertices[used],
        faces=inverse.reshape(kept.shape),
        colours=None if mesh.colours is None else mesh.colours[used],
        uv=None if mesh.uv is None else mesh.uv[used],
    )
