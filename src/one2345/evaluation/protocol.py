"""A protocol: every number that a table of results depends on, as data (conf/protocol)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from one2345.errors import InputError
from one2345.geometry import OBJECT_EDGE

from .alignment import Aligner
from .cameras import CameraRings, VisibleSurface
from .metrics.modules import f_name

FRAMES = ("truth", "canonical")
DIRECTIONS = ("mean", "sum")
PICTURE_METRICS = ("psnr", "ssim", "lpips", "clip")


@dataclass(frozen=True, kw_only=True)
class OccupancyGrid:
    """Grids for volume IoU: cell centres of resolution^3 cells over a cube of half edge `half_edge` in the
    protocol's units, for each of `resolutions`."""

    resolutions: Sequence[int] = (128,)
    half_edge: float = 0.6

    def __post_init__(self) -> None:
        object.__setattr__(self, "half_edge", float(self.half_edge))
        object.__setattr__(self, "resolutions", tuple(int(r) for r in self.resolutions))
        if not self.resolutions or min(self.resolutions) < 2:
            raise InputError(
                f"protocol.occupancy.resolutions are {list(self.resolutions)}, expected numbers from 2 on"
            )
        if not self.half_edge > 0:
            raise InputError(f"protocol.occupancy.half_edge is {self.half_edge}, expected a positive length")


@dataclass(frozen=True, kw_only=True)
class EvaluationProtocol:
    """How meshes are measured. Lengths are in the protocol's units, in which the truth's longest box edge is
    `edge` and its box centre the origin; reported distances are in these units too.

    version: raised whenever the same meshes would score differently. source: where the definition comes from.
    unknown: details that the source leaves open, each with the choice made here.
    prediction: frame in which meshes of a folder are taken to be: 'truth' (that of the truth's file, so that
    one transform, the truth's, applies to both) or 'canonical' (the protocol's own).
    alignment: what is done beyond that; scores without it are reported beside.
    points: samples of either surface, uniform by area; visible: instead, points that cameras see. seed: of
    the samples, with the object's id.
    chamfer: 'unsquared', 'squared' or both; directions: 'mean' halves the sum of the two directions, 'sum'
    doesn't. thresholds: of the F-score. occupancy: grids for IoU, or None. normals: normal consistency.
    cameras: where pictures are compared, by the metrics of `pictures`; None: the target views of prepared data.
    thin: 2·volume/area below this fraction of the longest edge makes an object thin. bootstrap: resamplings
    for the 95 % interval.
    """

    name: str
    version: int = 1
    source: str = ""
    unknown: Sequence[str] = ()
    edge: float = 1.0
    prediction: str = "truth"
    alignment: Aligner = field(default_factory=Aligner)
    points: int = 100_000
    visible: VisibleSurface | None = None
    seed: int = 0
    chamfer: Sequence[str] = ("unsquared", "squared")
    directions: str = "mean"
    thresholds: Sequence[float] = (0.01, 0.02, 0.05)
    occupancy: OccupancyGrid | None = field(default_factory=OccupancyGrid)
    normals: bool = True
    cameras: CameraRings | None = None
    pictures: Sequence[str] = ("psnr", "ssim")
    thin: float = 0.04
    bootstrap: int = 10_000

    def __post_init__(self) -> None:
        for name in ("unknown", "chamfer", "pictures"):
            object.__setattr__(self, name, tuple(str(x) for x in getattr(self, name)))
        for name in ("edge", "thin"):  # 1 and 1.0 are one protocol
            object.__setattr__(self, name, float(getattr(self, name)))
        object.__setattr__(self, "thresholds", tuple(float(t) for t in self.thresholds))
        self._check()

    def _check(self) -> None:
        if not self.metrics:
            raise InputError(
                "protocol has nothing to measure: no chamfer, thresholds, occupancy, normals or pictures"
            )
        if self.occupancy is not None and 2 * self.occupancy.half_edge < self.edge:
            raise InputError(
                f"protocol.occupancy.half_edge is {self.occupancy.half_edge}: the cube must hold the object, whose "
                f"longest edge is {self.edge:g}"
            )
        if not self.edge > 0:
            raise InputError(f"protocol.edge is {self.edge}, expected a positive length")
        if self.points < 1:
            raise InputError(f"protocol.points is {self.points}, expected at least 1")
        if self.thresholds and min(self.thresholds) <= 0:
            raise InputError(f"protocol.thresholds are {list(self.thresholds)}, expected positive lengths")
        if self.bootstrap < 0:
            raise InputError(f"protocol.bootstrap is {self.bootstrap}, expected a count of resamplings")
        _one_of("prediction", [self.prediction], FRAMES)
        _one_of("directions", [self.directions], DIRECTIONS)
        _one_of("chamfer", self.chamfer, ("unsquared", "squared"))
        _one_of("pictures", self.pictures, PICTURE_METRICS)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Of the occupancy grids; empty where the protocol has none."""
        return () if self.occupancy is None else tuple(self.occupancy.resolutions)

    @property
    def scale(self) -> float:
        """Protocol units per world unit."""
        return self.edge / OBJECT_EDGE

    @property
    def aligned(self) -> bool:
        """Whether a prediction is moved beyond the stated frame."""
        return self.alignment.method != "none"

    @property
    def metrics(self) -> dict[str, bool]:
        """Columns in reading order, and whether more is better."""
        columns = {f"iou_{r}": True for r in self.resolutions}
        columns |= {chamfer_name(kind): False for kind in self.chamfer}
        columns |= {f_name(t): True for t in self.thresholds}
        if self.normals:
            columns["normal_consistency"] = True
        for name in self.pictures:
            columns[name] = name != "lpips"
        return columns | {f"{name}_field": name != "lpips" for name in self.pictures}

    @property
    def leading(self) -> str:
        """The column by which the settings of one method compete."""
        return next(iter(self.metrics))

    def as_dict(self) -> dict[str, Any]:
        """For JSON; decides `hash`."""
        return json.loads(json.dumps(asdict(self)))

    @property
    def hash(self) -> str:
        """Ten hexadecimal digits of everything that decides the numbers."""
        numbers = {k: v for k, v in self.as_dict().items() if k not in ("source", "unknown")}
        return hashlib.blake2b(json.dumps(numbers, sort_keys=True).encode(), digest_size=5).hexdigest()

    def conventions(self, *, prepared: bool = False) -> dict[str, str]:
        """What a table must say beside its numbers. prepared: the truths are prepared data, not meshes."""
        sampled = f"{self.points:,}, uniform by area"
        facts = {
            "Protocol": f"{self.name} v{self.version} ({self.hash})",
            "Unit": f"the truth's longest edge is {self.edge:g}",
            "Prediction's frame": _FRAME_TEXTS["prepared" if prepared else self.prediction],
            "Alignment": self.alignment.describe(),
            "Points": sampled if self.visible is None else self.visible.describe(),
            "Seed": str(self.seed),
        }
        if self.chamfer:
            halved = (
                "halved sum of both directions" if self.directions == "mean" else "sum of both directions"
            )
            facts["Chamfer"] = f"{' and '.join(self.chamfer)}, {halved}"
        if self.occupancy is not None:
            grids = ", ".join(f"{r}³" for r in self.resolutions)
            facts["IoU"] = f"{grids} cell centres over a cube of edge {2 * self.occupancy.half_edge:g}"
        if self.pictures:
            cameras = None if prepared else self.cameras
            where = "the target views of the data" if cameras is None else cameras.describe()
            facts["Pictures"] = f"{', '.join(self.pictures)} at {where}"
        return facts


_FRAME_TEXTS = {
    "truth": "that of the truth's file: one transform, the truth's, for both",
    "prepared": "the world frame of prepared data: object centred, longest edge 0.8",
    "canonical": "the protocol's: object centred, longest edge as stated",
}


def chamfer_name(kind: str) -> str:
    """Column of a Chamfer distance: `chamfer`, `chamfer_squared`."""
    return "chamfer" if kind == "unsquared" else "chamfer_squared"


def _one_of(key: str, values: Sequence[str], known: Sequence[str]) -> None:
    for value in values:
        if value not in known:
            raise InputError(f"protocol.{key}: {value!r} is unknown; it takes {', '.join(known)}")
