"""Pictures to 56 channels at full resolution, and those to 16."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ActivatedNorm(nn.BatchNorm2d):
    """Batch statistics, gain |weight| + eps, leaky ReLU (in-place activated batch normalisation, arXiv 1712.02616)."""

    def forward(self, x: Tensor) -> Tensor:
        gain = self.weight.abs() + self.eps
        y = F.batch_norm(
            x, self.running_mean, self.running_var, gain, self.bias, True, self.momentum, self.eps
        )
        return F.leaky_relu(y, 0.01)


def unit(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, ActivatedNorm(outputs))


class Pyramid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Sequential(unit(3, 8), unit(8, 8))
        self.conv1 = nn.Sequential(unit(8, 16, 5, 2), unit(16, 16), unit(16, 16))
        self.conv2 = nn.Sequential(unit(16, 32, 5, 2), unit(32, 32), unit(32, 32))
        self.top = nn.Conv2d(32, 32, 1)
        self.lateral1, self.lateral0 = nn.Conv2d(16, 32, 1), nn.Conv2d(8, 32, 1)
        self.smooth1, self.smooth0 = nn.Conv2d(32, 16, 3, padding=1), nn.Conv2d(32, 8, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """images (v, 3, h, w) -> (v, 56, h, w): 32 channels of the coarse level, 16 of the middle, 8 of the fine."""
        x0 = self.conv0(images)
        x1 = self.conv1(x0)
        x2 = self.conv2(x1)
        coarse = self.top(x2)
        sum1 = enlarge(coarse, 2) + self.lateral1(x1)
        sum0 = enlarge(sum1, 2) + self.lateral0(x0)
        middle, fine = self.smooth1(sum1), self.smooth0(sum0)
        return torch.cat([enlarge(coarse, 4), enlarge(middle, 2), fine], 1)


def enlarge(maps: Tensor, factor: int) -> Tensor:
    return F.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=True)
