"""A protocol: every number that a table of results depends on, as data (conf/protocol)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from one2345.errors import InputError
from one2345.geometry import OBJECT_EDGE

from .metrics.modules import f_name


@dataclass(frozen=True, kw_only=True)
class EvaluationProtocol:
    """How meshes are measured.

    Both meshes stay in the world frame of the truth (longest edge 0.8, box centre at the origin): no
    alignment. points: samples of the predicted surface, uniform by area, and the most that are used of the
    truth's stored ones. seed: of the samples, with the object's id. thresholds: of the F-score, fractions
    of the truth's longest edge. resolutions: of the occupancy grids, cell centres over a cube of 1.2 edges.
    views: whether meshes are drawn at the target cameras for PSNR and SSIM. Distances are reported in
    edges.
    """

    name: str
    version: int = 1
    points: int = 32_768
    seed: int = 0
    thresholds: tuple[float, ...] = (0.01, 0.02, 0.05)
    resolutions: tuple[int, ...] = (64, 128)
    views: bool = True
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "thresholds", tuple(float(t) for t in self.thresholds))
        object.__setattr__(self, "resolutions", tuple(int(r) for r in self.resolutions))
        if self.points < 1:
            raise InputError(f"protocol.points is {self.points}, expected at least 1")
        if not self.thresholds or min(self.thresholds) <= 0:
            raise InputError(
                f"protocol.thresholds are {self.thresholds}, expected positive fractions of the edge"
            )
        if not self.resolutions or min(self.resolutions) < 2:
            raise InputError(f"protocol.resolutions are {self.resolutions}, expected numbers from 2 on")

    @property
    def edge(self) -> float:
        """Longest edge of the truth, world units: the unit of reported distances."""
        return OBJECT_EDGE

    @property
    def metrics(self) -> dict[str, bool]:
        """Columns in reading order, and whether more is better."""
        columns = {f"iou_{r}": True for r in self.resolutions}
        columns |= {"chamfer": False, "chamfer_squared": False}
        columns |= {f_name(t): True for t in self.thresholds}
        columns |= {"normal_consistency": True}
        views = ("psnr", "ssim", "psnr_field", "ssim_field") if self.views else ()
        return columns | dict.fromkeys(views, True)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()} | {
            "edge": self.edge
        }
