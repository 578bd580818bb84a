"""View plans: which cameras around an object, as data (conf/plan/*.yaml).

Azimuths are relative to the input view, which has azimuth 0. An elevation is absolute (`elevation`),
relative to the input view's (`elevation_offset`), or follows the ring rule of One-2-3-45
(arXiv 2306.16928, section 3.2): a second ring 30 degrees below the input view if that one is at
least `threshold` degrees high, else 30 degrees above it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from ..errors import InputError
from ..paths import conf_dir
from .cameras import RADIUS, Cameras, orbit_cameras

Role = Literal["stage1", "near"]


@dataclass(frozen=True)
class PlannedView:
    """One view: azimuth relative to the input view and absolute elevation, both in degrees.

    parent: index, among the plan's stage-1 views, of the view a near view is made from; else None.
    """

    name: str
    role: Role
    parent: int | None
    azimuth: float
    elevation: float


@dataclass(frozen=True, kw_only=True)
class RingRule:
    """Elevation offset of the second ring: `above` from `threshold` degrees of input elevation on, else `below`."""

    threshold: float = 15.0
    above: float = -30.0
    below: float = 30.0

    def offset(self, input_elevation: float) -> float:
        return self.above if input_elevation >= self.threshold else self.below


@dataclass(frozen=True, kw_only=True)
class ViewPlan:
    """stage1: mappings with `azimuth` and one of `elevation`, `elevation_offset`, `ring: true`.
    near: (azimuth, elevation) offsets of the near views made from every stage-1 view.
    sources: which roles a reconstruction is given.

    Raises InputError for an entry that names no elevation, or two.
    """

    name: str
    stage1: Sequence[Mapping[str, Any]]
    near: Sequence[Sequence[float]] = ()
    sources: Sequence[Role] = ("stage1",)
    ring: RingRule = field(default_factory=RingRule)
    radius: float = RADIUS

    def __post_init__(self) -> None:
        for index, entry in enumerate(self.stage1):
            kinds = [k for k in ("elevation", "elevation_offset", "ring") if k in entry]
            if "azimuth" not in entry or len(kinds) != 1:
                raise InputError(
                    f"plan {self.name!r}, stage1[{index}]: give azimuth and exactly one of elevation, "
                    f"elevation_offset, ring; found {sorted(entry)}"
                )

    def views(self, input_elevation: float) -> list[PlannedView]:
        """All views, stage 1 first, then the near views grouped by parent."""
        stage1 = [
            PlannedView(
                f"s{i}",
                "stage1",
                None,
                float(entry["azimuth"]) % 360.0,
                self._elevation(entry, input_elevation),
            )
            for i, entry in enumerate(self.stage1)
        ]
        near = [
            PlannedView(f"s{i}_n{j}", "near", i, (view.azimuth + azimuth) % 360.0, view.elevation + elevation)
            for i, view in enumerate(stage1)
            for j, (azimuth, elevation) in enumerate(self.near)
        ]
        return stage1 + near

    def source_views(self, input_elevation: float) -> list[PlannedView]:
        """The views a reconstruction is given."""
        return [view for view in self.views(input_elevation) if view.role in self.sources]

    def cameras(self, input_elevation: float, size: int | tuple[int, int] = 256) -> Cameras:
        """Cameras (v) of all views, standard intrinsics."""
        views = self.views(input_elevation)
        return orbit_cameras(
            [v.azimuth for v in views], [v.elevation for v in views], radius=self.radius, size=size
        )

    def _elevation(self, entry: Mapping[str, Any], input_elevation: float) -> float:
        if "elevation" in entry:
            return float(entry["elevation"])
        offset = self.ring.offset(input_elevation) if "ring" in entry else float(entry["elevation_offset"])
        return max(-90.0, min(90.0, input_elevation + offset))


def load_plan(name: str) -> ViewPlan:
    """The plan conf/plan/<name>.yaml. Raises InputError with the known names for an unknown one."""
    folder: Path = conf_dir() / "plan"
    file = folder / f"{name}.yaml"
    known = sorted(f.stem for f in folder.glob("*.yaml"))
    if name not in known:
        raise InputError(f"no view plan {name!r}; known plans: {', '.join(known)}")
    values = dict(yaml.safe_load(file.read_text()))
    values.pop("_target_")
    ring = values.pop("ring", None)
    if ring is not None:
        values["ring"] = RingRule(**{k: v for k, v in ring.items() if k != "_target_"})
    return ViewPlan(**values)
