"""The explicit reverse pass of the SDF head, held against autograd in float64."""

import pytest
import torch

from one2345.errors import InputError
from one2345.geometry import Box, orbit
from one2345.models import FeatureVolume, SdfNet


def _volume(channels: int, *, batch: int = 2, resolution: int = 7) -> FeatureVolume:
    generator = torch.Generator().manual_seed(3)
    pose = orbit(40.0, 25.0, 0.1).double()
    values = torch.randn(batch, *[resolution] * 3, channels, generator=generator, dtype=torch.float64)
    return FeatureVolume(
        values=values.requires_grad_(), box=Box(half_edge=0.45, resolution=resolution, pose=pose)
    )


def _net(**options: object) -> SdfNet:
    torch.manual_seed(0)
    net = SdfNet(latent_channels=5, hidden=24, octaves=3, **options).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.4)
    return net


def _points() -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(2, 50, 3, generator=generator, dtype=torch.float64) * 1.4 - 0.7


@pytest.mark.parametrize(("prior", "activation"), [(True, "silu"), (True, "softplus"), (False, "softplus")])
def test_explicit_gradient_equals_autograd(prior: bool, activation: str) -> None:
    net, volume = _net(prior=prior, activation=activation), _volume(5)
    points = _points().requires_grad_()
    sdf = net(points, volume)
    (expected,) = torch.autograd.grad(sdf.sum(), points)
    value, gradient = net.sdf_and_gradient(points, volume)
    assert torch.allclose(value, sdf, atol=1e-12, rtol=0)
    assert (gradient - expected).abs().max() < 1e-8 * expected.abs().max()


def test_a_loss_on_the_gradient_reaches_every_weight_as_in_double_backward() -> None:
    net, volume = _net(activation="silu"), _volume(5)
    leaves = [*net.parameters(), volume.values]
    _, gradient = net.sdf_and_gradient(_points(), volume)
    loss = (gradient.norm(dim=-1) - 1).square().mean()
    found = torch.autograd.grad(loss, leaves, allow_unused=True)

    points = _points().requires_grad_()
    (by_autograd,) = torch.autograd.grad(_smooth_sdf(net, volume, points).sum(), points, create_graph=True)
    expected = torch.autograd.grad((by_autograd.norm(dim=-1) - 1).square().mean(), leaves, allow_unused=True)
    for name, a, b in zip([*dict(net.named_parameters()), "volume"], found, expected, strict=True):
        if b is None:  # the output bias has no part in the gradient
            assert a is None or a.abs().max() == 0, name
            continue
        assert a is not None, name
        assert (a - b).abs().max() <= 1e-8 * b.abs().max().clamp_min(1), name


def _smooth_sdf(net: SdfNet, volume: FeatureVolume, points: torch.Tensor) -> torch.Tensor:
    """The same network with a lookup that autograd can differentiate twice."""

    class Smooth(FeatureVolume):
        def lookup(self, points_world: torch.Tensor) -> torch.Tensor:
            corners, weights, _ = self.lookup_corners(points_world)
            return (weights[..., None] * corners).sum(-2)

    return net(points, Smooth(values=volume.values, box=volume.box))


def test_untrained_field_with_a_prior_is_the_prior() -> None:
    volume = _volume(5)
    net = SdfNet(latent_channels=5, hidden=16).double()
    points = _points()
    assert torch.equal(net(points, volume), volume.lookup(points)[..., -1])


def test_geometric_initialisation_is_a_sphere() -> None:
    torch.manual_seed(1)
    net = SdfNet(latent_channels=4, hidden=256, octaves=4, prior=False, activation="softplus", radius=0.5)
    box = Box(half_edge=0.5, resolution=8)
    volume = FeatureVolume(values=torch.randn(1, 8, 8, 8, 4), box=box)
    directions = torch.nn.functional.normalize(torch.randn(1, 200, 3), dim=-1)
    inside, outside = net(directions * 0.1, volume), net(directions * 0.45, volume)
    assert (inside < 0).all() and (outside > 0).all()
    assert (net(directions * 0.25, volume)).abs().mean() < 0.05


def test_lookup_is_linear_interpolation() -> None:
    """A linear function is reproduced exactly between the outermost nodes, and held beyond them."""
    box = Box(half_edge=0.5, resolution=6)
    slope = torch.tensor([1.0, -2.0, 0.5])
    volume = FeatureVolume(values=(box.nodes() @ slope)[None, ..., None], box=box)
    points = (torch.rand(1, 100, 3) * 2 - 1) * (0.5 - box.voxel_size / 2)
    assert torch.allclose(volume.lookup(points)[..., 0], points @ slope, atol=1e-6)
    corners, weights, slopes = volume.lookup_corners(points)
    assert torch.allclose((corners * weights[..., None]).sum(-2)[..., 0], points @ slope, atol=1e-6)
    assert torch.allclose((corners * slopes).sum(-2), slope.expand_as(points), atol=1e-4)
    beyond = torch.tensor([[[9.0, 0.0, 0.0]]])
    edge = torch.tensor([[[0.5 - box.voxel_size / 2, 0.0, 0.0]]])
    assert torch.allclose(volume.lookup(beyond), volume.lookup(edge))


def test_a_sphere_needs_softplus() -> None:
    with pytest.raises(InputError, match="softplus"):
        SdfNet(latent_channels=4, prior=False, activation="silu")
