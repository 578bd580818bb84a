"""Rays through a batch of fields: sample, weigh, colour what matters, composite."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from one2345.errors import InputError

from .colours import composite
from .field import OUTSIDE, BoundedField, Field
from .neus import neus_alpha, weights_from_alpha
from .packing import evaluate_where
from .samplers import importance_rounds, likely_weights, stratified


@dataclass(frozen=True, kw_only=True)
class RenderSettings:
    """How densely a ray is sampled.

    coarse: stratified samples. fine: importance samples, in `rounds` rounds at fixed sharpness
    base_inv_s, 2 base_inv_s, 4 base_inv_s, ... (64 to 512 for four rounds).
    colour_eps: samples of at most this weight aren't coloured but count as background. That changes a ray's
    colour by at most the sum of their weights, hence by at most (coarse + fine) * colour_eps; 0 colours
    every sample that has any weight.
    min_views: a ray is valid if samples with at least half of its coloured weight are seen by so many views.
    skip_eps: samples whose weight, by the distances that placed them, is at most this, and so are their neighbours',
    are transparent and not evaluated: empty space, and what lies behind a surface. 0, as published, evaluates all; the
    means of the eikonal and the sparsity term are over the samples that are evaluated.
    colour_budget: share of an object's samples that are coloured, so that no shape depends on the data (for CUDA graphs
    and torch.compile): those of most weight, and what is left out is told by `RayRender.dropped`. Then the field is
    evaluated at every sample, also where it doesn't hold or is skipped. None colours as many as have weight.
    """

    coarse: int = 64
    fine: int = 64
    rounds: int = 4
    base_inv_s: float = 64.0
    colour_eps: float = 1e-4
    min_views: int = 1
    skip_eps: float = 0.0
    colour_budget: float | None = None

    def __post_init__(self) -> None:
        if self.coarse < 2:
            raise InputError(f"render settings: coarse is {self.coarse}; a ray needs at least 2 samples")
        if self.fine < 0 or (self.fine and (self.rounds < 1 or self.fine % self.rounds)):
            raise InputError(
                f"render settings: fine={self.fine} can't be split into rounds={self.rounds} of equal size"
            )

        if not 0 <= self.skip_eps < 1 or (self.skip_eps and not self.fine):
            raise InputError(
                f"render settings: skip_eps={self.skip_eps} with fine={self.fine}, expected 0 <= skip_eps < 1, and 0 "
                "without fine samples, whose placing tells what can be skipped"
            )
        if self.colour_budget is not None and not 0 < self.colour_budget <= 1:
            raise InputError(
                f"render settings: colour_budget={self.colour_budget}, expected a share of the samples: "
                "above 0, at most 1"
            )

    @property
    def samples(self) -> int:
        """Samples per ray."""
        return self.coarse + self.fine

    @property
    def sharpness(self) -> tuple[float, ...]:
        """Fixed inverse standard deviation of each importance round."""
        return tuple(self.base_inv_s * 2.0**i for i in range(self.rounds if self.fine else 0))


@dataclass(frozen=True)
class RayRender:
    """What r rays of b objects show.

    rgb: (b, r, 3) over the background. t: (b, r) sum of weight times distance along the ray, 0 if empty.
    weights_sum: (b, r) opacity. normal: (b, r, 3) sum of weight times unit gradient.
    Per sample (b, r, s): sdf, gradient (..., 3), weights, points (..., 3), `active`: coloured.
    inside: (b, r, s) the field holds there and was evaluated; elsewhere sdf is `OUTSIDE` and the gradient 0.
    hit: (b, r) the ray meets the box; a ray that doesn't is pure background and its samples mean nothing.
    valid: (b, r) hit, and its colour comes from points that enough source views see.
    dropped: (b) share of the weight to be coloured that `RenderSettings.colour_budget` left out.
    """

    rgb: Tensor
    t: Tensor
    weights_sum: Tensor
    normal: Tensor
    sdf: Tensor
    gradient: Tensor
    weights: Tensor
    points: Tensor
    active: Tensor
    inside: Tensor
    hit: Tensor
    valid: Tensor
    dropped: Tensor


def render_rays(
    field: Field,
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    *,
    inv_s: float | Tensor,
    settings: RenderSettings | None = None,
    anneal: float | Tensor = 1.0,
    noise: Tensor | None = None,
    background: float | Tensor = 1.0,
) -> RayRender:
    """Render rays with origins and unit directions (b, r, 3) between near and far (b, r), in world units.

    A ray with far <= near misses the box. anneal: see `section_slope`. noise: (b, r, coarse) in [0, 1) moves
    the coarse samples; None takes fixed nodes. background: grey level or colour (3,).
    Sample positions carry no gradient; the field's distance and gradient are asked for once, mid-section.
    """
    settings = settings or RenderSettings()
    hit = far > near
    near, far = (torch.where(hit, x, torch.zeros_like(x)).detach() for x in (near, far))

    def points_at(t: Tensor) -> Tensor:
        return origins[..., None, :] + t[..., None] * directions[..., None, :]

    bounded = field if isinstance(field, BoundedField) else None
    fixed = settings.colour_budget is not None

    def inside_at(t: Tensor) -> Tensor:
        assert bounded is not None
        return bounded.inside(points_at(t).flatten(1, 2)).reshape(t.shape)

    def sdf_at(t: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Signed distance (b, r, m) of rays that hit, and where it is wanted."""
        points = points_at(t).flatten(1, 2)
        if fixed:
            return field.sdf(points).reshape(t.shape)
        asked = hit[..., None].expand_as(t) if wanted is None else wanted & hit[..., None]
        (found,) = evaluate_where(lambda p: (field.sdf(p),), points, asked.flatten(1), (OUTSIDE,))
        return found.reshape(t.shape)

    with torch.no_grad():
        t, known_t, known_sdf = importance_rounds(
            sdf_at,
            stratified(near, far, settings.coarse, noise),
            fine=settings.fine,
            inv_s=settings.sharpness,
            inside=None if bounded is None else inside_at,
            free_coarse=bounded is not None and bounded.rules.free_coarse,
            where=sdf_at,
        )
        # The last section has no next sample to end at; it is as long as a coarse step.
        deltas = torch.cat([t[..., 1:] - t[..., :-1], ((far - near) / settings.coarse)[..., None]], -1)
        middles = t + 0.5 * deltas
        points = points_at(middles)
        inside = hit[..., None].expand_as(middles)
        if bounded is not None:
            inside = inside & inside_at(middles)
        if settings.skip_eps and known_t is not None and known_sdf is not None:
            likely = likely_weights(known_t, known_sdf, middles, deltas, inv_s, inside)
            beside = torch.nn.functional.max_pool1d(likely, 3, stride=1, padding=1)
            inside = inside & (beside > settings.skip_eps)

    if fixed:
        sdf, gradient = field.sdf_and_gradient(points.flatten(1, 2))
    else:
        sdf, gradient = evaluate_where(
            field.sdf_and_gradient, points.flatten(1, 2), inside.flatten(1), (OUTSIDE, 0.0)
        )
    sdf = sdf.reshape(middles.shape).masked_fill(~inside, OUTSIDE)
    gradient = gradient.reshape(points.shape) * inside[..., None]
    cosine = (gradient * directions[..., None, :]).sum(-1)
    alpha = neus_alpha(sdf, cosine, deltas, inv_s, anneal) * inside
    weights = weights_from_alpha(alpha)
    budget = None if settings.colour_budget is None else math.ceil(settings.colour_budget * sdf[0].numel())
    colours = composite(
        field,
        points,
        -directions,
        weights,
        settings.colour_eps,
        settings.min_views,
        background,
        budget=budget,
    )
    seen = None if bounded is None else bounded.rays_seen(points)
    unit = torch.nn.functional.normalize(gradient, dim=-1, eps=1e-6)
    return RayRender(
        rgb=colours.rgb,
        t=(weights * middles).sum(-1),
        weights_sum=weights.sum(-1),
        normal=(weights[..., None] * unit).sum(-2),
        sdf=sdf,
        gradient=gradient,
        weights=weights,
        points=points,
        active=colours.active,
        inside=inside,
        hit=hit,
        valid=hit & (colours.seen if seen is None else seen),
        dropped=colours.dropped,
    )
