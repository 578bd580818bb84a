"""A cut-out object into the middle of a white frame, and what its outline says about the picture."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from one2345.errors import InputError

THRESHOLD = 0.1
"""Alpha from which a pixel belongs to the bounding box; softer ones are noise of a matting or faint shadows."""
MIN_SHARE = 2e-4
"""Least share of the frame that counts as an object."""

_EDGES = ("top", "bottom", "left", "right")


def bounding_box(alpha: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (exclusive) of alpha above THRESHOLD. Raises InputError where there is nothing."""
    inside = alpha > THRESHOLD
    if inside.sum() < max(4, MIN_SHARE * inside.size):
        raise InputError(
            "the foreground is empty: no object is left after cutting; give a picture with alpha, or "
            "segment=none to take the whole picture as the object"
        )
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def outline_warnings(alpha: NDArray[np.float32]) -> list[str]:
    """What may be wrong with an object: cut off by edges of the frame, or in pieces that lie far apart."""
    notes = []
    box = bounding_box(alpha)
    solid = alpha > 0.5
    lines = (solid[0], solid[-1], solid[:, 0], solid[:, -1])
    extents = (box[2] - box[0], box[2] - box[0], box[3] - box[1], box[3] - box[1])
    touched = [
        name for name, line, extent in zip(_EDGES, lines, extents) if line.sum() >= max(3, 0.04 * extent)
    ]
    if len(touched) == 4:
        notes.append("the object touches all four edges of the picture: it is cropped tightly, or cut off")
    elif touched:
        notes.append(f"the object is cut off by the picture's edge: {', '.join(touched)}")
    pieces = far_pieces(solid, max(extents))
    if pieces > 1:
        notes.append(f"the foreground is in {pieces} pieces that lie apart: one object is expected")
    return notes


def label_pieces(solid: NDArray[np.bool_], *, diagonal: bool) -> tuple[NDArray[np.int32], int]:
    """Connected pieces (h, w), numbered from 1, and their number. diagonal: whether corners connect."""
    labels = np.zeros(solid.shape, np.int32)
    count = ndimage.label(solid, structure=np.ones((3, 3)) if diagonal else None, output=labels)
    assert isinstance(count, int)
    return labels, count


def far_pieces(solid: NDArray[np.bool_], extent: int) -> int:
    """Number of pieces of at least 2 % of the area, gaps up to 4 % of the object's extent bridged."""
    step = math.ceil(max(solid.shape) / 256)
    coarse = solid[::step, ::step]
    gap = max(1, round(0.02 * extent / step))
    bridged = np.asarray(ndimage.binary_dilation(coarse, iterations=gap), bool)
    labels, count = label_pieces(bridged, diagonal=True)
    sizes = np.bincount(labels[coarse], minlength=count + 1)[1:]
    return int((sizes >= 0.02 * coarse.sum()).sum())


def place_in_frame(
    colour: NDArray[np.float32],
    alpha: NDArray[np.float32],
    *,
    box: tuple[int, int, int, int],
    size: int,
    fill: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Image (3, size, size) on white and mask (size, size): the box's longer edge spans `fill`, centred."""
    left, top, right, bottom = box
    side = max(right - left, bottom - top) / fill
    x, y = (left + right - side) / 2, (top + bottom - side) / 2
    return crop_on_white(colour, alpha, frame=(x, y, x + side, y + side), size=size)


def crop_on_white(
    colour: NDArray[np.float32],
    alpha: NDArray[np.float32],
    *,
    frame: tuple[float, float, float, float],
    size: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Image (3, size, size) on white and mask (size, size) of what lies in `frame` (left, top, right, bottom in
    pixels of the picture, corners of pixels at whole numbers), which may reach beyond the picture.

    colour: (h, w, 3) straight. alpha: (h, w). Lanczos over premultiplied colour, so that what lies under
    transparent pixels never shows.
    """
    x, y, right, bottom = frame
    # Room for the filter (3 output pixels) around the frame, zero beyond the picture.
    margin = math.ceil(3 * max(1.0, (right - x) / size, (bottom - y) / size)) + 1
    x0, y0 = math.floor(x) - margin, math.floor(y) - margin
    x1, y1 = math.ceil(right) + margin, math.ceil(bottom) + margin
    h, w = alpha.shape
    a, b, c, d = max(0, x0), max(0, y0), min(w, x1), min(h, y1)
    layers = np.zeros((y1 - y0, x1 - x0, 4), np.float32)
    if a < c and b < d:
        part = alpha[b:d, a:c, None]
        layers[b - y0 : d - y0, a - x0 : c - x0] = np.concatenate([colour[b:d, a:c] * part, part], -1)
    box = (x - x0, y - y0, right - x0, bottom - y0)
    resampled = np.stack(
        [
            np.asarray(
                Image.fromarray(layers[..., i]).resize((size, size), Image.Resampling.LANCZOS, box=box)
            )
            for i in range(4)
        ]
    )
    mask = resampled[3].clip(0, 1)
    # The filter overshoots along the outline, in colour and alpha alike: their ratio is the colour that was there.
    straight = (resampled[:3] / np.maximum(resampled[3], 1 / 512)).clip(0, 1)
    return (straight * mask + (1 - mask)).astype(np.float32), mask.astype(np.float32)
