import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from one2345.models.blend_net import BlendNet, Elu, view_directions


def unit(*shape, generator):
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


def inputs(b=2, v=5, p=11, g=4, f=6, seed=0, hidden=0.3):
    gen = torch.Generator().manual_seed(seed)
    features = torch.cat([torch.rand(b, v, p, 3, generator=gen), torch.randn(b, v, p, f, generator=gen)], -1)
    query, views = unit(b, 1, p, 3, generator=gen), unit(b, v, p, 3, generator=gen)
    directions = view_directions(query.movedim(-1, 0), views.movedim(-1, 0))
    visible = torch.rand(b, v, p, generator=gen) > hidden
    visible[:, 0] = True
    return torch.randn(b, p, g, generator=gen), features, directions, visible


def net(seed=0, **kwargs):
    torch.manual_seed(seed)
    return BlendNet(geometry_channels=4, feature_channels=6, hidden=16, width=8, **kwargs).double()


def double(args):
    return tuple(x.double() if x.is_floating_point() else x for x in args)


def written_out(n, geometry, features, directions, visible):
    """The network as its description reads: everything concatenated per view."""
    seen = visible[..., None].double()
    v = features.shape[1]
    closeness = torch.exp(n.sharpness.abs() * (directions[..., 3:] - 1))
    raw = (closeness - closeness.amin(1, keepdim=True)) * seen
    w = raw / (raw.sum(1, keepdim=True) + 1e-8)
    f = features + n.direction(directions)
    mean = (w * f).sum(1, keepdim=True)
    var = (w * (f - mean) ** 2).sum(1, keepdim=True)
    shared = torch.cat([geometry[:, None], mean, var], -1).expand(-1, v, -1, -1)
    x = n.base(torch.cat([shared, f], -1))
    residual, opinion = n.visibility(x * w).split([n.width, 1], -1)
    x = x + residual
    second = torch.sigmoid(n.visibility2(x * torch.sigmoid(opinion) * seen)) * seen
    logits = n.logit(torch.cat([x, second, directions], -1))
    return torch.softmax(torch.where(visible[..., None], logits, torch.full_like(logits, -1e9)), 1)[..., 0]


def test_split_layers_equal_the_concatenated_form_and_its_gradients():
    n, args = net(count_hidden_views=True), double(inputs())
    a, b = n.weights(*args), written_out(n, *args)
    torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
    probe = torch.rand_like(a)
    ga, gb = (torch.autograd.grad((w * probe).sum(), list(n.parameters())) for w in (a, b))
    for x, y in zip(ga, gb, strict=True):
        torch.testing.assert_close(x, y, atol=1e-12, rtol=1e-9)
    assert all(x.abs().max() > 0 for x in ga)  # nothing is left out of training


def test_colour_is_the_weighted_colour_of_the_views():
    n, args = net(), double(inputs())
    rgb, weights = n(*args), n.weights(*args)
    assert rgb.shape == (2, 11, 3)
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 11, dtype=torch.float64))
    torch.testing.assert_close(rgb, torch.einsum("bvp,bvpc->bpc", weights, args[1][..., :3]))
    assert (weights[~args[3]] == 0).all()


@settings(deadline=None, max_examples=15)
@given(v=st.integers(1, 9), seed=st.integers(0, 1000))
def test_order_of_the_views_does_not_matter(v, seed):
    n, (geometry, features, directions, visible) = net(), double(inputs(v=v, seed=seed))
    order = torch.randperm(v, generator=torch.Generator().manual_seed(seed))
    shuffled = n(geometry, features[:, order], directions[:, order], visible[:, order])
    torch.testing.assert_close(n(geometry, features, directions, visible), shuffled, atol=1e-10, rtol=0)


def test_hidden_views_change_nothing_unless_asked_to():
    geometry, features, directions, visible = double(inputs(v=4, hidden=0.0))
    g = torch.Generator().manual_seed(9)
    more = torch.randn(2, 2, 11, 9, generator=g).double()
    away = torch.cat([unit(2, 2, 11, 3, generator=g), torch.full((2, 2, 11, 1), -1.0)], -1).double()
    padded = (
        geometry,
        torch.cat([features, more], 1),
        torch.cat([directions, away], 1),
        torch.cat([visible, torch.zeros(2, 2, 11, dtype=torch.bool)], 1),
    )
    plain = n_colour = net()(geometry, features, directions, visible)
    torch.testing.assert_close(net()(*padded), plain, atol=1e-12, rtol=0)
    assert (net(count_hidden_views=True)(*padded) - n_colour).abs().max() > 1e-4


def test_a_point_that_no_view_sees_gets_the_mean_and_stays_finite():
    n, (geometry, features, directions, visible) = net(), double(inputs(v=3))
    visible[:, :, :4] = False
    features.requires_grad_()
    rgb = n(geometry, features, directions, visible)
    torch.testing.assert_close(rgb[:, :4], features[:, :, :4, :3].mean(1))
    rgb.sum().backward()
    assert torch.isfinite(features.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in n.parameters())


def test_one_view_gives_its_own_colour():
    n, args = net(), double(inputs(v=1))
    torch.testing.assert_close(n(*args), args[1][:, 0, :, :3])


def test_anti_alias_weights_by_hand():
    n = net()
    directions = torch.zeros(1, 3, 2, 4, dtype=torch.float64)
    directions[0, :, 0, 3] = torch.tensor([1.0, 0.5, 0.0])
    directions[0, :, 1, 3] = torch.tensor([1.0, 0.5, -1.0])
    visible = torch.tensor([[[True, True], [True, True], [True, False]]])
    a, b, c = 1.0, 0.9048374180359595, 0.8187307530779818  # exp(0.2 * (q.s - 1))
    expected = torch.tensor([(a - c), (b - c), 0.0], dtype=torch.float64) / (a + b - 2 * c)
    got = n.anti_alias(directions, visible)
    torch.testing.assert_close(got[0, :, 0], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(got[0, :, 1], torch.tensor([1.0, 0.0, 0.0]).double(), atol=1e-6, rtol=0)
    n.sharpness.data.neg_()
    torch.testing.assert_close(n.anti_alias(directions, visible), got)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_elu_by_an_exponential(dtype):
    rounding = torch.finfo(dtype).eps
    tiny = torch.tensor([0.0, 1e-9, -1e-9, -0.0, 100.0, -100.0, float("inf"), -float("inf")], dtype=dtype)
    x = torch.cat([torch.linspace(-8, 8, 1001, dtype=dtype), tiny]).requires_grad_()
    got, want = Elu()(x), F.elu(x)
    assert (got[:-2] - want[:-2]).abs().max() <= rounding and torch.equal(got[-2:], want[-2:])
    for a, b in zip(*(torch.autograd.grad(y.sum(), x, retain_graph=True) for y in (got, want)), strict=True):
        torch.testing.assert_close(a, b, atol=2 * rounding, rtol=0)
    half = torch.linspace(-2, 2, 9, dtype=torch.bfloat16)
    assert torch.equal(Elu()(half), F.elu(half))


def test_directions_by_hand():
    q, s = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    d = view_directions(q[:, None], s.T)
    half = 0.5**0.5
    torch.testing.assert_close(d, torch.tensor([[half, -half, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]))


def test_published_sizes():
    assert sum(p.numel() for p in BlendNet().parameters()) == 19_567
    assert BlendNet().base[0].weight.shape == (64, 193)
    assert BlendNet(logit_hidden=(4, 2), direction_hidden=3).logit[2].weight.shape == (2, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(dtype):
    args = tuple(x.to(dtype) if x.is_floating_point() else x for x in inputs())
    assert net().to(dtype)(*args).dtype == dtype
