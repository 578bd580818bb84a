"""Texture lookup: bilinear, REPEAT wrap, no mipmaps, values as stored (sRGB)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def sample_texture(texture: NDArray[np.uint8], uv: NDArray[np.floating]) -> NDArray[np.float32]:
    """Colours (p, 3) in [0, 1] of a texture (h, w, 3) at uv (p, 2).

    v points up (v = 0 is the bottom edge of the last row), texel centres lie at +0.5, coordinates outside
    [0, 1] repeat. Both images of a lookup at u and u + 1 are the same to rounding.
    """
    height, width = texture.shape[:2]
    u, v = np.asarray(uv, dtype=np.float64).T
    x = (u - np.floor(u)) * width - 0.5
    y = (1.0 - (v - np.floor(v))) * height - 0.5
    left, top = np.floor(x), np.floor(y)
    fx, fy = (x - left)[:, None], (y - top)[:, None]
    columns = left.astype(np.int64) % width, (left.astype(np.int64) + 1) % width
    rows = top.astype(np.int64) % height, (top.astype(np.int64) + 1) % height
    flat = texture.reshape(-1, texture.shape[2])

    def texel(row: int, column: int) -> NDArray[np.float64]:
        return flat[rows[row] * width + columns[column]].astype(np.float64)

    upper = texel(0, 0) * (1 - fx) + texel(0, 1) * fx
    lower = texel(1, 0) * (1 - fx) + texel(1, 1) * fx
    return ((upper * (1 - fy) + lower * fy) / 255.0).astype(np.float32)


def linear_to_srgb(linear: ArrayLike) -> NDArray[np.float64]:
    """The sRGB transfer function (IEC 61966-2-1), elementwise on [0, 1]."""
    values = np.clip(np.asarray(linear, dtype=np.float64), 0.0, 1.0)
    curved = 1.055 * np.maximum(values, 1e-12) ** (1 / 2.4) - 0.055
    return np.where(values <= 0.0031308, 12.92 * values, curved)


def srgb_to_linear(srgb: NDArray[np.floating]) -> NDArray[np.float64]:
    """IEC 61966-2-1, values in [0, 1]."""
    c = np.clip(np.asarray(srgb, dtype=np.float64), 0.0, 1.0)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
