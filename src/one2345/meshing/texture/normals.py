"""Vertex normals of meshes whose vertices are split at the seams of a texture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from one2345.geometry import Mesh

from ..colour import vertex_normals
from .repair import places


def smooth_normals(mesh: Mesh) -> NDArray[np.float64]:
    """(n, 3) unit normals as `vertex_normals`, the same for all vertices of one place: a seam shows no crease."""
    first, inverse = np.unique(places(mesh.vertices), return_index=True, return_inverse=True)[1:]
    inverse = inverse.reshape(-1)
    return vertex_normals(Mesh(mesh.vertices[first], inverse[mesh.faces]))[inverse]
