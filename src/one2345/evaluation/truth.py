"""What is known of an object, in the units of whichever protocol asks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree

from one2345.errors import InputError
from one2345.geometry import OBJECT_EDGE, Cameras
from one2345.views import ObjectRecord, PosedViews, Samples

from .pictures import Portrait, portrait_of_views
from .protocol import EvaluationProtocol
from .surface import SurfaceCloud

Floats = NDArray[np.float64]
Grids = Mapping[int, NDArray[np.bool_]]


class Truth(Protocol):
    """An object to be measured against, in the world frame: longest edge 0.8, box centre at the origin."""

    @property
    def id(self) -> str: ...

    @property
    def to_world(self) -> Floats:
        """(4, 4) from the coordinates of the truth's file to the world frame."""
        ...

    def cloud(self, protocol: EvaluationProtocol) -> SurfaceCloud:
        """Points of the surface, in the protocol's units."""
        ...

    def occupancy(self, protocol: EvaluationProtocol) -> Grids:
        """Resolution → (r, r, r) bool at the nodes of the protocol's grids."""
        ...

    def views(self, protocol: EvaluationProtocol) -> PosedViews | None:
        """Pictures to compare with, or None."""
        ...

    def portrait(self) -> Portrait | None:
        """Small pictures for a report, or None."""
        ...

    def thickness(self) -> float:
        """2·volume/area over the longest edge."""
        ...

    def facts(self) -> dict[str, Any]:
        """What a table of results should say of it, as plain values."""
        ...


class RecordTruth:
    """Truth of a prepared object: its stored samples and target views."""

    def __init__(self, record: ObjectRecord) -> None:
        self.record = record
        self.id = record.id
        self._clouds: dict[str, SurfaceCloud] = {}
        self._seen: dict[tuple[str, ...], PosedViews | None] = {}

    @cached_property
    def _samples(self) -> Samples:
        return self.record.samples()

    def check(self, protocol: EvaluationProtocol) -> None:
        """Raises InputError, naming the setting to change, when the object lacks what `protocol` needs."""
        counts = self.record.sample_counts or {}
        folder, kind = self.record.folder, "train" if self.record.split == "train" else "eval"
        if protocol.visible is not None:
            raise InputError(
                f"protocol {protocol.name} needs the surface itself, prepared views keep samples of it: "
                "give the meshes, truth=DIR"
            )
        stored = list(counts.get("occupancy", []))
        missing = sorted(set(protocol.resolutions) - set(stored))
        if missing:
            raise InputError(
                f"{folder}: protocol {protocol.name} needs occupancy grids {list(protocol.resolutions)}, "
                f"{self.id} has {stored or 'none'}; choose protocol.occupancy.resolutions among those that are "
                f"there, or prepare the data with render.{kind}_samples.occupancy="
                f"{str(list(protocol.resolutions)).replace(' ', '')}"
            )
        if protocol.occupancy and not np.isclose(protocol.occupancy.half_edge, 0.6 * protocol.edge):
            raise InputError(
                f"protocol {protocol.name} counts cells in a cube of {2 * protocol.occupancy.half_edge:g} with "
                f"longest edge {protocol.edge:g}; prepared grids span 1.2 longest edges: give the meshes, truth=DIR"
            )
        if (points := int(counts.get("surface_points", 0))) < protocol.points:
            raise InputError(
                f"{folder}: protocol {protocol.name} needs {protocol.points} surface points, {self.id} has {points}; "
                f"set protocol.points={points}, or prepare the data with "
                f"render.{kind}_samples.surface_points={protocol.points}"
            )

    @property
    def to_world(self) -> Floats:
        return np.eye(4)

    def cloud(self, protocol: EvaluationProtocol) -> SurfaceCloud:
        if protocol.hash not in self._clouds:
            self._clouds[protocol.hash] = self._cloud(protocol)
        return self._clouds[protocol.hash]

    def _cloud(self, protocol: EvaluationProtocol) -> SurfaceCloud:
        points = self._samples.surface_points.numpy().astype(np.float64) * protocol.scale
        normals = self._samples.surface_normals.numpy().astype(np.float64)
        n = protocol.points
        return SurfaceCloud(points[:n], normals[:n], np.stack([points.min(0), points.max(0)]))

    def occupancy(self, protocol: EvaluationProtocol) -> Grids:
        return {r: self._samples.occupancy[r].numpy() for r in protocol.resolutions}

    def views(self, protocol: EvaluationProtocol) -> PosedViews | None:
        return self._views("target")

    def portrait(self) -> Portrait | None:
        views = self._views("target") or self._views(*self.record.sources)
        return None if views is None else portrait_of_views(views)

    def _views(self, *roles: str) -> PosedViews | None:
        if roles not in self._seen:
            record = self.record
            chosen = record.indices(*roles)
            views = (
                record.views(chosen, depth=record.has_depth, normals=record.has_normals) if chosen else None
            )
            self._seen[roles] = None if views is None else views[by_azimuth(views.cameras)]
        return self._seen[roles]

    @cached_property
    def _thickness(self) -> float:
        grid = self._samples.occupancy[max(self._samples.occupancy)].numpy()
        volume = grid.mean() * (1.2 * OBJECT_EDGE) ** 3
        return float(2 * volume / area_of_samples(self._samples.surface_points.numpy()) / OBJECT_EDGE)

    def thickness(self) -> float:
        """From the finest stored grid and the density of the stored points; NaN where there is no grid."""
        return self._thickness if self._samples.occupancy else float("nan")

    def facts(self) -> dict[str, Any]:
        flags = self.record.flags
        closed = flags.get("closed")
        return {"watertight": bool(closed) if closed is not None else None, "occupancy": "stored grids"}


def area_of_samples(points: NDArray[np.floating], *, neighbours: int = 8, probes: int = 4096) -> float:
    """Area of the surface from which n points (n, 3) were drawn uniformly, to some per cent.

    The disc around a point that reaches its k-th neighbour holds, on the mean, k of n points' shares of the
    area: area = pi · n · mean(r_k²) / k (Loftsgaarden and Quesenberry 1965, for the plane).
    """
    step = max(1, len(points) // probes)
    found = KDTree(points).query(points[::step], k=neighbours + 1, workers=-1)[0]
    distance = np.asarray(found)[:, -1]
    return float(np.pi * len(points) * (distance**2).mean() / neighbours)


def by_azimuth(cameras: Cameras) -> torch.Tensor:
    """(v,) order of cameras by azimuth from 0, the given order among equals."""
    x, y = cameras.centres[:, 0], cameras.centres[:, 1]
    return torch.argsort(torch.atan2(x, -y) % (2 * torch.pi), stable=True)
