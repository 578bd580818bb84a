"""64 + 4 x 16 samples on every ray, opacities, and a colour for each sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

OUTSIDE = 100.0
COARSE, ROUNDS, ADDED = 64, 4, 16

Distance = Callable[[Tensor], Tensor]
"""Signed distance (p) at points (p, 3)."""
Held = Callable[[Tensor], Tensor]
"""Whether the field holds (p) at points (p, 3)."""


@dataclass(frozen=True)
class Rendered:
    """colour (r, 3) over white; opacity (r); depth (r); valid (r) rays that the colour loss counts; per sample (r, s):
    distance, `OUTSIDE` where the field doesn't hold, gradient (..., 3), held."""

    colour: Tensor
    opacity: Tensor
    depth: Tensor
    valid: Tensor
    distance: Tensor
    gradient: Tensor
    held: Tensor


def sample(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    noise: Tensor,
    distance: Distance,
    held: Held,
) -> Tensor:
    """Sorted depths (r, 128) between near and far (r). noise (r, 64) in [0, 1) moves the first 64 in their strata."""

    def points(z: Tensor) -> Tensor:
        return (origins[:, None] + directions[:, None] * z[..., None]).reshape(-1, 3)

    nodes = torch.linspace(0, 1, COARSE, device=near.device)
    middles = 0.5 * (nodes[1:] + nodes[:-1])
    lower, upper = torch.cat([nodes[:1], middles]), torch.cat([middles, nodes[-1:]])
    z = near[:, None] + (far - near)[:, None] * (lower + (upper - lower) * noise)
    values, inside = distance(points(z)).view_as(z), held(points(z)).view_as(z)
    for number in range(ROUNDS):
        new = importance(z, values, inside, 64.0 * 2**number)
        z, order = torch.cat([z, new], -1).sort(-1)
        if number + 1 < ROUNDS:
            there = held(points(new)).view_as(new)
            more = torch.full_like(new, OUTSIDE)
            more[there] = distance(points(new)[there.flatten()])
            values = torch.cat([values, more], -1).gather(1, order)
            inside = torch.cat([inside, there], -1).gather(1, order)
    return z


def importance(z: Tensor, values: Tensor, inside: Tensor, inverse_deviation: float) -> Tensor:
    """ADDED depths (r, 16), evenly through the cumulative opacity of a logistic surface of fixed width."""
    step = z[:, 1:] - z[:, :-1]
    slope = (values[:, 1:] - values[:, :-1]) / (step + 1e-5)
    before = torch.cat([torch.zeros_like(slope[:, :1]), slope[:, :-1]], -1)
    slope = torch.minimum(before, slope).clamp(-10, 0)
    middle = 0.5 * (values[:, 1:] + values[:, :-1])
    enter = torch.sigmoid((middle - slope * step * 0.5) * inverse_deviation)
    leave = torch.sigmoid((middle + slope * step * 0.5) * inverse_deviation)
    alpha = (enter - leave + 1e-5) / (enter + 1e-5) * (inside[:, 1:] & inside[:, :-1])
    share = alpha * transmittance(alpha) + 1e-5
    share = share / share.sum(-1, keepdim=True)
    cumulative = torch.cat([torch.zeros_like(share[:, :1]), share.cumsum(-1)], -1)
    wanted = torch.linspace(0.5 / ADDED, 1 - 0.5 / ADDED, ADDED, device=z.device).repeat(len(z), 1)
    above = torch.searchsorted(cumulative, wanted, right=True)
    below, above = (above - 1).clamp_min(0), above.clamp_max(cumulative.shape[-1] - 1)
    low, high = cumulative.gather(1, below), cumulative.gather(1, above)
    width = torch.where(high - low < 1e-5, torch.ones_like(low), high - low)
    start, end = z.gather(1, below), z.gather(1, above)
    return start + (wanted - low) / width * (end - start)


def transmittance(alpha: Tensor) -> Tensor:
    """What reaches each sample (r, s)."""
    left = torch.cumprod(1 - alpha + 1e-7, -1)
    return torch.cat([torch.ones_like(left[:, :1]), left[:, :-1]], -1)


def render(
    origins: Tensor,
    directions: Tensor,
    z: Tensor,
    last: Tensor,
    *,
    distance: Distance,
    gradient: Callable[[Tensor], Tensor],
    colour: Callable[[Tensor], tuple[Tensor, Tensor]],
    held: Held,
    inverse_deviation: Tensor,
    anneal: float,
) -> Rendered:
    """Rays (r, 3) at depths z (r, s); last (r): length of the last interval. colour: (p, 3) and how many views see a
    point (p); asked for every sample."""
    interval = torch.cat([z[:, 1:] - z[:, :-1], last[:, None]], -1)
    middles = z + interval * 0.5
    points = (origins[:, None] + directions[:, None] * middles[..., None]).reshape(-1, 3)
    inside = held(points)
    values = points.new_full((len(points),), OUTSIDE)
    slopes = torch.zeros_like(points)
    values[inside] = distance(points[inside])
    slopes[inside] = gradient(points[inside])
    rgb, views = colour(points)
    values, slopes = values.view_as(z), slopes.view(*z.shape, 3)
    inside, rgb = inside.view_as(z), rgb.view(*z.shape, 3)
    cosine = (slopes * directions[:, None]).sum(-1)
    fall = -(torch.relu(0.5 - 0.5 * cosine) * (1 - anneal) + torch.relu(-cosine) * anneal)
    enter = torch.sigmoid((values - fall * interval * 0.5) * inverse_deviation)
    leave = torch.sigmoid((values + fall * interval * 0.5) * inverse_deviation)
    alpha = ((enter - leave + 1e-5) / (enter + 1e-5)).clamp(0, 1) * inside
    weights = alpha * transmittance(alpha)
    opacity = weights.sum(-1)
    return Rendered(
        colour=(weights[..., None] * rgb).sum(1) + (1 - opacity)[:, None],
        opacity=opacity,
        depth=(weights * middles).sum(-1),
        valid=(views.view_as(z) >= 2).sum(-1) > 8,
        distance=values,
        gradient=slopes,
        held=inside,
    )
