"""Values known on part of an image, extended smoothly over all of it (a pyramid of averages)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate


def extend(weighted: Tensor, weight: Tensor) -> Tensor:
    """Fill the unknown part of an image from the known part around it.

    weighted: (n, c, h, w), the values times their weight. weight: (n, 1, h, w) in [0, 1]. Returns
    (n, c, h, w): the value where the weight is 1, and a weighted mean of wider and wider surroundings as it
    falls to 0; images whose weight is zero everywhere become 0.
    """
    height, width = weight.shape[-2:]
    if min(height, width) == 1:
        mean = weighted.sum((-2, -1), keepdim=True) / weight.sum((-2, -1), keepdim=True).clamp_min(1e-6)
        return mean.expand_as(weighted)
    pooled = avg_pool2d(torch.cat([weighted, weight], 1), 2, ceil_mode=True)
    # A half-covered cell counts in full one level up, so that the far background comes from the rim.
    share = pooled[:, -1:].clamp_min(1e-6)
    known = (2 * share).clamp_max(1.0) * (pooled[:, -1:] > 1e-6)
    coarse = extend(pooled[:, :-1] / share * known, known)
    return weighted + (1 - weight) * interpolate(
        coarse, (height, width), mode="bilinear", align_corners=False
    )
