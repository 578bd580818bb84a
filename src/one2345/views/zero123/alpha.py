"""Alpha of generated pictures, which have none: what the near-white surroundings do not reach."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

WHITE = 245 / 255
"""Grey level from which on a pixel may be background: the original counts pixels as object by the same bound."""


def alpha_of(images: Tensor, *, white: float = WHITE) -> Tensor:
    """Alpha (n, h, w) in [0, 1] of pictures (n, 3, h, w) of an object on near-white.

    Background is what the near-white region that touches the border reaches (through edges of pixels, not
    corners), so white parts within the object stay. The object's outermost pixels are mixtures of its colour and
    white: their alpha is how much darker than white they are, as a share of the darkest of the object's pixels
    around them; exact for an object of one colour there.
    """
    return torch.stack([torch.from_numpy(_alpha(p.float().cpu().numpy(), white)) for p in images]).to(
        images.device
    )


def _alpha(picture: np.ndarray, white: float) -> np.ndarray:
    from scipy.ndimage import binary_dilation, binary_propagation, maximum_filter

    near_white = (picture >= white).all(0)
    border = np.zeros_like(near_white)
    border[[0, -1]] = border[:, [0, -1]] = True
    background = np.asarray(binary_propagation(border & near_white, mask=near_white), bool)
    rim = ~background & np.asarray(binary_dilation(background, np.ones((3, 3), bool)))
    # Of the channel in which the object differs from white most.
    darkness = np.where(background, 0.0, 1.0 - picture.min(0)).clip(0.0, 1.0)
    strongest = maximum_filter(darkness, size=3, mode="nearest")
    alpha = np.where(background, 0.0, 1.0)
    share = darkness / np.maximum(strongest, 1e-6)
    return np.where(rim, share, alpha).astype(np.float32)
