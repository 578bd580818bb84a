import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from one2345.rendering import hierarchical, importance, importance_weights, stratified


def test_stratified_nodes_and_strata():
    near, far = torch.tensor([0.5, 1.0]), torch.tensor([1.5, 5.0])
    torch.testing.assert_close(stratified(near, far, 5)[0], torch.tensor([0.5, 0.75, 1.0, 1.25, 1.5]))
    low, high = stratified(near, far, 5, torch.zeros(2, 5)), stratified(near, far, 5, torch.ones(2, 5))
    torch.testing.assert_close(low[1], torch.tensor([1.0, 1.5, 2.5, 3.5, 4.5]))
    torch.testing.assert_close(high[1], torch.tensor([1.5, 2.5, 3.5, 4.5, 5.0]))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 40))
def test_samples_stay_inside_and_ascend(seed, count):
    g = torch.Generator().manual_seed(seed)
    near = torch.rand(3, 4, generator=g)
    far = near + torch.rand(3, 4, generator=g)
    noise = torch.rand(3, 4, count, generator=g)
    t = stratified(near, far, count, noise)
    assert torch.equal(t, stratified(near, far, count, noise))
    new = importance(t, torch.rand(3, 4, count - 1, generator=g), 8)
    for samples in (t, new):
        assert (samples[..., 1:] >= samples[..., :-1] - 1e-6).all()
        assert ((samples >= near[..., None] - 1e-6) & (samples <= far[..., None] + 1e-6)).all()


def test_importance_inverts_the_cdf():
    edges = torch.tensor([0.0, 1.0, 2.0, 3.0])
    # Uniform: the middles of 6 equal shares. All in the middle section: the same shares of that section.
    torch.testing.assert_close(importance(edges, torch.ones(3), 6), torch.arange(6) * 0.5 + 0.25)
    peaked = importance(edges, torch.tensor([0.0, 1.0, 0.0]), 4)
    torch.testing.assert_close(peaked, torch.tensor([1.125, 1.375, 1.625, 1.875]), atol=1e-3, rtol=0)
    skewed = importance(edges, torch.tensor([1.0, 0.0, 3.0]), 8)  # 2 of 8 shares in the first, 6 in the last
    assert (skewed < 1).sum() == 2
    assert (skewed > 2).sum() == 6


def test_importance_weights_peak_at_the_crossing():
    t = torch.linspace(0, 2, 41)
    weights = importance_weights(t, 1.02 - t, 64.0)
    peak = weights.argmax()
    assert t[peak] <= 1.02 <= t[peak + 1]
    assert weights.sum() == pytest.approx(1.0, abs=2e-3)


def test_importance_takes_the_steeper_of_two_sections():
    # Slopes of the sections: -2 and +2. The second counts with -2 too: 0.2 in its middle, from 0.3 to 0.1.
    weights = importance_weights(torch.tensor([0.0, 0.1, 0.2]), torch.tensor([0.3, 0.1, 0.3]), 10.0)
    entry, exit_ = 1 / (1 + math.exp(-3)), 1 / (1 + math.exp(-1))
    alpha = (entry - exit_) / entry
    assert weights.tolist() == pytest.approx([alpha, alpha * (1 - alpha)], abs=1e-4)
    # A fall of more than 10 per unit of length counts as 10: here from 0.5 to -0.5.
    steep = importance_weights(torch.tensor([0.0, 0.1]), torch.tensor([5.0, -5.0]), 4.0)
    entry, exit_ = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))
    assert steep.tolist() == pytest.approx([(entry - exit_) / entry], abs=1e-4)


def test_rounds_close_in_on_the_surface_without_gradient():
    near, far = torch.zeros(1, 2), torch.full((1, 2), 2.0)
    crossing = torch.tensor([[0.5], [1.3]])[None, :, 0]
    calls = []

    def sdf(t):
        calls.append((t.shape[-1], torch.is_grad_enabled()))
        return crossing[..., None] - t

    t = hierarchical(sdf, stratified(near, far, 64), fine=64, inv_s=(64.0, 128.0, 256.0, 512.0))
    assert t.shape == (1, 2, 128)
    assert (t[..., 1:] >= t[..., :-1]).all()
    assert calls == [(64, False), (16, False), (16, False), (16, False)]  # the last round isn't evaluated
    near_surface = ((t - crossing[..., None]).abs() < 0.02).sum(-1)
    assert (near_surface >= 40).all()  # equidistant nodes would be 1 or 2


def test_no_rounds_leave_the_samples_alone():
    t = stratified(torch.zeros(1), torch.ones(1), 8)
    assert hierarchical(lambda x: x, t, fine=0, inv_s=()) is t
