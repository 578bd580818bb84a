"""Masked means that stay finite, whatever is behind the mask."""

from __future__ import annotations

import torch
from torch import Tensor


def expand_mask(mask: Tensor, like: Tensor) -> Tensor:
    """A bool mask (b, ...) with trailing dimensions added so that it has the shape of `like`."""
    return mask.bool().reshape(*mask.shape, *([1] * (like.ndim - mask.ndim))).expand_as(like)


def masked(values: Tensor, mask: Tensor | None) -> Tensor:
    """`values` (b, ...) with 0, and no gradient, where the mask is false; NaN behind the mask stays there."""
    return (
        values if mask is None else torch.where(expand_mask(mask, values), values, torch.zeros_like(values))
    )


def per_object_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean () over objects of the mean over the unmasked entries of each object's values (b, ...).

    An object without unmasked (or any) entries counts as 0.
    """
    total = masked(values, mask).flatten(1).sum(1)
    if mask is None:
        return (total / max(1, values[0].numel())).mean()
    return (total / expand_mask(mask, values).flatten(1).sum(1).clamp_min(1)).mean()
