"""Fields that hold in a region only: what lies outside is empty, whatever the field says there."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from one2345.geometry import Box, Cameras, Rays, look_at
from one2345.rendering import (
    BoundedField,
    RayRules,
    RenderSettings,
    hierarchical,
    importance_weights,
    ray_interval,
    render_rays,
    render_views,
    stratified,
)
from one2345.rendering.field import OUTSIDE

SMALL = RenderSettings(coarse=32, fine=32)


@dataclass
class Shell:
    """A ball about the origin within a larger one, whose surface counts only where y is above `cut`."""

    cut: float = -2.0
    seen: Tensor | None = None
    rules: RayRules = field(default_factory=RayRules)
    box: Box = field(default_factory=lambda: Box(half_edge=1.0))
    outer: float = 0.8
    inner: float = 0.3

    def inside(self, points: Tensor) -> Tensor:
        return points[..., 1] > self.cut

    def sdf(self, points: Tensor) -> Tensor:
        """Of a hollow ball, and a solid one in its middle."""
        r = points.norm(dim=-1)
        return torch.minimum((r - self.outer).abs() - 0.05, r - self.inner)

    def sdf_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = points.detach().requires_grad_()
            value = self.sdf(x)
            (gradient,) = torch.autograd.grad(value.sum(), x)
        return value.detach(), gradient

    def colour(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(points), torch.ones(points.shape[:2])

    def ray_interval(self, rays: Rays) -> tuple[Tensor, Tensor, Tensor]:
        near = torch.full(rays.origins.shape[:-1], 1.0)
        return near, near + 2.0, near > 0

    def rays_seen(self, points: Tensor) -> Tensor | None:
        assert points.ndim == 4
        return self.seen


def rays(count: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """From y = -2 towards +y."""
    x = torch.linspace(-0.1, 0.1, count)
    origins = torch.stack([x, torch.full_like(x, -2.0), torch.zeros_like(x)], -1)[None]
    directions = torch.tensor([0.0, 1.0, 0.0]).expand_as(origins)
    return origins, directions, torch.full((1, count), 1.0), torch.full((1, count), 3.0)


def test_it_is_a_bounded_field_and_gives_its_own_planes() -> None:
    shell = Shell()
    assert isinstance(shell, BoundedField)
    o, d, near, far = rays()
    got = ray_interval(shell, Box(half_edge=0.1), Rays(origins=o, directions=d))
    assert torch.equal(got[0], near) and torch.equal(got[1], far)


def test_samples_outside_have_no_opacity_distance_or_gradient() -> None:
    o, d, near, far = rays()
    # Up to y = -0.5 nothing counts: the hollow ball's near wall at -0.8 is left out, the solid one is seen.
    out = render_rays(Shell(cut=-0.5), o, d, near, far, inv_s=400.0, settings=SMALL)
    assert torch.equal(out.inside, out.points[..., 1] > -0.5)
    outside = ~out.inside
    assert outside.any(-1).all() and out.inside.any(-1).all()
    assert (out.sdf[outside] == OUTSIDE).all()
    assert (out.gradient[outside] == 0).all()
    assert (out.weights[outside] == 0).all()
    assert not out.active[outside].any()
    assert (out.weights_sum > 0.99).all()
    want = 2 - (0.09 - o[..., 0].square()).sqrt()
    torch.testing.assert_close(out.t / out.weights_sum, want, atol=5e-3, rtol=0)
    # With the region on, what remains are the weights of the field alone.
    shown, shell = out.points, Shell()
    torch.testing.assert_close(
        out.sdf[out.inside], shell.sdf(shown.flatten(1, 2)).reshape(out.sdf.shape)[out.inside]
    )


def test_without_a_bound_the_wall_is_seen() -> None:
    o, d, near, far = rays()
    out = render_rays(Shell(), o, d, near, far, inv_s=400.0, settings=SMALL)
    assert out.inside.all()
    want = 2 - (0.85**2 - o[..., 0].square()).sqrt()
    torch.testing.assert_close(out.t / out.weights_sum, want, atol=5e-3, rtol=0)


def test_all_outside_is_background() -> None:
    o, d, near, far = rays()
    out = render_rays(Shell(cut=5.0), o, d, near, far, inv_s=400.0, settings=SMALL, background=0.25)
    assert not out.inside.any()
    assert (out.rgb == 0.25).all()
    assert (out.weights_sum == 0).all() and (out.t == 0).all() and (out.normal == 0).all()


def test_rays_that_miss_are_nowhere_inside() -> None:
    o, d, near, far = rays()
    far = far.clone()
    far[0, 2] = near[0, 2]
    out = render_rays(Shell(cut=-3.0), o, d, near, far, inv_s=400.0, settings=SMALL)
    assert out.inside.any(-1).tolist() == out.hit.tolist() == [[True, True, False, True, True]]
    assert out.weights_sum[0, 2] == 0


def test_the_field_says_which_rays_are_seen() -> None:
    o, d, near, far = rays()
    seen = torch.tensor([[True, False, True, False, True]])
    out = render_rays(Shell(seen=seen), o, d, near, far, inv_s=400.0, settings=SMALL)
    assert out.valid.tolist() == seen.tolist()
    far = far.clone()
    far[0, 0] = near[0, 0]
    out = render_rays(Shell(seen=seen), o, d, near, far, inv_s=400.0, settings=SMALL)
    assert out.valid.tolist() == [[False, False, True, False, True]]
    # None: by the number of views, one here.
    strict = RenderSettings(coarse=32, fine=32, min_views=2)
    assert render_rays(Shell(), o, d, *rays()[2:], inv_s=400.0, settings=SMALL).valid.all()
    assert not render_rays(Shell(), o, d, *rays()[2:], inv_s=400.0, settings=strict).valid.any()


def test_whole_pictures_leave_out_what_is_outside() -> None:
    camera = Cameras(
        K=torch.tensor([[[20.0, 0, 4.5], [0, 20.0, 4.5], [0, 0, 1]]]),
        c2w=look_at(torch.tensor([[0.0, -2.0, 0.0]])),
        size=(9, 9),
    )
    depths = [
        float(render_views(Shell(cut=cut), camera, inv_s=400.0, settings=SMALL).depth[0, 4, 4])
        for cut in (-2.0, -0.5)
    ]
    assert depths == pytest.approx([2 - 0.85, 2 - 0.3], abs=5e-3)


def test_importance_weighs_sections_with_both_ends_inside() -> None:
    t = torch.linspace(0, 2, 11)
    sdf = 0.9 - t  # falls through zero between nodes 4 and 5
    free = importance_weights(t, sdf, 64.0)
    assert free.argmax() == 4
    for first in (5, 4, 3):
        inside = torch.arange(11) >= first
        weights = importance_weights(t, sdf, 64.0, inside)
        assert (weights[:first] == 0).all()
        assert bool(weights[4] > 0.99) is (first <= 4)
    last = importance_weights(t, sdf, 64.0, torch.arange(11) <= 4)
    assert (last[4:] == 0).all()


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize(("low", "high", "shown", "hidden"), [(1.0, 3.0, 1.5, 0.5), (-1.0, 1.0, 0.9, 1.5)])
def test_later_rounds_take_outside_for_empty(
    free: bool, low: float, high: float, shown: float, hidden: float
) -> None:
    """Nothing is drawn to a crossing that lies outside, in any round."""
    near, far = torch.zeros(1), torch.full((1,), 2.0)
    evaluated: list[Tensor] = []

    def inside(t: Tensor) -> Tensor:
        evaluated.append(t)
        return (t > low) & (t < high)

    def sdf(t: Tensor) -> Tensor:
        first, second = sorted((shown, hidden))
        return torch.where(t < 1, first - t, second - t)

    t = hierarchical(
        sdf, stratified(near, far, 41), fine=32, inv_s=(64.0, 128.0), inside=inside, free_coarse=free
    )
    assert [len(x[0]) for x in evaluated] == [41, 16]
    assert ((t - hidden).abs() < 0.08).sum() <= 6  # the given nodes and little more
    assert ((t - shown).abs() < 0.08).sum() > 20


def test_rays_follow_the_fields_rules() -> None:
    """Unless free, the first samples take the region's edge for a fall, and more are drawn beside it."""
    o, d, near, far = rays()
    beside = []
    for free in (False, True):
        shell = Shell(cut=-0.5, rules=RayRules(free_coarse=free))
        y = render_rays(shell, o, d, near, far, inv_s=400.0, settings=SMALL).points[..., 1]
        beside.append(int(((y > -0.56) & (y < -0.36)).sum()))
    assert beside[0] > beside[1] + 10


def test_gradients_pass_only_from_inside() -> None:
    class Growing(Shell):
        def __init__(self, cut: float) -> None:
            super().__init__(cut=cut)
            self.radius = torch.tensor(0.8, requires_grad=True)

        def sdf(self, points: Tensor) -> Tensor:
            return points.norm(dim=-1) - self.radius

        def sdf_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
            return self.sdf(points), F.normalize(points, dim=-1)

    for cut, flows in ((-2.0, True), (5.0, False)):
        ball = Growing(cut)
        o, d, near, far = rays()
        out = render_rays(ball, o, d, near, far, inv_s=20.0, settings=SMALL)
        (gradient,) = torch.autograd.grad(out.t.sum() + out.sdf.sum(), ball.radius)
        assert torch.isfinite(gradient)
        assert bool(gradient != 0) is flows
