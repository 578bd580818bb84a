"""Which view each source view was made from: the input view, or the stage-1 view of a near one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from one2345.errors import InputError
from one2345.geometry import Cameras, orbit

if TYPE_CHECKING:
    from one2345.views import ObjectRecord, PosedViews


@dataclass(frozen=True)
class Lineage:
    """Ancestry of v views.

    near: (v,) bool, made from a stage-1 view rather than from the input view. parents, parent_names: cameras
    (v) and names of those stage-1 views (for the other views: the view itself). input_centre: (3,) camera
    centre of the input view, in the world.
    """

    near: Tensor
    parents: Cameras
    parent_names: tuple[str, ...]
    input_centre: Tensor

    @property
    def origins(self) -> Tensor:
        """(v, 3) camera centre of the view each view was made from."""
        return torch.where(self.near[:, None], self.parents.centres, self.input_centre)


def lineage(record: ObjectRecord | None, sources: PosedViews) -> Lineage:
    """Ancestry of the sources.

    A stage-1 view that is not among the sources is looked up in the record. The input view stands at azimuth
    0 and at the elevation that the record's provenance gives; if it gives none, it is the first stage-1 view.
    Raises InputError for a near view whose stage-1 view neither the sources nor the record know.
    """
    names, cameras = [], []
    for i, name in enumerate(sources.names):
        found = (name, sources.cameras[i]) if sources.roles[i] != "near" else _parent(record, sources, i)
        names.append(found[0])
        cameras.append(found[1])
    near = torch.tensor([role == "near" for role in sources.roles], device=sources.cameras.device)
    return Lineage(
        near=near,
        parents=Cameras.stack(cameras),
        parent_names=tuple(names),
        input_centre=_input_centre(record, sources),
    )


def _parent(record: ObjectRecord | None, sources: PosedViews, view: int) -> tuple[str, Cameras]:
    position = sources.parents[view]
    if position is not None:
        return sources.names[position], sources.cameras[position]
    name = sources.names[view]
    if record is not None and name in record.names:
        parent = record.parents[record.index(name)]
        if parent is not None:
            camera = record.cameras[record.index(parent)].to(sources.cameras.device)
            return parent, camera.resized(sources.cameras.size)
    where = f"{record.folder}: " if record is not None else ""
    raise InputError(
        f"{where}near view {name!r} does not say which stage-1 view it was made from, so its drift can't be "
        "simulated; give `parent` in object.json, or use inputs=exact"
    )


def _input_centre(record: ObjectRecord | None, sources: PosedViews) -> Tensor:
    if record is not None:
        elevation = record.provenance.get("elevation")
        if isinstance(elevation, int | float):
            return orbit(0.0, float(elevation))[:3, 3].to(sources.cameras.device)
        stage1 = record.indices("stage1")
        if stage1:
            return record.cameras[stage1[0]].centres.to(sources.cameras.device)
    first = sources.indices("stage1")
    return sources.cameras[first[0] if first else 0].centres
