"""A signed distance field to a closed triangle mesh in the world frame."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import marching_cubes

from one2345.errors import EmptySurfaceError
from one2345.geometry import Box, Mesh

from .coarse_to_fine import sample_near_surface
from .lattice import Lattice, LatticeStats, Sdf, sample_dense


def extract(
    sdf: Sdf,
    box: Box,
    *,
    resolution: int = 256,
    dense: bool = False,
    coarse: int = 32,
    finest: int = 4,
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
    finest: int = 4,
    margin: float = 1.25,
    lipschitz: float | None = None,
    probes: int = 4096,
    chunk: int = 65536,
    device: torch.device | str = "cpu",
) -> tuple[Mesh, LatticeStats]:
    """`extract`, and what it cost."""
    lattice = Lattice(sdf, box.with_resolution(resolution), chunk=chunk, device=device)
    if dense:
        stats = sample_dense(lattice)
    else:
        stats = sample_near_surface(
            lattice, coarse=coarse, finest=finest, margin=margin, lipschitz=lipschitz, probes=probes
        )
    lattice.fill_wall()
    return lattice_surface(lattice), stats


def lattice_surface(lattice: Lattice) -> Mesh:
    """Marching cubes (Lewiner et al. 2003) over the part of the lattice, wall filled, that holds inside nodes."""
    inside = lattice.interior <= 0
    if not inside.any() or inside.all():
        low, high = lattice.range
        where = "outside" if not inside.any() else "inside"
        raise EmptySurfaceError(
            f"the SDF has no surface: its {lattice.evaluations} values lie in [{low:.4g}, {high:.4g}], "
            f"everything is {where}; train longer, or check that the box holds the object"
        )
    window, origin = [], []
    for axis in range(3):
        used = np.flatnonzero(inside.any(tuple(a for a in range(3) if a != axis)))
        window.append(slice(int(used[0]), int(used[-1]) + 3))
        origin.append(int(used[0]) - 1)
    volume = np.ascontiguousarray(lattice.values[tuple(window)])
    # "descent" winds the faces so that their normals point towards rising values: outwards.
    vertices, faces, _, _ = marching_cubes(volume, 0.0, gradient_direction="descent")
    return Mesh(vertices=_to_world(vertices + np.array(origin, np.float64), lattice.box), faces=faces)


def _to_world(index: NDArray[np.float64], box: Box) -> NDArray[np.float64]:
    """Continuous node indices (p, 3) to world positions, in double precision."""
    n = box.resolution
    unit = index * (2 / (n - 1)) - 1 if box.align_corners else (index + 0.5) * (2 / n) - 1
    pose = box.pose.double().cpu().numpy()
    return box.half_edge * unit @ pose[:3, :3].T + pose[:3, 3]
