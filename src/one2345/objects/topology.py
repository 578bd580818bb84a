"""Combinatorics of a triangle mesh with seams: welding, open edges, components, orientation."""

from __future__ import annotations

import igl
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from one2345.geometry import Mesh


def weld(mesh: Mesh) -> NDArray[np.int64]:
    """(m, 3) faces over merged vertices: equal positions get equal indices (texture seams split vertices)."""
    order = np.lexsort(mesh.vertices.T)
    ordered = mesh.vertices[order]
    changed = np.concatenate([[False], (ordered[1:] != ordered[:-1]).any(-1)])
    label = np.empty(len(order), dtype=np.int64)
    label[order] = np.cumsum(changed)
    return label[mesh.faces]


def count_edges(
    welded: NDArray[np.int64], component: NDArray[np.int64], components: int
) -> list[NDArray[np.int64]]:
    """Per component: number of edges, open edges, unbalanced edges; each (components,).

    welded: (m, 3) faces; component: (m,) label of each face. Degenerate faces must have been left out.
    """
    tail, head = welded[:, [0, 1, 2]].reshape(-1), welded[:, [1, 2, 0]].reshape(-1)
    key = np.minimum(tail, head) * (welded.max(initial=0) + 1) + np.maximum(tail, head)
    _, first, inverse, uses = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
    balance = np.bincount(inverse, weights=np.where(tail < head, 1.0, -1.0), minlength=len(uses))
    owner = np.repeat(component, 3)[first]
    return [
        np.bincount(owner[chosen], minlength=components)
        for chosen in (np.ones(len(uses), dtype=bool), uses % 2 == 1, balance != 0)
    ]


def label_components(welded: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """(m,) component of each face, and their number; faces that share a vertex are connected."""
    if not len(welded):
        return np.zeros(0, dtype=np.int64), 0
    count = int(welded.max()) + 1
    tail, head = welded[:, [0, 1]].reshape(-1), welded[:, [1, 2]].reshape(-1)
    graph = coo_matrix((np.ones(len(tail), dtype=np.int8), (tail, head)), shape=(count, count))
    vertex_label = connected_components(graph, directed=False)[1]
    used, label = np.unique(vertex_label[welded[:, 0]], return_inverse=True)
    return label.astype(np.int64), len(used)


def is_degenerate(welded: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(m,) faces with two equal corners."""
    a, b, c = welded.T
    return (a == b) | (b == c) | (c == a)


def oriented(mesh: Mesh) -> tuple[Mesh, int]:
    """The mesh with faces turned outwards, without degenerate faces; and how many faces were turned.

    Neighbours are made to agree where they do not; then every closed component with negative volume is
    turned, and all open components together if their volume is negative as a whole. Open sheets keep the
    file's orientation.
    """
    welded = weld(mesh)
    good = ~is_degenerate(welded)
    faces, welded = mesh.faces[good].copy(), welded[good]
    if not len(faces):
        return Mesh(mesh.vertices, faces, mesh.colours, mesh.uv, mesh.texture), 0
    component, count = label_components(welded)
    turned = np.zeros(len(faces), dtype=bool)
    _, open_edges, unbalanced = count_edges(welded, component, count)
    muddled = (unbalanced > open_edges)[component]
    if muddled.any():
        turned[muddled] = _disagreeing(welded[muddled])
        welded = np.where(turned[:, None], welded[:, ::-1], welded)
    corners = mesh.vertices[np.where(turned[:, None], faces[:, ::-1], faces)]
    corners = corners - corners.reshape(-1, 3).mean(0)
    volume = np.bincount(
        component,
        weights=np.einsum("mi,mi->m", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6,
        minlength=count,
    )
    closed = open_edges == 0
    inverted = closed & (volume < 0)
    if volume[~closed].sum() < 0:
        inverted |= ~closed
    turned ^= inverted[component]
    faces[turned] = faces[turned][:, ::-1]
    return Mesh(mesh.vertices, faces, mesh.colours, mesh.uv, mesh.texture), int(turned.sum())


def _disagreeing(welded: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(m,) faces to turn so that neighbours agree; the minority of each patch turns."""
    agreed, patch = (np.asarray(x) for x in igl.bfs_orient(np.ascontiguousarray(welded)))
    # bfs_orient reverses a face by reversing its corners, so comparing the cyclic order tells which were
    # turned.
    start = np.argmax(agreed == welded[:, :1], axis=1)
    turned = np.take_along_axis(agreed, ((start + 1) % 3)[:, None], 1)[:, 0] != welded[:, 1]
    share = np.bincount(patch, weights=turned) / np.bincount(patch)
    return turned ^ (share > 0.5)[patch]
