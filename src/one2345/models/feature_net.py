"""2D feature pyramid of the source views (One-2-3-45, arXiv 2306.16928, after SparseNeuS, arXiv 2206.05737)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .layers import Norm, conv2d_unit


class FeatureNet(nn.Module):
    """Feature pyramid: three levels, each refined top-down by the coarser ones.

    in_channels: of the images (3 for RGB, 4 with the mask). channels: bottom-up width per level, fine
    to coarse. out_channels: width of the returned maps; that of the coarsest level is `channels[-1]`.
    """

    def __init__(
        self,
        *,
        in_channels: int = 4,
        channels: Sequence[int] = (8, 16, 32),
        out_channels: Sequence[int] = (8, 16),
        norm: Norm = "group",
    ) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.norm, self.in_channels = norm, in_channels
        self.out_channels = (*out_channels, coarse)
        self.conv0 = nn.Sequential(
            conv2d_unit(in_channels, fine, norm=norm), conv2d_unit(fine, fine, norm=norm)
        )
        self.conv1 = _down(fine, middle, norm)
        self.conv2 = _down(middle, coarse, norm)
        self.top = nn.Conv2d(coarse, coarse, 1)
        self.lateral1 = nn.Conv2d(middle, coarse, 1)
        self.lateral0 = nn.Conv2d(fine, coarse, 1)
        self.smooth1 = nn.Conv2d(coarse, out_channels[1], 3, padding=1)
        self.smooth0 = nn.Conv2d(coarse, out_channels[0], 3, padding=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """images (n, c, h, w) -> maps (n, o0, h, w), (n, o1, h/2, w/2), (n, o2, h/4, w/4)."""
        levels = self._bottom_up(images) if self.norm == "batch" else _each(self._bottom_up, images)
        return _each(self._top_down, *levels)

    def _bottom_up(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x0 = self.conv0(images)
        x1 = self.conv1(x0)
        return x0, x1, self.conv2(x1)

    def _top_down(self, x0: Tensor, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        f2 = _pointwise(self.top, x2)
        f1 = _enlarge(f2, x1).add_(_pointwise(self.lateral1, x1))
        f0 = _enlarge(f1, x0).add_(_pointwise(self.lateral0, x0))
        return self.smooth0(f0), self.smooth1(f1), f2


Three = tuple[Tensor, Tensor, Tensor]


def _each(function: Callable[..., Three], *maps: Tensor) -> Three:
    """`function` of maps (n, ...), on a CPU one image at a time: what lies between then stays in its cache."""
    if maps[0].device.type != "cpu" or len(maps[0]) == 1:
        return function(*maps)
    found = [function(*one) for one in zip(*(x.split(1) for x in maps), strict=True)]
    fine, middle, coarse = (torch.cat(parts) for parts in zip(*found, strict=True))
    return fine, middle, coarse


def _pointwise(convolution: nn.Conv2d, maps: Tensor) -> Tensor:
    """A 1x1 convolution as the matrix product that it is for channels-last maps."""
    weight = convolution.weight[:, :, 0, 0]
    return nn.functional.linear(maps.permute(0, 2, 3, 1), weight, convolution.bias).permute(0, 3, 1, 2)


def _down(inputs: int, outputs: int, norm: Norm) -> nn.Sequential:
    return nn.Sequential(
        conv2d_unit(inputs, outputs, norm=norm, kernel=5, stride=2),
        conv2d_unit(outputs, outputs, norm=norm),
        conv2d_unit(outputs, outputs, norm=norm),
    )


def _enlarge(maps: Tensor, like: Tensor) -> Tensor:
    return torch.nn.functional.interpolate(maps, size=like.shape[-2:], mode="bilinear", align_corners=True)
