"""The surface by kaolin's FlexiCubes: an extractor like the other, and its vertices for a loss to act on."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from one2345 import kaolin
from one2345.errors import EmptySurfaceError, InputError
from one2345.geometry import Box, Mesh

from .clean import remove_floaters
from .coarse_to_fine import sample_near_surface
from .colour import ColourFn, colour_vertices
from .extractor import Extraction, Extractor
from .lattice import Lattice, Sdf, sample_dense

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FlexiCubesExtractor(Extractor):
    """`Extractor` with dual vertices in place of marching cubes; settings, colours and clean-up are the same.

    It extracts on the device that the field is on. Raises InputError, with the line that installs it, where
    kaolin is not usable.
    """

    def __post_init__(self) -> None:
        kaolin.require()

    def run(
        self, sdf: Sdf, box: Box, colour: ColourFn | None = None, *, device: torch.device | str = "cpu"
    ) -> Extraction:
        """The mesh with what it cost and what was cleaned away. A surface that leaves the box is closed at its wall."""
        lattice = Lattice(sdf, box.with_resolution(self.resolution), chunk=self.chunk, device=device)
        if self.dense:
            stats = sample_dense(lattice)
        else:
            stats, _ = sample_near_surface(
                lattice, coarse=self.coarse, finest=self.finest, margin=self.margin, lipschitz=self.lipschitz,
                probes=self.probes,
            )  # fmt: skip
        mesh, floaters = remove_floaters(lattice_surface(lattice), min_area_fraction=self.min_area_fraction)
        if floaters.removed:
            log.info("removed %d floaters, %.2g of the area", floaters.removed, floaters.removed_area)
        if colour is not None:
            mesh = colour_vertices(mesh, colour, chunk=self.colour_chunk, device=device)
        return Extraction(mesh=mesh, stats=stats, floaters=floaters)


def lattice_surface(lattice: Lattice) -> Mesh:
    """FlexiCubes over the part of the lattice, wall filled, that holds inside nodes.

    Raises EmptySurfaceError, with the field's range, when there is no zero crossing.
    """
    values = lattice.dense()
    inside = values < 0
    used = [inside.amax(tuple(a for a in range(3) if a != axis)).nonzero()[:, 0] for axis in range(3)]
    if not all(len(u) for u in used) or bool(inside[1:-1, 1:-1, 1:-1].all()):
        low, high = lattice.range
        raise EmptySurfaceError(
            f"the SDF has no surface: its {lattice.evaluations} values lie in [{low:.4g}, {high:.4g}]; train "
            "longer, or check that the box holds the object"
        )
    first = [int(u[0]) - 1 for u in used]
    window = tuple(slice(f, int(u[-1]) + 2) for f, u in zip(first, used, strict=True))
    vertices, faces = kaolin.flexicubes(values[window].contiguous().to(lattice.device))
    # The margin of one node around the box's own makes their index less by one.
    index = vertices.double().cpu() + torch.tensor(first, dtype=torch.float64) - 1
    return Mesh(vertices=_to_world(index, lattice.box).numpy(), faces=faces.cpu().numpy())


def surface_vertices(
    sdf: Sdf, box: Box, *, resolution: int = 48, chunk: int = 65536, device: torch.device | str = "cpu"
) -> Tensor:
    """World vertices (n, 3) of the zero level of `sdf` between resolution^3 nodes of `box`, differentiable in
    whatever `sdf` depends on; (0, 3) without a zero crossing.

    Vertices depend only on the ends of the lattice edges that the surface crosses, so only these nodes are
    evaluated with gradient: a shell, not the volume. What leaves the box is left out.
    Raises InputError where kaolin is not usable or the field returns NaN.
    """
    grid = box.with_resolution(resolution)
    nodes = grid.nodes().to(device, torch.float32).reshape(-1, 3)
    with torch.no_grad():
        values = torch.cat([sdf(part).float() for part in nodes.split(chunk)])
    if bool(values.isnan().any()):
        raise InputError(f"the SDF returned NaN at {int(values.isnan().sum())} of {len(values)} points")
    ends = _crossing_ends(values.reshape(resolution, resolution, resolution) < 0).reshape(-1).nonzero()[:, 0]
    if not len(ends):
        return nodes.new_zeros(0, 3)
    graded = torch.cat([sdf(part).float() for part in nodes[ends].split(chunk)])
    values = values.index_copy(0, ends, graded)
    vertices, _ = kaolin.flexicubes(values.reshape(resolution, resolution, resolution))
    return _to_world(vertices, grid)


def _crossing_ends(inside: Tensor) -> Tensor:
    """Nodes (x, y, z) that have a neighbour along an axis on the other side of the surface."""
    ends = torch.zeros_like(inside)
    for axis in range(3):
        n = inside.shape[axis]
        differs = inside.narrow(axis, 0, n - 1) != inside.narrow(axis, 1, n - 1)
        ends.narrow(axis, 0, n - 1).logical_or_(differs)
        ends.narrow(axis, 1, n - 1).logical_or_(differs)
    return ends


def _to_world(index: Tensor, box: Box) -> Tensor:
    """Continuous node indices (n, 3) to world positions, in the precision of `index`: inverse of `Box.to_index`."""
    n = box.resolution
    return box.to_world(index * (2 / (n - 1)) - 1 if box.align_corners else (index + 0.5) * (2 / n) - 1)
