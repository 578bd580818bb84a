"""The 2D features: the plain pyramid, whatever the batch, in one row of memory per pixel."""

import pytest
import torch
from torch.nn import functional as F

from one2345.models import FeatureNet


def plain(net: FeatureNet, images: torch.Tensor) -> list[torch.Tensor]:
    def enlarge(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)

    x0 = net.conv0(images)
    x1 = net.conv1(x0)
    f2 = net.top(net.conv2(x1))
    f1 = enlarge(f2, x1) + net.lateral1(x1)
    f0 = enlarge(f1, x0) + net.lateral0(x0)
    return [net.smooth0(f0), net.smooth1(f1), f2]


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_values_and_gradients_are_those_of_the_plain_pyramid(norm: str) -> None:
    torch.manual_seed(0)
    net = FeatureNet(in_channels=4, norm=norm).double()
    images = torch.rand(3, 4, 16, 24, dtype=torch.float64, requires_grad=True)
    wanted, found = plain(net, images), net(images.contiguous(memory_format=torch.channels_last))
    probes = [torch.randn_like(x) for x in wanted]
    inputs = [images, *net.parameters()]
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, want)
        assert got.is_contiguous(memory_format=torch.channels_last)
    want = torch.autograd.grad([(x * p).sum() for x, p in zip(wanted, probes, strict=True)], inputs)
    got = torch.autograd.grad([(x * p).sum() for x, p in zip(found, probes, strict=True)], inputs)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


def test_features_of_an_image_do_not_depend_on_the_others() -> None:
    torch.manual_seed(0)
    net, images = FeatureNet(in_channels=3), torch.rand(3, 3, 16, 16)
    for together, alone in zip(net(images), net(images[1:2]), strict=True):
        torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)


def test_statistics_of_batch_norm_run_over_all_images() -> None:
    torch.manual_seed(0)
    net, images = FeatureNet(in_channels=3, norm="batch"), torch.rand(3, 3, 16, 16)
    images[2] *= 5
    assert (net(images)[0][:1] - net(images[:1])[0]).abs().max() > 1e-2
