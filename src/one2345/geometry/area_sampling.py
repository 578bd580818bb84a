"""Points on triangles, uniform by area, from uniform random numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def faces_at(cumulative_areas: Floats, share: Floats) -> NDArray[np.int64]:
    """The face (n,) at each share (n,) in [0, 1) of the whole area; cumulative_areas (m,)."""
    found = np.searchsorted(cumulative_areas, share * cumulative_areas[-1], side="right")
    return found.clip(max=len(cumulative_areas) - 1)


def uniform_weights(random: np.random.Generator, n: int) -> Floats:
    """Barycentric weights (n, 3) of points uniform in a triangle (Osada et al. 2002, section 4)."""
    root, other = np.sqrt(random.random(n)), random.random(n)
    return np.stack([1 - root, root * (1 - other), root * other], -1)
