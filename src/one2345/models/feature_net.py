"""2D feature pyramid of the source views (One-2-3-45, arXiv 2306.16928, after SparseNeuS, arXiv 2206.05737)."""

from __future__ import annotations

from collections.abc import Sequence

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
        x0 = self.conv0(images)
        x1 = self.conv1(x0)
        x2 = self.conv2(x1)
        f2 = self.top(x2)
        f1 = _enlarge(f2, x1) + self.lateral1(x1)
        f0 = _enlarge(f1, x0) + self.lateral0(x0)
        return self.smooth0(f0), self.smooth1(f1), f2


def _down(inputs: int, outputs: int, norm: Norm) -> nn.Sequential:
    return nn.Sequential(
        conv2d_unit(inputs, outputs, norm=norm, kernel=5, stride=2),
        conv2d_unit(outputs, outputs, norm=norm),
        conv2d_unit(outputs, outputs, norm=norm),
    )


def _enlarge(maps: Tensor, like: Tensor) -> Tensor:
    return torch.nn.functional.interpolate(maps, size=like.shape[-2:], mode="bilinear", align_corners=True)
