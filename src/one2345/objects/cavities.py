"""Sealed cavities count as inside: components that another component wholly encloses are left out."""

from __future__ import annotations

from dataclasses import replace

import igl
import numpy as np
from numpy.typing import NDArray

from one2345.geometry import Mesh
from one2345.objects.topology import count_edges, is_degenerate, label_components, weld

# A point inside a closed component has winding number 1; on its surface 0.5. Beyond this it is inside, not
# touching.
ENCLOSED = 0.75


def drop_enclosed(mesh: Mesh) -> tuple[Mesh, int]:
    """The mesh without the components that light cannot reach, and how many those were.

    A component is dropped if all its vertices and face centres lie inside one closed other component.
    (Contents of an open container stay: light reaches them.) Vertices are kept, so indices do not change.
    """
    welded = weld(mesh)
    component, count = label_components(welded)
    if count < 2:
        return mesh, 0
    corners = mesh.vertices[mesh.faces]
    lower = np.full((count, 3), np.inf)
    upper = np.full((count, 3), -np.inf)
    np.minimum.at(lower, component, corners.min(1))
    np.maximum.at(upper, component, corners.max(1))
    good = ~is_degenerate(welded)
    _, open_edges, _ = count_edges(welded[good], component[good], count)
    enclosed = np.zeros(count, dtype=bool)
    for container in np.flatnonzero(open_edges == 0).tolist():
        within = (lower > lower[container]).all(-1) & (upper < upper[container]).all(-1) & ~enclosed
        if within.any():
            enclosed |= _inside(mesh, component, container, within)
    if not enclosed.any():
        return mesh, 0
    return replace(mesh, faces=mesh.faces[~enclosed[component]]), int(enclosed.sum())


def _inside(
    mesh: Mesh, component: NDArray, container: int, candidates: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """(c,) which candidate components (c,) lie inside the component `container` with all their points."""
    chosen = np.flatnonzero(candidates[component])
    corners = mesh.vertices[mesh.faces[chosen]]
    points = np.concatenate([corners, corners.mean(1, keepdims=True)], 1).reshape(-1, 3)
    shell = np.ascontiguousarray(mesh.faces[component == container])
    inside = np.abs(igl.fast_winding_number(mesh.vertices, shell, points)) > ENCLOSED
    outside = np.bincount(np.repeat(component[chosen], 4), weights=~inside, minlength=len(candidates))
    return candidates & (outside == 0)
