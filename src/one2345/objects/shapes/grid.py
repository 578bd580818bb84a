"""A shape on a grid: distances next to the surface, signs everywhere, and cavities without light."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import marching_cubes

# The bound of the signed distance at (n, 3) points.
Bound = Callable[[torch.Tensor], torch.Tensor]

BLOCK = 4
CHUNK = 1 << 18


@dataclass(frozen=True, eq=False)
class ShapeGrid:
    """Nodes at origin + spacing * index.

    values: (nx, ny, nz) float32 bound of the signed distance in the frame of `origin`; exact next to the
    surface, right in sign and never too large elsewhere. Sealed cavities are filled: their nodes are
    negative.
    cavity: (nx, ny, nz) bool, nodes of sealed cavities and the solid nodes that touch them; None without
    cavities.
    """

    origin: NDArray[np.float64]
    spacing: float
    values: NDArray[np.float32]
    cavity: NDArray[np.bool_] | None

    @property
    def is_empty(self) -> bool:
        return not bool((self.values < 0).any()) or not bool((self.values > 0).any())

    def surface(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Marching cubes: vertices (n, 3) and faces (m, 3), counter-clockwise seen from outside."""
        vertices, faces, _, _ = marching_cubes(
            self.values, 0.0, gradient_direction="descent", allow_degenerate=False
        )
        return self.origin + self.spacing * vertices.astype(np.float64), faces.astype(np.int64)

    def in_cavity(self, points: torch.Tensor) -> torch.Tensor:
        """(n, 3) -> (n,) bool: whether the nearest node belongs to a sealed cavity or its wall."""
        if self.cavity is None:
            return torch.zeros(len(points), dtype=torch.bool, device=points.device)
        cavity = torch.from_numpy(self.cavity).to(points.device)
        index = (points - points.new_tensor(self.origin)) / self.spacing
        upper = index.new_tensor(self.cavity.shape) - 1.0
        inside = ((index >= 0.0) & (index <= upper)).all(dim=-1)
        i, j, k = torch.minimum(index.clamp_min(0.0), upper).round().long().unbind(-1)
        return cavity[i, j, k] & inside


def sample_grid(
    bound: Bound,
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    spacing: float,
    *,
    fill: bool = True,
) -> ShapeGrid:
    """Evaluate a 1-Lipschitz bound on nodes that cover [lower, upper] with a margin, coarse to fine.

    fill: find sealed cavities and make them solid.

    Blocks of 4^3 nodes whose centre is further from the surface than their corners plus one spacing are not
    refined: they take the value of their centre, drawn towards 0 by the half diagonal.
    """
    blocks = np.maximum(np.ceil((upper - lower) / spacing / BLOCK + 0.5).astype(int), 1)
    origin = (lower + upper) / 2.0 - (blocks * BLOCK - 1) * spacing / 2.0
    values = coarse_to_fine(bound, origin, spacing, blocks * BLOCK)
    cavity = _cavities(bound, origin, spacing, values) if fill else None
    if cavity is not None:
        values = np.where(cavity & (values > 0.0), -values, values)
        wider = np.asarray(ndimage.binary_dilation(cavity, np.ones((3, 3, 3), dtype=bool)), dtype=bool)
        cavity = wider & (values < 0.0)
    return ShapeGrid(origin=origin, spacing=spacing, values=values, cavity=cavity)


def coarse_to_fine(
    bound: Bound, origin: NDArray[np.float64], spacing: float, nodes: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Values (nx, ny, nz) of a 1-Lipschitz bound at the nodes; `nodes` are multiples of 4."""
    nx, ny, nz = (int(n) // BLOCK for n in nodes)
    size = BLOCK * spacing
    axes = [origin[i] + size * np.arange(n) + spacing * (BLOCK - 1) / 2.0 for i, n in enumerate((nx, ny, nz))]
    centres = torch.from_numpy(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)).float()
    coarse = bound(centres)
    diagonal = (BLOCK - 1) / 2.0 * 3.0**0.5 * spacing
    near = (coarse.abs() <= diagonal + spacing).nonzero()[:, 0]
    offsets = np.stack(np.meshgrid(*[np.arange(BLOCK) - (BLOCK - 1) / 2.0] * 3, indexing="ij"), axis=-1)
    offsets_world = torch.from_numpy(offsets.reshape(-1, 3) * spacing).float()
    values = (coarse - torch.sign(coarse) * diagonal)[:, None].repeat(1, BLOCK**3)
    for part in near.split(CHUNK // BLOCK**3):
        points = centres[part][:, None] + offsets_world
        values[part] = bound(points.reshape(-1, 3)).reshape(-1, BLOCK**3)
    cells = values.reshape(nx, ny, nz, BLOCK, BLOCK, BLOCK).permute(0, 3, 1, 4, 2, 5)
    return np.ascontiguousarray(cells.reshape(nx * BLOCK, ny * BLOCK, nz * BLOCK).numpy())


def components(
    mask: NDArray[np.bool_], structure: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int32], int]:
    """Connected components of a mask: labels from 1 (0 where the mask is False) and their number.

    structure: (3, 3, 3) bool, which neighbours hang together; by default those that share a face.
    """
    # scipy has no types, and returns the number alone where it is given an array for the labels.
    return cast("tuple[NDArray[np.int32], int]", ndimage.label(mask, structure))


def _cavities(
    bound: Bound, origin: NDArray[np.float64], spacing: float, values: NDArray[np.float32]
) -> NDArray[np.bool_] | None:
    """All nodes that light from outside cannot reach, once some empty ones are among them; None otherwise.

    Empty nodes that even diagonal steps cannot reach are sealed. Those that only diagonal steps reach may be
    the end of a groove or lie behind a thin wall: where they hold a ball of a spacing, a grid of half the
    spacing decides.
    """
    free = values > 0.0
    straight = _reached(free, ndimage.generate_binary_structure(3, 1))
    hidden = free & ~straight
    if not hidden.any():
        return None
    sealed = free & ~_reached(free, np.ones((3, 3, 3), dtype=bool))
    groups, count = components(hidden & ~sealed)
    if count:
        widest = ndimage.maximum(values, groups, np.arange(1, count + 1))
        wide = np.concatenate([[False], np.asarray(widest) >= spacing])[groups]
        if wide.any():
            fine = coarse_to_fine(bound, origin - spacing / 4.0, spacing / 2.0, np.array(values.shape) * 2)
            reached = _reached(fine > 0.0, ndimage.generate_binary_structure(3, 1))
            kept = (fine > 0.0) & ~reached
            nx, ny, nz = values.shape
            votes = kept.reshape(nx, 2, ny, 2, nz, 2).sum(axis=(1, 3, 5))
            sealed |= wide & (votes >= 5)
    if not sealed.any():
        return None
    # Solid islands within a cavity are enclosed as well; they already count as inside.
    return sealed


def _reached(free: NDArray[np.bool_], structure: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Free nodes connected to the outside of the grid."""
    labels, _ = components(np.pad(free, 1, constant_values=True), structure)
    return (labels == labels[0, 0, 0])[1:-1, 1:-1, 1:-1]
