"""Fewer faces, the surface kept: edges are collapsed in order of their quadric error (Garland and Heckbert 1997)."""

from __future__ import annotations

import fast_simplification
import numpy as np

from one2345.errors import InputError
from one2345.geometry import Mesh

AGGRESSIVE = (3.0, 7.0, 12.0)
"""How fast the error that is allowed grows; the later ones are for meshes that stall before."""


def decimate(mesh: Mesh, faces: int) -> Mesh:
    """The shape of `mesh` with at most about `faces` faces; the mesh itself where it has no more.

    Raises InputError for fewer than 4 faces.
    """
    if faces < 4:
        raise InputError(f"faces={faces}: a mesh needs at least 4")
    if len(mesh.faces) <= faces:
        return mesh
    low, high = mesh.bounds
    scale = float((high - low).max()) or 1.0
    points = ((mesh.vertices - low) / scale).astype(np.float32)
    result = mesh
    for speed in AGGRESSIVE:
        vertices, kept = fast_simplification.simplify(
            points, mesh.faces.astype(np.int32), target_count=faces, agg=speed
        )[:2]
        result = Mesh(vertices.astype(np.float64) * scale + low, kept)
        if len(kept) <= 1.1 * faces:
            break
    return result
