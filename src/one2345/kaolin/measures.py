"""Chamfer distance, F-score, voxel IoU and inside tests by kaolin, with the meaning they have elsewhere here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from one2345.errors import InputError
from one2345.geometry import Mesh

from .library import require

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PointScores:
    """chamfer: (mean predicted→true + mean true→predicted) / 2; chamfer_squared: the same of squared distances;
    fscores: one per threshold."""

    chamfer: float
    chamfer_squared: float
    fscores: tuple[float, ...]


def nearest(
    cloud: ArrayLike, queries: ArrayLike, *, device: torch.device | str = "cuda"
) -> tuple[Floats, NDArray[np.int64]]:
    """Distance (p,) to, and index (p,) of, the point of cloud (q, 3) nearest to each of queries (p, 3).

    kaolin pairs the points in float32; the distances of the pairs are then taken in float64, so that they are
    those of an exact search but for ties within float32. Raises InputError where kaolin has no kernel for
    `device` (its point metrics are CUDA only) and ValueError for empty or non-finite points.
    """
    kaolin = require()
    a, b = _points(queries, "queries"), _points(cloud, "cloud")
    # Centred, so that float32 spends no digits on where the object is.
    centre = b.mean(0)
    try:
        _, index = kaolin.metrics.pointcloud.sided_distance(
            *(torch.from_numpy((x - centre).astype(np.float32))[None].to(device) for x in (a, b))
        )
    except RuntimeError as error:
        if torch.device(device).type == "cuda":
            raise
        raise InputError(
            f"kaolin's point metrics run on CUDA only, not on {device}; leave them to the default path there"
        ) from error
    found = index[0].cpu().numpy().astype(np.int64)
    return np.linalg.norm(a - b[found], axis=1), found


def chamfer_and_fscore(
    predicted: ArrayLike,
    true: ArrayLike,
    thresholds: Sequence[float] = (),
    *,
    unit: float = 1.0,
    device: torch.device | str = "cuda",
) -> PointScores:
    """Scores of predicted (n, 3) against true (m, 3) points, distances in units of `unit`.

    kaolin's own `chamfer_distance` is the sum, not the half sum, of mean *squared* distances, and its `f_score`
    repeats the search for each threshold: one `sided_distance` each way gives all of it. Thresholds are
    inclusive. Raises as `nearest` does.
    """
    accuracy = nearest(true, predicted, device=device)[0] / unit
    completeness = nearest(predicted, true, device=device)[0] / unit
    scores: list[float] = []
    for threshold in thresholds:
        precision, recall = float((accuracy <= threshold).mean()), float((completeness <= threshold).mean())
        total = precision + recall
        scores.append(2 * precision * recall / total if total > 0 else 0.0)
    return PointScores(
        chamfer=float(accuracy.mean() + completeness.mean()) / 2,
        chamfer_squared=float((accuracy**2).mean() + (completeness**2).mean()) / 2,
        fscores=tuple(scores),
    )


def voxel_iou(predicted: ArrayLike, true: ArrayLike, *, device: torch.device | str = "cpu") -> float:
    """Intersection over union of two boolean grids (x, y, z) of one shape; 1 when both are empty (kaolin: NaN)."""
    kaolin = require()
    a, b = (torch.from_numpy(np.array(x, dtype=bool))[None].to(device) for x in (predicted, true))
    if a.shape != b.shape or a.ndim != 4:
        raise ValueError(f"occupancy grids have shapes {tuple(a.shape[1:])} and {tuple(b.shape[1:])}")
    value = float(kaolin.metrics.voxelgrid.iou(a, b)[0])
    return 1.0 if np.isnan(value) else value


def check_sign(mesh: Mesh, points: ArrayLike, *, device: torch.device | str = "cpu") -> NDArray[np.bool_]:
    """Whether each of points (p, 3) lies inside a closed mesh, by the parity of the hits of one ray in float32.

    Differs from the winding number that this package goes by: sealed cavities are outside, overlapping parts
    are outside, holes leak along the ray, and a ray through an edge may miss. Raises ValueError for an empty
    mesh.
    """
    kaolin = require()
    if mesh.is_empty:
        raise ValueError("check_sign needs a mesh with faces")
    vertices = torch.from_numpy(mesh.vertices.astype(np.float32))[None].to(device)
    queries = torch.from_numpy(np.asarray(points, dtype=np.float32).reshape(-1, 3))[None].to(device)
    faces = torch.from_numpy(mesh.faces).to(device)
    inside: Any = kaolin.ops.mesh.check_sign(vertices, faces, queries)
    return inside[0].cpu().numpy().astype(bool)


def _points(points: ArrayLike, name: str) -> Floats:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 3 or not len(array):
        raise ValueError(f"the {name} have shape {array.shape}, expected (n, 3) with n > 0")
    if not np.isfinite(array).all():
        raise ValueError(f"the {name} hold NaN or infinite points")
    return array
