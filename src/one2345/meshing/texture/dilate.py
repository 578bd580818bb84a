"""Colours beyond the charts, so that no lookup at a seam, at whatever mipmap level, meets the background."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def dilate(
    picture: NDArray[np.float32], filled: NDArray[np.bool_], *, reach: float = 16.0
) -> NDArray[np.float32]:
    """The picture (h, w, c) with every texel that is not `filled` (h, w) given the nearest filled one's colour, and
    the mean colour where that is more than `reach` texels away. A picture with nothing filled stays."""
    if filled.all() or not filled.any():
        return picture
    distance, index = ndimage.distance_transform_edt(~filled, return_indices=True)  # type: ignore[misc]
    result = picture[index[0], index[1]]
    result[distance > reach] = picture[filled].mean(0)
    return result
