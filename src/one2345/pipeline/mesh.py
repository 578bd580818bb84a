"""The mesh that a reconstruction ends in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from one2345.geometry import Mesh
from one2345.meshing import write_mesh


@dataclass(frozen=True)
class ReconstructedMesh(Mesh):
    """A mesh in the world frame: z up, the input view looks from -y, longest edge about 0.8."""

    def export(self, path: str | Path) -> Path:
        """Write it as .glb, .obj, .ply or .usdz, y up; see `meshing.write_mesh`."""
        return write_mesh(self, path)
