"""Terms that compare pictures, distances and gradients; all return a scalar (averages: see the package).

Masks are bool, true where an entry counts; None means everywhere.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .reduce import masked, per_object_mean

Inside = Literal["distance", "bound"]


def _l1(predicted: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    return per_object_mean((predicted - target).abs(), mask)


def colour_l1(rgb: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean absolute difference per channel of ray colours (b, r, 3) over the valid rays (b, r)."""
    return _l1(rgb, target, valid)


def view_consistency(rendered: Tensor, given: Tensor, valid: Tensor | None = None) -> Tensor:
    """A rendered source view against the view given, L1: colours (b, ..., 3) with valid (b, ...)."""
    return _l1(rendered, given, valid)


def texture_consistency(colour: Tensor, true_colour: Tensor, valid: Tensor | None = None) -> Tensor:
    """Field colour against true colour (b, q, 3) at true surface points, L1; valid (b, q): seen by a view."""
    return _l1(colour, true_colour, valid)


def mask_l1(weights_sum: Tensor, mask: Tensor, *, min_background: float = 0.02) -> Tensor:
    """Ray opacity (b, r) against the true mask (b, r), L1 over all rays.

    Only for objects with more than a share `min_background` of background rays (mask <= 0.5); where there is
    no background the term would only push a fog of opacity.
    """
    applies = (mask <= 0.5).to(weights_sum.dtype).mean(1) > min_background
    difference = torch.where(applies[:, None], weights_sum - mask, torch.zeros_like(weights_sum))
    return per_object_mean(difference.abs())


def depth_l1(t: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Rendered distance along the ray (b, r) against the true one, L1; 0 is the target of background rays."""
    return _l1(t, target, valid)


def eikonal(gradient: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared deviation of the gradient's length from 1: gradient (b, ..., 3), mask (b, ...)."""
    length = torch.linalg.vector_norm(masked(gradient, mask), dim=-1)
    return per_object_mean((length - 1.0).square(), mask)


def sparsity(
    sdf: Tensor, ray_sdf: Tensor | None = None, ray_mask: Tensor | None = None, *, scale: float = 100.0
) -> Tensor:
    """Mean of exp(-scale |sdf|): keeps the field away from 0 where no surface is needed.

    sdf: (b, p) at uniform points. ray_sdf: (b, ...) at ray samples, with ray_mask (b, ...); given, the result
    is the mean of the two means. scale: per unit of distance.
    """
    uniform = per_object_mean(torch.exp(-scale * sdf.abs()))
    if ray_sdf is None:
        return uniform
    return 0.5 * (uniform + per_object_mean(torch.exp(-scale * masked(ray_sdf, ray_mask).abs()), ray_mask))


def sdf_l1(
    sdf: Tensor,
    target: Tensor,
    mask: Tensor | None = None,
    *,
    truncation: float | None = None,
    inside: Inside = "distance",
) -> Tensor:
    """Signed distance (b, p) against the true one, L1.

    truncation: true values beyond +-truncation only ask for at least that distance on the right side, so
    lower bounds of the true distance will do there, and capacity goes to the surface.
    inside: what true values below 0 are. "distance"; or "bound": the surface is at least so far away. That holds of
    meshes too whose parts overlap, and which so have faces inside, to which their labels are the distance.
    """
    if truncation is not None:
        sdf = torch.where(target >= truncation, sdf.clamp_max(truncation), sdf)
        sdf = torch.where(target <= -truncation, sdf.clamp_min(-truncation), sdf)
        target = target.clamp(-truncation, truncation)
    if inside == "bound":
        sdf = torch.where(target < 0, torch.maximum(sdf, target), sdf)
    return _l1(sdf, target, mask)
