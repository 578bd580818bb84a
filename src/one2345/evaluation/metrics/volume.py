"""Overlap of two occupancy grids."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def volume_iou(predicted: ArrayLike, true: ArrayLike) -> float:
    """Intersection over union of two boolean grids of one shape; 1 when both are empty."""
    p, t = np.asarray(predicted, dtype=bool), np.asarray(true, dtype=bool)
    if p.shape != t.shape:
        raise ValueError(f"occupancy grids have shapes {p.shape} and {t.shape}")
    union = int(np.count_nonzero(p | t))
    return int(np.count_nonzero(p & t)) / union if union else 1.0
