"""A signed distance field to a closed triangle mesh in the world frame."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from one2345.errors import EmptySurfaceError
from one2345.geometry import Box, Mesh

from .coarse_to_fine import sample_near_surface
from .lattice import EDGE, Lattice, LatticeStats, Sdf, sample_dense
from .marching import march


def extract(
    sdf: Sdf,
    box: Box,
    *,
    resolution: int = 256,
    dense: bool = False,
    coarse: int = 32,
    finest: int = 2,
    margin: float = 1.25,
    lipschitz: float | None = None,
    probes: int = 4096,
    chunk: int = 65536,
    device: torch.device | str = "cpu",
) -> Mesh:
    """The zero level of `sdf` inside `box` as a closed mesh, faces counter-clockwise seen from outside.

    sdf: (p, 3) float32 world points on `device` to (p,) signed distances, negative inside; called on at most
    `chunk` points. resolution: nodes per axis; the box's own is ignored. A surface that leaves the box is
    closed at its wall. The other settings are those of `coarse_to_fine.sample_near_surface`; `dense=True`
    evaluates every node.

    Raises EmptySurfaceError, with the field's range, when the field has no zero crossing in the box, and
    InputError when it returns NaN or a wrong shape.
    """
    return extract_with_stats(
        sdf, box, resolution=resolution, dense=dense, coarse=coarse, finest=finest, margin=margin,
        lipschitz=lipschitz, probes=probes, chunk=chunk, device=device,
    )[0]  # fmt: skip


def extract_with_stats(
    sdf: Sdf,
    box: Box,
    *,
    resolution: int = 256,
    dense: bool = False,
    coarse: int = 32,
    finest: int = 2,
    margin: float = 1.25,
    lipschitz: float | None = None,
    probes: int = 4096,
    chunk: int = 65536,
    device: torch.device | str = "cpu",
) -> tuple[Mesh, LatticeStats]:
    """`extract`, and what it cost."""
    lattice = Lattice(sdf, box.with_resolution(resolution), chunk=chunk, device=device)
    if dense:
        stats, blocks = sample_dense(lattice), None
    else:
        stats, blocks = sample_near_surface(
            lattice, coarse=coarse, finest=finest, margin=margin, lipschitz=lipschitz, probes=probes
        )
    return lattice_surface(lattice, blocks, finest), stats


def lattice_surface(lattice: Lattice, blocks: Tensor | None = None, size: int = 1) -> Mesh:
    """Marching cubes over the lattice's blocks (m, 3) of `size` cells, all cells for None, and at the wall.

    Raises EmptySurfaceError when all values are on one side.
    """
    n, (low, high) = lattice.box.resolution, lattice.range
    if low > 0 or high <= 0:
        where = "outside" if low > 0 else "inside"
        raise EmptySurfaceError(
            f"the SDF has no surface: its {lattice.evaluations} values lie in [{low:.4g}, {high:.4g}], "
            f"everything is {where}; train longer, or check that the box holds the object"
        )
    if blocks is None:
        size = EDGE
        line = torch.arange(-(-(n - 1) // size), device=lattice.device)
        blocks = torch.cartesian_prod(line, line, line)
    vertices, faces = march(lattice, blocks, size)
    return Mesh(vertices=_to_world(vertices.cpu().numpy(), lattice.box), faces=faces.cpu().numpy())


def _to_world(index: NDArray[np.float64], box: Box) -> NDArray[np.float64]:
    """Continuous node indices (p, 3) to world positions, in double precision."""
    n = box.resolution
    unit = index * (2 / (n - 1)) - 1 if box.align_corners else (index + 0.5) * (2 / n) - 1
    pose = box.pose.double().cpu().numpy()
    return box.half_edge * unit @ pose[:3, :3].T + pose[:3, 3]
