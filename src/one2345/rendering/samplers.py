"""Where along a ray to look: stratified first, then where the surface seems to be.

Everything here is a pure function of its arguments; randomness comes in as `noise`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .field import OUTSIDE
from .neus import ALPHA_EPS, neus_alpha, weights_from_alpha

STEEPEST_SLOPE = -10.0


def stratified(near: Tensor, far: Tensor, count: int, noise: Tensor | None = None) -> Tensor:
    """Ascending distances (..., count) in [near, far] (...).

    Without noise `count` equidistant nodes, both ends included; noise (..., count) in [0, 1) moves each
    within its stratum, which reaches half way to its neighbours.
    """
    unit = torch.linspace(0.0, 1.0, count, dtype=near.dtype, device=near.device)
    if noise is not None:
        middles = 0.5 * (unit[1:] + unit[:-1])
        lower, upper = torch.cat([unit[:1], middles]), torch.cat([middles, unit[-1:]])
        unit = lower + (upper - lower) * noise
    return near[..., None] + (far - near)[..., None] * unit


def importance(edges: Tensor, weights: Tensor, count: int) -> Tensor:
    """`count` ascending samples (..., count) of the density with weights (..., n - 1) between edges (..., n).

    Deterministic inverse CDF at the mid-points of `count` equal shares.
    """
    density = weights + 1e-5
    cdf = torch.cumsum(density / density.sum(-1, keepdim=True), -1)
    cdf = torch.cat([torch.zeros_like(cdf[..., :1]), cdf], -1)
    share = (torch.arange(count, dtype=edges.dtype, device=edges.device) + 0.5) / count
    share = share.expand(*edges.shape[:-1], count).contiguous()
    above = torch.searchsorted(cdf.contiguous(), share, right=True).clamp(1, edges.shape[-1] - 1)
    below = above - 1
    low, high = cdf.gather(-1, below), cdf.gather(-1, above)
    step = high - low
    fraction = (share - low) / torch.where(step < 1e-5, torch.ones_like(step), step)
    start, end = edges.gather(-1, below), edges.gather(-1, above)
    return start + fraction.clamp(0.0, 1.0) * (end - start)


def importance_weights(t: Tensor, sdf: Tensor, inv_s: float, inside: Tensor | None = None) -> Tensor:
    """NeuS weights (..., n - 1) between distances t (..., n) with known sdf (..., n), at a fixed sharpness.

    A section takes the steeper fall of itself and the one before it, so that thin walls aren't missed.
    inside: (..., n) bool, where the field holds; a section both of whose ends don't lie there has no weight.
    """
    length = t[..., 1:] - t[..., :-1]
    slope = (sdf[..., 1:] - sdf[..., :-1]) / (length + 1e-5)
    before = torch.cat([torch.zeros_like(slope[..., :1]), slope[..., :-1]], -1)
    slope = torch.minimum(before, slope).clamp(STEEPEST_SLOPE, 0.0)
    middle = 0.5 * (sdf[..., 1:] + sdf[..., :-1])
    half_drop = 0.5 * slope * length
    entry, exit_ = torch.sigmoid((middle - half_drop) * inv_s), torch.sigmoid((middle + half_drop) * inv_s)
    alpha = ((entry - exit_ + ALPHA_EPS) / (entry + ALPHA_EPS)).clamp(0.0, 1.0)
    return weights_from_alpha(alpha if inside is None else alpha * (inside[..., 1:] & inside[..., :-1]))


@torch.no_grad()
def hierarchical(
    sdf: Callable[[Tensor], Tensor],
    t: Tensor,
    *,
    fine: int,
    inv_s: Sequence[float],
    inside: Callable[[Tensor], Tensor] | None = None,
    free_coarse: bool = False,
    where: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Ascending distances (..., n + fine): the given t (..., n) and len(inv_s) rounds of importance samples.

    sdf: signed distance (..., m) at distances (..., m). inv_s: the fixed sharpness of each round;
    every round adds fine / len(inv_s) samples. inside: whether the field holds (..., m); elsewhere its distance is
    `OUTSIDE`, at the given t only unless free_coarse. where: `sdf` at those distances where a mask (..., m) is true,
    with anything elsewhere, for what needn't be asked.
    """
    return importance_rounds(
        sdf, t, fine=fine, inv_s=inv_s, inside=inside, free_coarse=free_coarse, where=where
    )[0]


@torch.no_grad()
def importance_rounds(
    sdf: Callable[[Tensor], Tensor],
    t: Tensor,
    *,
    fine: int,
    inv_s: Sequence[float],
    inside: Callable[[Tensor], Tensor] | None = None,
    free_coarse: bool = False,
    where: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """`hierarchical`, and what it was told on the way: ascending distances (..., m) and the signed distances there.

    None, None without rounds.
    """
    if not inv_s or fine == 0:
        return t, None, None
    count = fine // len(inv_s)
    held = None if inside is None else inside(t)
    if held is None or free_coarse:
        value = sdf(t)
    else:
        value = (sdf(t) if where is None else where(t, held)).masked_fill(~held, OUTSIDE)
    for i, sharpness in enumerate(inv_s):
        new = importance(t, importance_weights(t, value, sharpness, held), count)
        before = t
        t, order = torch.cat([t, new], -1).sort(-1)
        if i + 1 == len(inv_s):
            return t, before, value
        if inside is None or held is None:
            more = sdf(new)
        else:
            there = inside(new)
            more = (sdf(new) if where is None else where(new, there)).masked_fill(~there, OUTSIDE)
            held = torch.cat([held, there], -1).gather(-1, order)
        value = torch.cat([value, more], -1).gather(-1, order)
    raise AssertionError("the last round returns")


def likely_weights(
    known_t: Tensor, known_sdf: Tensor, t: Tensor, deltas: Tensor, inv_s: float | Tensor, inside: Tensor
) -> Tensor:
    """NeuS weights (..., s) of sections with middles t and lengths (..., s), as far as distances known_sdf (..., n) at
    ascending known_t (..., n) tell: linear between them. inside: (..., s) where the field holds."""
    above = torch.searchsorted(known_t.contiguous(), t.contiguous()).clamp(1, known_t.shape[-1] - 1)
    start, end = known_t.gather(-1, above - 1), known_t.gather(-1, above)
    low, high = known_sdf.gather(-1, above - 1), known_sdf.gather(-1, above)
    slope = (high - low) / (end - start).clamp_min(1e-6)
    sdf = torch.lerp(low, high, ((t - start) / (end - start).clamp_min(1e-6)).clamp(0, 1))
    alpha = neus_alpha(sdf, slope.clamp(STEEPEST_SLOPE, 0.0), deltas, inv_s)
    return weights_from_alpha(alpha * inside)
