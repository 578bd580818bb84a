"""Distances between two point clouds: Chamfer, F-score, normal consistency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from .neighbours import Neighbours

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CloudDistances:
    """Nearest neighbours both ways. accuracy (n,): distance of each predicted point to the true cloud;
    completeness (m,): of each true point to the predicted one; `*_cosine`: |cosine| between the normals of
    the pairs, or None."""

    accuracy: Floats
    completeness: Floats
    accuracy_cosine: Floats | None = None
    completeness_cosine: Floats | None = None


def cloud_distances(
    predicted: ArrayLike | Neighbours,
    true: ArrayLike | Neighbours,
    predicted_normals: ArrayLike | None = None,
    true_normals: ArrayLike | None = None,
    *,
    unit: float = 1.0,
    device: torch.device | str = "cpu",
) -> CloudDistances:
    """Nearest neighbours of predicted (n, 3) and true (m, 3) points in both directions, in units of `unit`.

    Normals (n, 3), (m, 3) are unit vectors. A cloud that is compared often is given as `Neighbours`, which
    keep their tree and their own device; `device` is where the others are asked. Raises ValueError for empty
    clouds or points that are not finite.
    """
    p = (
        predicted
        if isinstance(predicted, Neighbours)
        else Neighbours(predicted, name="predicted", device=device)
    )
    t = true if isinstance(true, Neighbours) else Neighbours(true, name="true", device=device)
    accuracy, to_true = t.query(p)
    completeness, to_predicted = p.query(t)
    accuracy, completeness = accuracy / unit, completeness / unit
    if predicted_normals is None or true_normals is None:
        return CloudDistances(accuracy, completeness)
    a, b = (np.asarray(x, dtype=np.float64) for x in (predicted_normals, true_normals))
    return CloudDistances(accuracy, completeness, _cosine(a, b[to_true]), _cosine(b, a[to_predicted]))


def chamfer(distances: CloudDistances) -> tuple[float, float]:
    """(mean accuracy + mean completeness) / 2, unsquared, and the same of the squared distances."""
    a, c = distances.accuracy, distances.completeness
    return float(a.mean() + c.mean()) / 2, float((a**2).mean() + (c**2).mean()) / 2


def fscore(distances: CloudDistances, thresholds: Sequence[float]) -> list[float]:
    """Harmonic mean of precision and recall at each threshold (inclusive), in the unit of the distances."""
    scores: list[float] = []
    for threshold in thresholds:
        precision = float((distances.accuracy <= threshold).mean())
        recall = float((distances.completeness <= threshold).mean())
        total = precision + recall
        scores.append(2 * precision * recall / total if total > 0 else 0.0)
    return scores


def normal_consistency(distances: CloudDistances) -> float:
    """Mean |cosine| between the normals of nearest neighbours, averaged over both directions.

    The absolute value, as in Mescheder et al. (CVPR 2019), so that the orientation of open scans is no
    matter.
    """
    if distances.accuracy_cosine is None or distances.completeness_cosine is None:
        raise ValueError("normal consistency needs the normals of both clouds")
    return float(distances.accuracy_cosine.mean() + distances.completeness_cosine.mean()) / 2


def _cosine(a: Floats, b: Floats) -> Floats:
    return np.abs(np.einsum("pi,pi->p", a, b)).clip(max=1.0)
