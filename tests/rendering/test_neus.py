import math

import pytest
import torch

from one2345.rendering import Variance, neus_alpha, section_slope, weights_from_alpha


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_alpha_of_one_section_by_hand():
    # Middle at 0.1, head-on, length 0.2: the section runs from 0.2 to 0.0, at sharpness 10 from 2 to 0.
    sdf, cosine, delta = (torch.tensor([x], dtype=torch.float64) for x in (0.1, -1.0, 0.2))
    alpha = neus_alpha(sdf, cosine, delta, 10.0)
    assert alpha.item() == pytest.approx((0.8807970780 - 0.5 + 1e-5) / (0.8807970780 + 1e-5), abs=1e-9)
    assert alpha.item() == pytest.approx(0.43234, abs=1e-5)


def test_slope_with_and_without_anneal():
    cosine = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])
    torch.testing.assert_close(section_slope(cosine, 1.0), torch.tensor([-1.0, -0.5, 0.0, 0.0, 0.0]))
    torch.testing.assert_close(section_slope(cosine, 0.0), torch.tensor([-1.0, -0.75, -0.5, -0.25, 0.0]))
    torch.testing.assert_close(
        section_slope(cosine, 0.25), torch.tensor([-1.0, -0.6875, -0.375, -0.1875, 0.0])
    )


def test_leaving_the_surface_is_transparent_and_alpha_stays_in_range():
    sdf = torch.linspace(-0.5, 0.5, 101)
    leaving = neus_alpha(sdf, torch.ones_like(sdf), torch.full_like(sdf, 0.01), 5.0)
    assert (leaving < 2e-4).all()
    for inv_s in (1e-6, 1.0, 1e6):
        alpha = neus_alpha(sdf, -torch.ones_like(sdf), torch.full_like(sdf, 0.01), inv_s)
        assert torch.isfinite(alpha).all()
        assert ((alpha >= 0) & (alpha <= 1)).all()


@pytest.mark.parametrize("cosine", [-1.0, -0.4])
def test_weights_on_a_plane_are_the_drop_of_the_logistic_cdf(cosine):
    # A plane at distance 0.6 along its normal: f(t) = 0.6 + cosine t. Section by section the opacity is
    # 1 - F(f_i+1) / F(f_i), so transmittance telescopes and w_i = (F(f_i) - F(f_i+1)) / F(f_0).
    inv_s, edges = 40.0, torch.linspace(0, 2.0, 81, dtype=torch.float64)
    middles, deltas = 0.5 * (edges[1:] + edges[:-1]), edges[1:] - edges[:-1]
    alpha = neus_alpha(0.6 + cosine * middles, torch.full_like(middles, cosine), deltas, inv_s)
    weights = weights_from_alpha(alpha)
    cdf = torch.sigmoid(inv_s * (0.6 + cosine * edges))
    torch.testing.assert_close(weights, (cdf[:-1] - cdf[1:]) / cdf[0], atol=4e-4, rtol=0)
    assert weights.sum().item() == pytest.approx(1 - (cdf[-1] / cdf[0]).item(), abs=1e-3)


def test_transmittance_by_hand():
    weights = weights_from_alpha(torch.tensor([[0.5, 0.5, 1.0, 0.3]], dtype=torch.float64))
    torch.testing.assert_close(
        weights, torch.tensor([[0.5, 0.25, 0.25, 0.0]], dtype=torch.float64), atol=3e-7, rtol=0
    )


def test_alpha_gradients_match_finite_differences():
    torch.manual_seed(0)
    sdf, cosine = torch.randn(7, dtype=torch.float64) * 0.1, -torch.rand(7, dtype=torch.float64) * 0.8 - 0.1
    inv_s = torch.tensor(12.0, dtype=torch.float64)
    deltas = torch.full_like(sdf, 0.05)
    inputs = [x.requires_grad_() for x in (sdf, cosine, inv_s)]
    assert torch.autograd.gradcheck(
        lambda s, c, i: weights_from_alpha(neus_alpha(s, c, deltas, i, 0.5)), inputs, atol=1e-6
    )


def test_variance_starts_as_published_and_is_clipped():
    assert Variance()().item() == pytest.approx(math.exp(2.0), rel=1e-6)
    assert Variance(init=0.38)().item() == pytest.approx(math.exp(3.8), rel=1e-6)
    assert Variance(init=5.0)().item() == pytest.approx(1e6)
    assert Variance(init=-5.0)().item() == pytest.approx(1e-6)
    variance = Variance()
    variance().backward()
    assert variance.v.grad.item() == pytest.approx(10 * math.exp(2.0), rel=1e-5)
