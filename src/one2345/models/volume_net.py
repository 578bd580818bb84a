"""3D network that turns the cost volume into a volume of shape features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from .layers import Norm, conv3d_unit
from .row_conv import Voxels


class VolumeNet(nn.Module):
    """Dense 3D U-Net with additive skips; four resolutions (spec of SparseNeuS's cost regularisation).

    in_channels: of the cost volume. channels: width per resolution, fine to coarse; out_channels is the first.
    The resolution of the volume must be a multiple of 8.
    """

    def __init__(
        self, *, in_channels: int = 35, channels: Sequence[int] = (16, 16, 32, 64), norm: Norm = "group"
    ) -> None:
        super().__init__()
        a, b, c, d = channels
        self.in_channels, self.out_channels = in_channels, a
        self.conv0 = conv3d_unit(in_channels, a, norm=norm)
        self.down1 = nn.Sequential(conv3d_unit(a, b, norm=norm, stride=2), conv3d_unit(b, b, norm=norm))
        self.down2 = nn.Sequential(conv3d_unit(b, c, norm=norm, stride=2), conv3d_unit(c, c, norm=norm))
        self.down3 = nn.Sequential(conv3d_unit(c, d, norm=norm, stride=2), conv3d_unit(d, d, norm=norm))
        self.up3 = conv3d_unit(d, c, norm=norm, stride=2, transposed=True)
        self.up2 = conv3d_unit(c, b, norm=norm, stride=2, transposed=True)
        self.up1 = conv3d_unit(b, a, norm=norm, stride=2, transposed=True)

    def forward(self, volume: Tensor | Voxels) -> Tensor:
        """volume (b, c, n, n, n) -> (b, channels[0], n, n, n). Voxels save most operations of the first gradients on
        a CPU."""
        edges = (volume.edge,) if isinstance(volume, Voxels) else volume.shape[-3:]
        if any(edge % 8 for edge in edges):
            raise ValueError(f"the volume's resolution must be a multiple of 8, not {tuple(edges)}")
        if isinstance(volume, Voxels):
            x0 = self.conv0[1:](volume.convolved(cast(nn.Conv3d, self.conv0[0]).weight))
        else:
            x0 = self.conv0(volume.contiguous(memory_format=torch.channels_last_3d))
        x1 = self.down1(x0)
        x2 = self.down2(x1)
        x3 = self.down3(x2)
        return x0 + self.up1(x1 + self.up2(x2 + self.up3(x3)))
