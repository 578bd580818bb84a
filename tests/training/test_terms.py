"""What a term needs and is not there is an error, not a zero; what a field doesn't hold is not judged."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from tests.training.scenes import sphere_batch, tiny_model
from torch import Tensor

from one2345.errors import InputError
from one2345.geometry import Box, Rays
from one2345.rendering import RayRules, RenderSettings
from one2345.training.terms import StepTerms, TermSettings


def test_the_depth_term_refuses_views_without_depth() -> None:
    model, batch = tiny_model(), sphere_batch(rays=8)
    batch = replace(batch, rays=replace(batch.rays, t=None))
    field = model(batch.images, batch.masks, batch.cameras)
    terms = StepTerms(field, batch, inv_s=model.variance(), anneal=1.0, settings=TermSettings()).functions()
    with pytest.raises(InputError, match="sphere-0: prepared without depth"):
        terms["depth"]()
    assert torch.isfinite(terms["colour"]())


@dataclass
class Half:
    """A field that is wrong everywhere, twice as steep and close to zero, and holds above `floor` only."""

    floor: float
    rules: RayRules = field(default_factory=RayRules)
    box: Box = field(default_factory=Box)

    def sdf(self, points: Tensor) -> Tensor:
        return 0.01 + 0 * points[..., 0]

    def sdf_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        gradient = torch.zeros_like(points)
        gradient[..., 2] = torch.where(self.inside(points), 2.0, 7.0)
        return self.sdf(points), gradient

    def colour(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        return points, torch.ones(points.shape[:2])

    def surface_colour(self, points: Tensor, normals: Tensor) -> Tensor:
        return points

    def only(self, index: int) -> Half:
        return self

    def inside(self, points: Tensor) -> Tensor:
        return points[..., 2] > self.floor

    def ray_interval(self, rays: Rays) -> tuple[Tensor, Tensor, Tensor]:
        return self.box.ray_interval(rays)

    def rays_seen(self, points: Tensor) -> Tensor | None:
        return None


def _half(*, floor: float = 0.0, count_outside: bool = False) -> StepTerms:
    return StepTerms(
        Half(floor=floor, rules=RayRules(count_outside=count_outside)),
        sphere_batch(rays=16),
        inv_s=torch.tensor(20.0),
        anneal=1.0,
        settings=TermSettings(render=RenderSettings(coarse=16, fine=0), uniform_points=8),
    )


def test_the_slope_is_judged_where_the_field_holds() -> None:
    terms = _half()
    assert 0.2 < terms.rendered.inside.float().mean() < 0.8
    assert terms.functions()["eikonal"]().item() == pytest.approx((2 - 1) ** 2)
    assert _half(floor=9.0).functions()["eikonal"]().item() == 0


@pytest.mark.parametrize("count_outside", [False, True])
def test_the_sparsity_of_what_is_outside(count_outside: bool) -> None:
    """Left out of the mean over the samples of rays, or counted as 0 in it."""
    terms = _half(count_outside=count_outside)
    rendered = terms.rendered
    assert rendered.hit.all()
    share = float(rendered.inside.float().mean()) if count_outside else 1.0
    near_zero = torch.tensor(-1.0).exp().item()  # 100 times 0.01 away
    got = terms.functions()["sparsity"]().item()
    assert got == pytest.approx((near_zero + share * near_zero) / 2, rel=1e-5)


def test_rays_that_miss_count_nowhere() -> None:
    terms = _half(count_outside=True)
    rays = terms.batch.rays
    origins = rays.origins.clone()
    origins[:, :8, 2] += 10.0
    terms.batch = replace(terms.batch, rays=replace(rays, origins=origins))
    rendered = terms.rendered
    assert rendered.hit[0].tolist() == [False] * 8 + [True] * 8
    share = float(rendered.inside[:, 8:].float().mean())
    near_zero = torch.tensor(-1.0).exp().item()
    got = terms.functions()["sparsity"]().item()
    assert got == pytest.approx((near_zero + share * near_zero) / 2, rel=1e-5)
