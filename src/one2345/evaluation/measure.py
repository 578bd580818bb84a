"""One mesh against one truth under one protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from one2345.errors import EmptySurfaceError
from one2345.geometry import OBJECT_EDGE, Box, Mesh

from .appearance import LoadedAppearance
from .metrics import chamfer, cloud_distances, fscore, normal_consistency, volume_iou
from .metrics.modules import f_name
from .occupancy import occupy
from .pictures import draw
from .protocol import EvaluationProtocol, chamfer_name
from .sampling import as_it_stands, in_units, sample_surface, visible_surface
from .surface import SurfaceCloud
from .topology import Connectivity, Solid, mesh_facts
from .truth import Floats, Truth

Scores = dict[str, float]


@dataclass(frozen=True)
class Measured:
    """scores: by column, as the protocol says. unaligned: the geometric ones before alignment, where there is
    one. alignment: the transform found. facts: of the mesh. mesh: as measured, in the protocol's frame."""

    scores: Scores
    mesh: Mesh
    unaligned: Scores = field(default_factory=dict[str, float])
    alignment: Mapping[str, Any] = field(default_factory=dict[str, Any])
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


def measure(
    mesh: Mesh,
    to_world: Floats,
    truth: Truth,
    protocol: EvaluationProtocol,
    *,
    appearance: LoadedAppearance | None = None,
    device: torch.device | str = "cpu",
) -> Measured:
    """Every score of `protocol` that `mesh` and `truth` allow.

    to_world: (4, 4) from the mesh's coordinates to the world frame. device: where nearest neighbours are searched.
    Faces are turned outwards and sealed cavities filled first, as in the truth. Pictures are compared only of a
    mesh with colours. Raises EmptySurfaceError for a mesh without faces, extent or area.
    """
    if mesh.is_empty:
        raise EmptySurfaceError("the mesh has no faces")
    known = Connectivity.of(mesh)
    shape = Solid.of(mesh, known)
    if shape.mesh.is_empty or not np.ptp(shape.mesh.bounds, axis=0).max() > 0:
        raise EmptySurfaceError("the mesh has no extent")
    facts = mesh_facts(mesh, connectivity=known, shape=shape)
    shape = shape.transformed(to_world)
    size = float(np.ptp(shape.mesh.bounds, axis=0).max()) / OBJECT_EDGE
    true = truth.cloud(protocol)
    by_area = replace(
        protocol, visible=None
    )  # what cameras see of a mesh that is not in place aligns nothing
    sampled = _cloud(shape.mesh, truth.id, by_area)
    cloud = (
        sampled if protocol.visible is None or protocol.aligned else _cloud(shape.mesh, truth.id, protocol)
    )
    alignment = protocol.alignment(sampled, truth.cloud(by_area))
    unaligned: Scores = {}
    if protocol.aligned:
        if protocol.visible is None:
            unaligned = _geometry(shape, cloud, true, truth, protocol, device)[0]
        units = np.diag([protocol.scale] * 3 + [1.0])
        shape = shape.transformed(np.linalg.inv(units) @ alignment.matrix @ units)
        if protocol.visible is None:
            cloud = cloud.transformed(alignment.matrix)
        else:
            cloud = _cloud(shape.mesh, truth.id, protocol)
    scores, method = _geometry(shape, cloud, true, truth, protocol, device)
    scores |= _pictures(shape.mesh, truth, protocol, appearance)
    return Measured(
        scores=scores,
        mesh=shape.mesh,
        unaligned=unaligned,
        alignment=alignment.as_dict(),
        facts={
            "faces": len(mesh.faces),
            "components": facts.components,
            "floaters": facts.floaters,
            "floater_area": facts.floater_area_fraction,
            "watertight": facts.watertight,
            "open_edges": facts.open_edges,
            "nonmanifold_edges": facts.nonmanifold_edges,
            "enclosed_dropped": shape.dropped,
            "faces_turned": shape.turned,
            "mirrored": alignment.mirrored,
            "size": size,
            "occupancy": method,
        },
    )


def picture_scores(
    images: Tensor, truth: Truth, protocol: EvaluationProtocol, appearance: LoadedAppearance, suffix: str = ""
) -> Scores:
    """Scores of pictures (v, 3, h, w) at the cameras of `truth.views`; none where there are no pictures."""
    views = truth.views(protocol)
    if views is None:
        return {}
    found = appearance.scores(images.detach().float().cpu(), views.images, metrics=protocol.pictures)
    return {f"{name}{suffix}": value for name, value in found.items()}


def _cloud(placed: Mesh, id: str, protocol: EvaluationProtocol) -> SurfaceCloud:
    """Points of a mesh in the world frame, in the protocol's units."""
    if protocol.visible is None:
        cloud = sample_surface(placed, protocol.points, seed=protocol.seed, object_id=id)
    else:
        cloud = visible_surface(as_it_stands(placed, id), protocol.visible, quantised=False)
    return in_units(cloud, protocol.scale)


def _geometry(
    shape: Solid,
    cloud: SurfaceCloud,
    true: SurfaceCloud,
    truth: Truth,
    protocol: EvaluationProtocol,
    device: torch.device | str,
) -> tuple[Scores, str]:
    """Scores of shape by column, and how the inside was found."""
    scores: Scores = {}
    method = ""
    if protocol.occupancy is not None:
        grids = truth.occupancy(protocol)
        for r in protocol.resolutions:
            filled = occupy(shape, Box(half_edge=protocol.occupancy.half_edge / protocol.scale, resolution=r))
            scores[f"iou_{r}"], method = volume_iou(filled.grid, grids[r]), filled.method
    points, true_points = cloud.neighbours(device), true.neighbours(device)
    distances = cloud_distances(points, true_points, cloud.normals, true.normals)
    factor = 1 if protocol.directions == "mean" else 2
    unsquared, squared = chamfer(distances)
    both = {"unsquared": unsquared, "squared": squared}
    scores |= {chamfer_name(kind): factor * both[kind] for kind in protocol.chamfer}
    found = fscore(distances, protocol.thresholds)
    scores |= {f_name(t): value for t, value in zip(protocol.thresholds, found, strict=True)}
    if protocol.normals:
        scores["normal_consistency"] = normal_consistency(distances)
    return scores, method


def _pictures(
    placed: Mesh, truth: Truth, protocol: EvaluationProtocol, appearance: LoadedAppearance | None
) -> Scores:
    has_colour = placed.colours is not None or placed.texture is not None
    if appearance is None or not has_colour or not set(protocol.pictures) & set(appearance.columns):
        return {}
    views = truth.views(protocol)
    if views is None:
        return {}
    return picture_scores(draw(placed, views.cameras).rgb, truth, protocol, appearance)
