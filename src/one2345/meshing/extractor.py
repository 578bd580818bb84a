"""From field to finished mesh with one set of settings: what conf/extractor builds."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch

from one2345.geometry import Box, Mesh

from .clean import MIN_AREA_FRACTION, Floaters, remove_floaters
from .colour import ColourFn, colour_vertices
from .extract import extract_with_stats
from .lattice import LatticeStats, Sdf

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extraction:
    """A mesh, what its extraction cost, and what was cleaned away."""

    mesh: Mesh
    stats: LatticeStats
    floaters: Floaters


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """SDF → surface (`extract`) → floaters removed (`remove_floaters`) → vertex colours (`colour_vertices`).

    resolution: lattice nodes per axis. dense, coarse, finest, margin, lipschitz, probes: see
    `coarse_to_fine.sample_near_surface`. chunk, colour_chunk: points per call of the two fields.
    min_area_fraction: pieces smaller than this share of the largest piece's area are dropped.
    """

    resolution: int = 256
    dense: bool = False
    coarse: int = 32
    finest: int = 2
    margin: float = 1.25
    lipschitz: float | None = None
    probes: int = 4096
    chunk: int = 65536
    colour_chunk: int = 16384
    min_area_fraction: float = MIN_AREA_FRACTION

    def __call__(
        self, sdf: Sdf, box: Box, colour: ColourFn | None = None, *, device: torch.device | str = "cpu"
    ) -> Mesh:
        """The mesh alone; raises EmptySurfaceError when there is none."""
        return self.run(sdf, box, colour, device=device).mesh

    def run(
        self, sdf: Sdf, box: Box, colour: ColourFn | None = None, *, device: torch.device | str = "cpu"
    ) -> Extraction:
        """The mesh with what it cost and what was cleaned away."""
        mesh, stats = extract_with_stats(
            sdf, box, resolution=self.resolution, dense=self.dense, coarse=self.coarse, finest=self.finest,
            margin=self.margin, lipschitz=self.lipschitz, probes=self.probes, chunk=self.chunk, device=device,
        )  # fmt: skip
        mesh, floaters = remove_floaters(mesh, min_area_fraction=self.min_area_fraction)
        if floaters.removed:
            log.info("removed %d floaters, %.2g of the area", floaters.removed, floaters.removed_area)
        if colour is not None:
            mesh = colour_vertices(mesh, colour, chunk=self.colour_chunk, device=device)
        return Extraction(mesh=mesh, stats=stats, floaters=floaters)
