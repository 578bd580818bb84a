"""A training step of the published network on rays that a fixture holds, without perturbation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from one2345.data.batch import SceneBatch, TargetRays
from one2345.losses import Ramp, WeightedLosses
from one2345.models import SparseNeus
from one2345.models.sparseneus.field import CubeField
from one2345.models.sparseneus.released import released_sources
from one2345.rendering import RenderSettings
from one2345.training.terms import StepTerms, TermSettings

EVERY_SAMPLE = RenderSettings(colour_eps=0.0)
LOSS = WeightedLosses(
    colour=1.0,
    eikonal=0.1,
    mask=Ramp(end=0.1, begin=50_000, until=50_000),
    sparsity=Ramp(end=0.02, until=50_000),
)
"""The released weights."""


def step_terms(
    read: Callable[[str], Tensor], model: SparseNeus, field: CubeField, images: Tensor, *, anneal: float
) -> StepTerms:
    """The terms of a field of `images` (n, 3, h, w). read: an array of the fixture by name (`tr_...`)."""
    rays = TargetRays(
        origins=read("tr_rays_o")[None],
        directions=read("tr_rays_v")[None],
        rgb=read("tr_rays_color")[None],
        mask=read("tr_rays_mask").reshape(1, -1),
        t=read("tr_rays_depth").reshape(1, -1),
    )
    nothing = torch.zeros(1, 0, 3)
    batch = SceneBatch(
        ids=("fixture",),
        seeds=(0,),
        images=images[None],
        masks=torch.ones_like(images[None, :, 0]),
        cameras=field.cameras,
        rays=rays,
        sdf_points=nothing,
        sdf_values=nothing[..., 0],
        surface_points=nothing,
        surface_normals=nothing,
        surface_colours=nothing,
    )
    uniform = (read("tr_pts_random")[None] + 1) / 2
    nodes = torch.full((*rays.rgb.shape[:2], EVERY_SAMPLE.coarse), 0.5).to(images)
    nodes[..., 0], nodes[..., -1] = 0.0, 1.0

    class Fixed(StepTerms):
        def _random(self, stream: str, *shape: int) -> Tensor:
            return uniform if stream == "sparsity" else nodes

    settings = TermSettings(render=EVERY_SAMPLE)
    return Fixed(field, batch, inv_s=model.variance(), anneal=anneal, settings=settings)


def table(arrays: dict[str, Any], key: str) -> dict[str, float]:
    """What `key`_names and `key`_values say."""
    return dict(zip(arrays[f"{key}_names"].tolist(), arrays[f"{key}_values"].tolist(), strict=True))


def check_gradients(model: SparseNeus, norms: dict[str, float], *, tolerance: float) -> dict[str, float]:
    """The norm of every parameter's gradient against `norms` (-1: it has none), and those of the whole networks."""
    sources = released_sources(model.state_dict())
    squares: dict[str, float] = {}
    for own, parameter in model.named_parameters():
        source = sources[own]
        norm = 0.0 if parameter.grad is None else float(parameter.grad.double().norm())
        squares[source.network] = squares.get(source.network, 0.0) + norm**2
        theirs = max(0.0, norms[".".join((source.network, source.key))])
        assert abs(norm - theirs) <= tolerance * theirs + 1e-6, own
    assert len(norms) == len(list(model.parameters()))
    return {network: square**0.5 for network, square in squares.items()}
