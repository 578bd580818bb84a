"""An object before a plain background, cut out without a model.

The background's colour is fitted to the frame's border (a plane per channel, for light that falls off), pixels
like it are flooded from the border, so that parts of the object that have its colour stay, and the outline is
made soft by un-mixing: a pixel I = a F + (1 - a) B with the known background B and the object's colour F next
to it gives a (the compositing equation of Porter and Duff 1984, solved along F - B).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .framing import label_pieces

BORDER_SHARE = 0.7
"""Least share of the border that must look like the background: an object may stand on one edge."""
MAX_NOISE = 0.03
MAX_SLOPE = 0.35
WHITE = 0.92
SPECK_SHARE = 0.004
"""Pieces smaller than this share of the largest are specks."""

Colour = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class PlainCut:
    """colour: (h, w, 3) float32, the object's own colour, the background's share taken out along the outline.
    alpha: (h, w) float32. background: mean RGB. confidence: in [0, 1], the border's share that is background
    times how far the outline stands out. holes, enclosed: share of the object's area that was opened as holes,
    or that has the background's colour and was kept because the background is white. specks: pieces dropped."""

    colour: Colour
    alpha: NDArray[np.float32]
    background: tuple[float, float, float]
    confidence: float
    holes: float
    enclosed: float
    specks: int


def cut_plain_background(colour: Colour) -> PlainCut | None:
    """Cut (h, w, 3) in [0, 1] free of a near-uniform background; None where the border shows no such thing.

    A picture that is nothing but background gives an alpha of zero everywhere.
    """
    fitted = _fit_background(colour)
    if fitted is None:
        return None
    background, noise, share = fitted
    tolerance = 0.035 + 5 * noise
    difference = np.abs(colour - background).max(-1)
    like = difference < tolerance
    outside = _touching_border(like)
    solid, specks = _without_specks(~outside)
    holes, enclosed = _holes(
        like & solid, colour - background, noise, white=bool(background.mean((0, 1)).min() > WHITE)
    )
    area = max(int(solid.sum()), 1)
    solid &= ~holes
    reach = 1 + max(colour.shape) // 768
    alpha, own = _unmix(colour, background, difference, solid, tolerance, reach)
    # Just inside the soft outline, where the object's colour is its own.
    rim = _eroded(solid, reach) & ~_eroded(solid, reach + 4)
    rim = rim if rim.any() else solid
    contrast = float(np.median(difference[rim])) if rim.any() else 0.0
    r, g, b = (float(x) for x in background.mean((0, 1)))
    return PlainCut(
        colour=own,
        alpha=alpha,
        background=(r, g, b),
        confidence=share * min(1.0, contrast / (3 * tolerance)),
        holes=float(holes.sum()) / area,
        enclosed=enclosed / area,
        specks=specks,
    )


def _fit_background(colour: Colour) -> tuple[Colour, float, float] | None:
    """Background (h, w, 3), its noise (standard deviation) and the border's share that it explains."""
    h, w = colour.shape[:2]
    if min(h, w) < 8:
        return None
    thick = max(1, min(h, w) // 100)
    ring = np.ones((h, w), bool)
    ring[thick:-thick, thick:-thick] = False
    v, u = np.nonzero(ring)
    position = np.stack([np.ones(len(u)), u / w - 0.5, v / h - 0.5], -1)
    values = colour[v, u].astype(np.float64)
    # What most of the border resembles: the median of one side (an object that stands on an edge isn't that), or
    # a plane through all of it.
    sides = [values[c] for c in (v < thick, v >= h - thick, u < thick, u >= w - thick)]
    starts = [np.broadcast_to(np.median(s, 0), values.shape) for s in sides]
    starts.append(position @ np.linalg.lstsq(position, values, rcond=None)[0])
    inlier = max((np.abs(values - s).max(-1) < 0.12 for s in starts), key=np.count_nonzero)
    noise, plane, residual = 0.0, np.zeros((3, 3)), np.zeros_like(values)
    for _ in range(4):
        if inlier.mean() < BORDER_SHARE:
            return None
        plane = np.linalg.lstsq(position[inlier], values[inlier], rcond=None)[0]
        residual = np.abs(values - position @ plane)
        noise = 1.4826 * float(np.median(residual[inlier].max(-1)))
        inlier = residual.max(-1) < 0.02 + 6 * noise
    share = float(inlier.mean())
    if share < BORDER_SHARE or noise > MAX_NOISE or np.abs(plane[1:]).max() > MAX_SLOPE:
        return None
    v, u = np.mgrid[:h, :w]
    field = plane[0] + (u / w - 0.5)[..., None] * plane[1] + (v / h - 0.5)[..., None] * plane[2]
    return field.clip(0, 1).astype(np.float32), noise, share


def _touching_border(like: Mask) -> Mask:
    labels, _ = label_pieces(like, diagonal=False)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return np.isin(labels, np.unique(border[border > 0]))


def _without_specks(solid: Mask) -> tuple[Mask, int]:
    labels, count = label_pieces(solid, diagonal=True)
    if count < 2:
        return solid, 0
    sizes = np.bincount(labels.ravel())[1:]
    keep = sizes >= max(SPECK_SHARE * sizes.max(), 4)
    return np.r_[False, keep][labels], int((~keep).sum())


def _holes(like: Mask, offset: Colour, noise: float, *, white: bool) -> tuple[Mask, int]:
    """Enclosed regions that can't be told from the background, and the number of pixels left closed.

    Through holes of an object a coloured background shows its exact colour, which paint hardly has. A white
    one is matched by every white part, and a closed hole is white in the result as it should be: those stay.
    """
    labels, count = label_pieces(like, diagonal=False)
    holes = np.zeros_like(like)
    if count == 0:
        return holes, 0
    index = np.arange(1, count + 1)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    means = np.stack([ndimage.mean(offset[..., c], labels, index) for c in range(3)], -1)
    spread = np.stack([ndimage.standard_deviation(offset[..., c], labels, index) for c in range(3)], -1)
    same = (np.abs(means).max(-1) < 0.006 + noise) & (spread.max(-1) < 0.006 + 2 * noise) & (sizes >= 12)
    if white:
        return holes, int(sizes[same].sum())
    return np.r_[False, same][labels], 0


def _unmix(
    colour: Colour, background: Colour, difference: Colour, solid: Mask, tolerance: float, reach: int
) -> tuple[NDArray[np.float32], Colour]:
    """Alpha (h, w) and the object's own colour (h, w, 3), from the certain pixels that are nearest."""
    if not solid.any():
        return solid.astype(np.float32), colour
    inner = _eroded(solid, reach)
    # Parts too thin to have an inside: their purest pixels are those furthest from the background.
    inner |= solid & (difference >= ndimage.maximum_filter(difference, 2 * reach + 1))
    band = np.asarray(ndimage.binary_dilation(solid, np.ones((3, 3)), iterations=reach), bool) & ~inner
    nearest = ndimage.distance_transform_edt(~inner, return_distances=False, return_indices=True)
    assert nearest is not None
    own = colour[tuple(nearest)]
    across = own - background
    length = (across**2).sum(-1)
    share = ((colour - background) * across).sum(-1) / np.maximum(length, 1e-9)
    share = np.where(share < 0.05, 0, share).clip(0, 1)
    clear = length > (2 * tolerance) ** 2
    alpha = np.where(band & clear, share, solid).astype(np.float32)
    return alpha, np.where((band & clear)[..., None], own, colour)


def _eroded(solid: Mask, steps: int) -> Mask:
    """What is left of (h, w) when `steps` pixels are taken off all around, diagonals too, but not at the frame."""
    return np.asarray(ndimage.binary_erosion(solid, np.ones((3, 3)), iterations=steps, border_value=1), bool)
