"""Which nodes of a grid lie inside a mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from one2345.geometry import Box, Mesh
from one2345.objects.cpu_backend import CpuBackend

from .column_scan import winding_numbers
from .holes import cap, near_holes
from .topology import Solid

# Nodes asked for at a time where each takes a winding number of its own.
CHUNK = 1 << 20

Method = Literal["column scan", "winding number"]


@dataclass(frozen=True)
class Occupancy:
    """grid: (r, r, r) bool at the nodes of `box`, axes x, y, z of the box: is the winding number above 0.5?

    method: "column scan", exact, for closed surfaces; "winding number" for others: the generalised one
    (Jacobson et al., SIGGRAPH 2013) to 2e-3. dropped: components left out because another encloses them
    (sealed cavities are inside); turned: faces whose orientation was corrected first.
    """

    grid: NDArray[np.bool_]
    box: Box
    method: Method
    dropped: int
    turned: int

    @property
    def volume(self) -> float:
        """Nodes inside times the volume of a cell."""
        return int(np.count_nonzero(self.grid)) * self.box.voxel_size**3


def occupy(mesh: Mesh | Solid, box: Box) -> Occupancy:
    """Occupancy of a mesh at the nodes of `box`; the mesh may be open, and larger than the box.

    Pass a `Solid` to ask several boxes about one mesh. A mesh without faces is empty.
    """
    shape = mesh if isinstance(mesh, Solid) else Solid.of(mesh)
    method: Method = "winding number" if shape.connectivity.unbalanced_edges else "column scan"
    if method == "column scan":
        grid = winding_numbers(shape.mesh.vertices, shape.mesh.faces, box) > 0
    else:
        grid = _open(shape, box)
    return Occupancy(grid, box, method, shape.dropped, shape.turned)


def _open(shape: Solid, box: Box) -> NDArray[np.bool_]:
    """(r, r, r): near the holes node by node, elsewhere by a scan of the mesh with its holes capped."""
    caps = cap(shape.mesh, shape.connectivity)
    near = near_holes(caps, box)
    if near.all():
        grid = np.zeros(near.shape, bool)
    else:
        grid = winding_numbers(caps.vertices, caps.faces, box) > 0
    nodes = box.nodes().detach().cpu().numpy()
    backend = CpuBackend(shape.mesh.vertices, shape.mesh.faces)
    asked = np.flatnonzero(near)
    for start in range(0, len(asked), CHUNK):
        chosen = asked[start : start + CHUNK]
        grid.reshape(-1)[chosen] = backend.inside(nodes.reshape(-1, 3)[chosen])
    return grid
