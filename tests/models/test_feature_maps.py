"""Colour maps and the convolution beside them against the plain operations."""

import torch
from torch.nn import functional as F

from one2345.models.feature_maps import colour_maps, fuse


def rows_are_pixels(maps: torch.Tensor) -> bool:
    return maps.permute(0, 2, 3, 1).is_contiguous()


def test_values_and_gradients_equal_the_plain_operations() -> None:
    torch.manual_seed(0)
    images = torch.rand(3, 3, 12, 16, dtype=torch.float64, requires_grad=True)
    levels = [
        torch.randn(3, c, h, w, dtype=torch.float64, requires_grad=True)
        for c, h, w in ((5, 3, 4), (4, 6, 8), (2, 12, 16))
    ]
    kernel = torch.randn(6, 11, 3, 3, dtype=torch.float64, requires_grad=True)
    enlarged = [F.interpolate(x, size=(12, 16), mode="bilinear", align_corners=True) for x in levels]
    wanted = torch.cat([images, *enlarged], 1), F.conv2d(torch.cat(enlarged, 1), kernel, padding=1)
    found = fuse(images, levels, kernel)
    assert rows_are_pixels(found[0]) and rows_are_pixels(found[1])
    probes = [torch.randn_like(x) for x in wanted]
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, want)
    inputs = [images, kernel, *levels]
    want = torch.autograd.grad([(x * p).sum() for x, p in zip(wanted, probes, strict=True)], inputs)
    got = torch.autograd.grad([(x * p).sum() for x, p in zip(found, probes, strict=True)], inputs)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


def test_half_precision_levels_keep_their_type_and_their_gradients() -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, 8, 8)
    levels = [torch.randn(2, 4, 4, 4, requires_grad=True), torch.randn(2, 2, 8, 8, requires_grad=True)]
    kernel = torch.randn(3, 6, 3, 3, requires_grad=True)
    exact = fuse(images, levels, kernel)
    rough = fuse(images, [x.bfloat16() for x in levels], kernel)
    assert rough[0].dtype == torch.float32 and rough[1].dtype == torch.bfloat16
    for got, want in zip(rough, exact, strict=True):
        torch.testing.assert_close(got.float(), want, atol=0.1, rtol=0.02)
    want = torch.autograd.grad(exact[0].square().mean() + exact[1].square().mean(), [kernel, *levels])
    got = torch.autograd.grad(rough[0].square().mean() + rough[1].float().square().mean(), [kernel, *levels])
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, atol=0.05 * float(b.abs().max()), rtol=0.05)


def test_colour_maps_have_one_row_per_pixel() -> None:
    images, features = torch.rand(2, 3, 4, 5), torch.randn(2, 6, 4, 5)
    maps = colour_maps(images, features)
    assert rows_are_pixels(maps)
    assert torch.equal(maps, torch.cat([images, features], 1))
