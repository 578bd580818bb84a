"""Smoothing that keeps the volume: Taubin's filter (SIGGRAPH 1995), and what it leaves over made good."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, diags_array

from one2345.errors import InputError
from one2345.geometry import Mesh

from ..colour import vertex_normals

SHRINK, GROW = 0.5, -0.53
"""Steps of the filter (lambda and mu of the paper): its pass band ends at 1 / SHRINK + 1 / GROW = 0.11."""


def smooth(mesh: Mesh, steps: int) -> Mesh:
    """The shape after `steps` pairs of a shrinking and a growing step towards the mean of each vertex's neighbours.

    Vertices at the rim of an open mesh stay. A closed mesh is then moved along its normals until it has its volume
    back. Raises InputError for negative steps.
    """
    if steps < 0:
        raise InputError(f"smooth={steps}: a number of steps, 0 for none")
    if steps == 0 or mesh.is_empty:
        return mesh
    free, closed = _inner(mesh)
    mean = _neighbour_mean(mesh)
    points = mesh.vertices.copy()
    for _ in range(steps):
        for factor in (SHRINK, GROW):
            points[free] += factor * (mean @ points - points)[free]
    result = Mesh(points, mesh.faces)
    for _ in range(3 if closed else 0):
        total = result.areas().sum()
        if total > 0:
            offset = (mesh.volume() - result.volume()) / total
            result = Mesh(result.vertices + offset * vertex_normals(result), mesh.faces)
    return result


def _inner(mesh: Mesh) -> tuple[NDArray[np.bool_], bool]:
    """(n,) vertices at no edge that has one face only, and whether that is all of those that faces use."""
    edges = np.sort(mesh.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    free = np.zeros(len(mesh.vertices), bool)
    free[mesh.faces.reshape(-1)] = True
    rim = unique[count == 1]
    free[rim.reshape(-1)] = False
    return free, len(rim) == 0


def _neighbour_mean(mesh: Mesh):
    """Sparse (n, n): the mean over the neighbours of each vertex."""
    a, b = mesh.faces[:, [0, 1, 2]].reshape(-1), mesh.faces[:, [1, 2, 0]].reshape(-1)
    count = len(mesh.vertices)
    graph = coo_matrix((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), shape=(count, count)).tocsr()
    graph.data[:] = 1.0
    degree = np.asarray(graph.sum(1)).reshape(-1)
    return diags_array(1 / np.maximum(degree, 1)) @ graph
