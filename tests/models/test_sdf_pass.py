"""The head in pieces against plain operations; what it keeps; that a compiler can follow it."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from one2345.geometry import Box, orbit
from one2345.models import FeatureVolume, SdfNet
from one2345.models.activations import BETA, activate_, activate_with_slope_, bend_


class Planes:
    """Three planes for each of two objects: distances that are exact and have constant gradients."""

    def __init__(self) -> None:
        self.normals, self.offsets = torch.randn(2, 3, 3), torch.randn(2, 1, 3)

    def distances(self, points_world: Tensor) -> Tensor:
        return points_world @ self.normals + self.offsets

    def distances_and_gradients(self, points_world: Tensor) -> tuple[Tensor, Tensor]:
        slopes = self.normals.mT[:, None].expand(-1, points_world.shape[1], -1, -1)
        return self.distances(points_world), slopes


def _field(*, prior: bool, strict: bool = False, mixed: bool = False) -> tuple[SdfNet, FeatureVolume]:
    torch.manual_seed(0)
    net = SdfNet(
        latent_channels=5, hidden=32, octaves=3, prior=prior, activation="silu" if prior else "softplus",
        outputs=4, weight_norm=not prior,
    )  # fmt: skip
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.3)
    box = Box(half_edge=0.45, resolution=7, pose=orbit(40.0, 25.0, 0.1))
    values = torch.randn(2, 7, 7, 7, 7 if mixed else 5).requires_grad_()
    return net, FeatureVolume(values=values, box=box, strict=strict, prior=Planes() if mixed else None)


def _plain(net: SdfNet, volume: FeatureVolume, points: Tensor) -> tuple[Tensor, Tensor]:
    """Distance and gradient by autograd through corner values, which it can differentiate twice."""

    class Smooth(FeatureVolume):
        def lookup(self, points_world: Tensor) -> Tensor:
            corners, weights, _ = self.lookup_corners(points_world)
            return (weights[..., None] * corners).sum(-2)

    points = points.clone().requires_grad_()
    smooth = Smooth(values=volume.values, box=volume.box, strict=volume.strict, prior=volume.prior)
    sdf = net(points, smooth)
    return sdf, torch.autograd.grad(sdf.sum(), points, create_graph=True)[0]


@pytest.mark.parametrize(
    ("prior", "strict", "mixed"), [(True, False, False), (False, True, False), (True, False, True)]
)
def test_many_pieces_of_two_objects_equal_plain_operations(prior: bool, strict: bool, mixed: bool) -> None:
    net, volume = _field(prior=prior, strict=strict, mixed=mixed)
    points = torch.rand(2, 9000, 3) * 1.4 - 0.7  # a piece holds 8192 points: the second one has both objects
    upstream, target = torch.randn(2, 9000), torch.randn(2, 9000, 3)
    leaves = [*net.parameters(), volume.values]

    def gradients(sdf: Tensor, gradient: Tensor | None) -> list[Tensor]:
        loss = (sdf * upstream).mean()
        if gradient is not None:
            loss = loss + (gradient - target).square().mean()
        found = torch.autograd.grad(loss, leaves, allow_unused=True)
        return [torch.zeros_like(x) if g is None else g for x, g in zip(leaves, found, strict=True)]

    want_sdf, want_gradient = _plain(net, volume, points)
    sdf, gradient = net.sdf_and_gradient(points, volume)
    torch.testing.assert_close(sdf, want_sdf, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradient, want_gradient, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(net(points, volume), want_sdf, atol=1e-5, rtol=1e-5)
    alone = net(points, volume)
    for got, want in (
        (gradients(sdf, gradient), gradients(want_sdf, want_gradient)),
        (gradients(alone, None), gradients(_plain(net, volume, points)[0], None)),
    ):
        for a, b in zip(got, want, strict=True):
            assert (a - b).abs().max() <= 1e-3 * b.abs().max().clamp_min(1e-3)


def test_nothing_is_kept_but_the_inputs() -> None:
    net, volume = _field(prior=True)
    points = torch.rand(2, 5000, 3) - 0.5
    kept: dict[int, int] = {}

    def note(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        net.sdf_and_gradient(points, volume)
        net(points, volume)
    inputs = sum(x.nbytes for x in (points, volume.values, *net.parameters()))
    assert sum(kept.values()) <= inputs


def test_a_compiler_follows_it_without_a_break() -> None:
    net, volume = _field(prior=False)
    points = torch.rand(2, 64, 3) - 0.5

    def loss(values: Tensor) -> Tensor:
        here = FeatureVolume(values=values, box=volume.box)
        sdf, gradient = net.sdf_and_gradient(points, here)
        return (gradient.norm(dim=-1) - 1).square().mean() + sdf.mean() + net(points, here).abs().mean()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    (want,) = torch.autograd.grad(loss(volume.values), volume.values)
    (got,) = torch.autograd.grad(compiled(volume.values), volume.values)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("kind", ["softplus", "silu"])
def test_activations_and_their_derivatives(kind: str) -> None:
    x = torch.linspace(-2, 2, 4001, dtype=torch.float64)
    exact = x.clone().requires_grad_()
    y = (BETA * exact).exp().log1p() / BETA if kind == "softplus" else F.silu(exact)
    (slope,) = torch.autograd.grad(y.sum(), exact, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), exact)
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 3e-7)):
        near = {"rtol": 4 * tolerance, "atol": tolerance, "check_dtype": False}
        got, got_slope, scratch = (x.clone().to(dtype) for _ in range(3))
        torch.testing.assert_close(activate_(kind, x.clone().to(dtype), scratch.clone()), y.detach(), **near)
        activate_with_slope_(kind, got, got_slope, scratch)
        torch.testing.assert_close(got, y.detach(), **near)
        torch.testing.assert_close(got_slope, slope.detach(), **near)
        got_bend = bend_(kind, got, got_slope, scratch)
        torch.testing.assert_close(
            got_bend, bend, rtol=4e2 * tolerance, atol=4e2 * tolerance, check_dtype=False
        )


def test_softplus_of_what_its_exponential_cannot_hold() -> None:
    x = torch.tensor([-1e30, -1e3, 1e3, 1e30])
    slope = torch.empty_like(x)
    assert activate_with_slope_("softplus", x, slope, torch.empty_like(x)).tolist() == [
        0.0,
        0.0,
        1e3,
        float(x[3]),
    ]
    assert slope.tolist() == [0.0, 0.0, 1.0, 1.0]
