"""What needn't be asked of a field isn't, and shapes that don't depend on the data."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.rendering.test_bounded import Shell, rays
from torch import Tensor

from one2345.errors import InputError
from one2345.rendering import RayRules, RenderSettings, render_rays
from one2345.rendering.packing import evaluate_where, pack, unpack

SMALL = RenderSettings(coarse=32, fine=32)


class Counted(Shell):
    """Notes how many points it is asked for, and that they lie inside."""

    def sdf(self, points: Tensor) -> Tensor:
        self._note("sdf", points)
        return super().sdf(points)

    def sdf_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        self._note("gradient", points)
        return super().sdf_and_gradient(points)

    def colour(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        self._note("colour", points)
        return 0.5 + 0.3 * points, torch.ones(points.shape[:2])

    def _note(self, name: str, points: Tensor) -> None:
        self.__dict__.setdefault("asked", []).append(
            (name, points.shape[1], self.inside(points).all().item())
        )


def _asked(shell: Counted, name: str) -> list[tuple[int, bool]]:
    return [(count, inside) for what, count, inside in shell.asked if what == name]


def test_pack_of_a_fixed_width_takes_the_most_important() -> None:
    active = torch.tensor([[True, False, True, True, True], [False, False, False, True, False]])
    priority = torch.tensor([[0.1, 9.0, 0.4, 0.3, 0.2], [0.0, 0.0, 0.0, 0.5, 0.0]])
    index, real = pack(active, priority=priority, width=2)
    assert index.tolist() == [[2, 3], [3, 0]]
    assert real.tolist() == [[True, True], [True, False]]
    values = unpack(torch.tensor([[5.0, 6.0], [7.0, 8.0]]), index, real, 5, fill=-1.0)
    assert values.tolist() == [[-1, -1, 5, 6, -1], [-1, -1, -1, 7, -1]]


def test_only_what_is_wanted_is_evaluated_and_passes_gradients() -> None:
    points = torch.randn(2, 6, 3, requires_grad=True)
    wanted = torch.tensor(
        [[True, False, True, False, False, True], [False, True, False, False, False, False]]
    )
    asked: list[int] = []

    def call(p: Tensor) -> tuple[Tensor, Tensor]:
        asked.append(p.shape[1])
        return p.sum(-1), 2 * p

    total, double = evaluate_where(call, points, wanted, (7.0, 0.0))
    assert asked == [3]
    torch.testing.assert_close(total, torch.where(wanted, points.sum(-1), 7.0))
    torch.testing.assert_close(double, 2 * points * wanted[..., None])
    (total.sum() + double.sum()).backward()
    torch.testing.assert_close(points.grad, 3.0 * wanted[..., None].expand_as(points))


@pytest.mark.parametrize("free", [False, True])
def test_the_field_is_asked_only_where_it_holds(free: bool) -> None:
    o, d, near, far = rays()
    shell = Counted(cut=-0.5, rules=RayRules(free_coarse=free))
    out = render_rays(shell, o, d, near, far, inv_s=400.0, settings=SMALL)
    first, *later = _asked(shell, "sdf")
    assert first == (5 * 32, False) if free else (first[0] < 5 * 32 and first[1])
    assert all(inside for _, inside in later)
    ((count, inside),) = _asked(shell, "gradient")
    assert inside and count == int(out.inside.sum()) < 5 * 64


def test_rays_that_miss_cost_nothing() -> None:
    o, d, near, far = rays()
    shell = Counted(cut=-5.0)
    far = far.clone()
    far[0, :3] = near[0, :3]
    render_rays(shell, o, d, near, far, inv_s=400.0, settings=SMALL)
    assert _asked(shell, "gradient") == [(2 * 64, True)]
    assert _asked(shell, "sdf")[0] == (2 * 32, True)


def test_skipped_samples_change_little_and_save_much() -> None:
    o, d, near, far = rays(9)
    for inv_s, share in ((60.0, 0.85), (400.0, 0.7)):
        full, shell = Counted(), Counted()
        exact = render_rays(full, o, d, near, far, inv_s=inv_s, settings=SMALL)
        out = render_rays(shell, o, d, near, far, inv_s=inv_s, settings=replace(SMALL, skip_eps=1e-3))
        ((before, _),), ((after, _),) = _asked(full, "gradient"), _asked(shell, "gradient")
        assert before == 9 * 64 and after < share * before
        # 64 samples of at most 1e-3 each are left out, and hide what is behind them no more.
        assert (out.rgb - exact.rgb).abs().max() < 0.02
        torch.testing.assert_close(out.t, exact.t, atol=0.03, rtol=0)
        kept = out.inside
        torch.testing.assert_close(out.sdf[kept], exact.sdf[kept])
        assert (out.weights[~kept] == 0).all() and (exact.weights[~kept] < 5e-3).all()


def test_a_budget_for_all_is_no_budget() -> None:
    o, d, near, far = rays(9)
    for cut in (-2.0, -0.5):
        want = render_rays(Counted(cut=cut), o, d, near, far, inv_s=100.0, settings=SMALL)
        shell = Counted(cut=cut)
        got = render_rays(shell, o, d, near, far, inv_s=100.0, settings=replace(SMALL, colour_budget=1.0))
        for name in ("rgb", "t", "weights", "normal", "sdf", "gradient", "active", "inside", "valid"):
            torch.testing.assert_close(getattr(got, name), getattr(want, name), msg=name)
        assert got.dropped.tolist() == [0.0]
        assert [c for c, _ in _asked(shell, "sdf")][:4] == [9 * 32, 9 * 8, 9 * 8, 9 * 8]
        assert _asked(shell, "gradient")[0][0] == _asked(shell, "colour")[0][0] == 9 * 64


def test_a_small_budget_colours_the_heaviest_and_tells_what_it_dropped() -> None:
    o, d, near, far = rays(9)
    shell = Counted()
    want = render_rays(shell, o, d, near, far, inv_s=100.0, settings=SMALL)
    got = render_rays(shell, o, d, near, far, inv_s=100.0, settings=replace(SMALL, colour_budget=0.02))
    count = 12  # of 576
    assert _asked(shell, "colour")[-1][0] == count == int(got.active.sum())
    assert want.weights[got.active].min() >= want.weights[want.active & ~got.active].max()
    left_out = (want.weights * (want.active & ~got.active)).sum() / (want.weights * want.active).sum()
    assert 0.05 < float(left_out) < 0.95
    torch.testing.assert_close(got.dropped, left_out[None])
    torch.testing.assert_close(got.weights, want.weights)


def test_a_compiler_follows_rays_of_a_fixed_budget() -> None:
    class Ball(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.radius = torch.nn.Parameter(torch.tensor(0.3))

        def sdf(self, points: Tensor) -> Tensor:
            return points.norm(dim=-1) - self.radius

        def sdf_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
            return self.sdf(points), torch.nn.functional.normalize(points, dim=-1)

        def colour(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
            return 0.5 + 0.3 * points, torch.ones(points.shape[:2])

    ball, settings = Ball(), replace(SMALL, colour_budget=0.25)

    def loss(o: Tensor, d: Tensor, near: Tensor, far: Tensor) -> Tensor:
        out = render_rays(ball, o, d, near, far, inv_s=100.0, settings=settings)
        return out.rgb.square().sum() + out.t.sum()

    (want,) = torch.autograd.grad(loss(*rays()), ball.radius)
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    (got,) = torch.autograd.grad(compiled(*rays()), ball.radius)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ({"skip_eps": -0.1}, "skip_eps"),
        ({"skip_eps": 1e-4, "fine": 0}, "skip_eps"),
        ({"colour_budget": 0.0}, "budget"),
    ],
)
def test_settings_out_of_range(bad: dict[str, float], word: str) -> None:
    with pytest.raises(InputError, match=word):
        RenderSettings(**bad)
