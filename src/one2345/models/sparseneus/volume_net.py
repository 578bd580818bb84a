"""The published 3D network: convolutions that exist at listed sites only, done densely with masks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..norms import BatchNorm

LEVELS = 4


@dataclass(frozen=True)
class Sites:
    """Active positions of a dense grid (nx, ny, nz) bool; what is computed elsewhere is zero."""

    mask: Tensor

    @cached_property
    def index(self) -> Tensor:
        """Flat positions (m), ascending."""
        return self.mask.flatten().nonzero()[:, 0]

    def coarser(self, *, odd: bool) -> Sites:
        """Sites of half the resolution: those with an active one in their 3^3 neighbourhood.

        Coarse site i lies at fine position 2 i. odd: see `Quirks.odd_sites`; a level of 2 m + 1 positions then has
        m + 1 coarser ones, and none below the smallest active position of each axis.
        """
        coarse = F.max_pool3d(self.mask[None, None].float(), 3, stride=2, padding=1)[0, 0] > 0
        if odd and self.mask.any():
            for axis in range(3):
                used = self.mask.any(tuple(a for a in range(3) if a != axis))
                lowest = int(used.nonzero()[0])
                below = torch.arange(coarse.shape[axis], device=coarse.device) * 2 < lowest
                coarse = coarse & ~below.reshape([-1 if a == axis else 1 for a in range(3)])
        return Sites(coarse)


class SiteUnit(nn.Module):
    """3x3x3 convolution, batch norm over the sites, ReLU: values (1, c, ...) at the sites `to`, zero elsewhere.

    transposed: from coarse to fine sites, with the taps of the strided convolution that goes the other way.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, transposed: bool = False) -> None:
        super().__init__()
        options = {"kernel_size": 3, "stride": stride, "padding": 1, "bias": False}
        kind = nn.ConvTranspose3d if transposed else nn.Conv3d
        self.conv = kind(inputs, outputs, **options)
        self.norm = BatchNorm(outputs)

    def forward(self, x: Tensor, to: Sites) -> Tensor:
        if isinstance(self.conv, nn.ConvTranspose3d):
            x = self.conv(x, output_size=to.mask.shape)
        else:
            x = self.conv(x)
        index = to.index
        rows = x.permute(0, 2, 3, 4, 1).reshape(-1, x.shape[1])
        values = F.relu(self.norm(rows.index_select(0, index)), inplace=True)
        filled = torch.zeros_like(rows, dtype=values.dtype).index_copy_(0, index, values)
        return filled.view(1, *to.mask.shape, -1).permute(0, 4, 1, 2, 3)


class SiteVolumeNet(nn.Module):
    """U-Net over the sites of a cost volume (the cost regularisation of SparseNeuS, arXiv 2206.05737).

    channels: width per resolution, fine to coarse. Statistics run over one object's sites of a level.
    odd_sites: see `Quirks`.
    """

    def __init__(
        self,
        *,
        in_channels: int = 32,
        channels: tuple[int, int, int, int] = (16, 16, 32, 64),
        odd_sites: bool = False,
    ) -> None:
        super().__init__()
        a, b, c, d = channels
        self.odd_sites = odd_sites
        self.conv0 = SiteUnit(in_channels, a)
        self.conv1, self.conv2 = SiteUnit(a, b, stride=2), SiteUnit(b, b)
        self.conv3, self.conv4 = SiteUnit(b, c, stride=2), SiteUnit(c, c)
        self.conv5, self.conv6 = SiteUnit(c, d, stride=2), SiteUnit(d, d)
        self.up3 = SiteUnit(d, c, stride=2, transposed=True)
        self.up2 = SiteUnit(c, b, stride=2, transposed=True)
        self.up1 = SiteUnit(b, a, stride=2, transposed=True)

    def levels(self, active: Tensor) -> list[Sites]:
        """Sites of the four resolutions, from the active voxels (n, n, n) bool; n must be a multiple of 8."""
        if any(edge % 8 for edge in active.shape):
            raise ValueError(f"the volume's resolution must be a multiple of 8, not {tuple(active.shape)}")
        found = [Sites(F.pad(active, (0, 1) * 3) if self.odd_sites else active)]
        while len(found) < LEVELS:
            found.append(found[-1].coarser(odd=self.odd_sites))
        return found

    def forward(self, volume: Tensor, active: Tensor) -> Tensor:
        """volume (c, n, n, n), zero where not active (n, n, n) -> features (channels[0], n, n, n), zero there too."""
        n = active.shape[0]
        fine, half, quarter, eighth = self.levels(active)
        rows = volume.permute(1, 2, 3, 0)
        if self.odd_sites:
            rows = F.pad(rows, (0, 0) + (0, 1) * 3)
        # The batch's stride counts in how torch tells layouts apart, so it is added before the axes are moved.
        x = rows[None].permute(0, 4, 1, 2, 3).contiguous(memory_format=torch.channels_last_3d)
        x0 = self.conv0(x, fine)
        x1 = self.conv2(self.conv1(x0, half), half)
        x2 = self.conv4(self.conv3(x1, quarter), quarter)
        x3 = self.conv6(self.conv5(x2, eighth), eighth)
        x2 = x2 + self.up3(x3, quarter)
        x1 = x1 + self.up2(x2, half)
        return (x0 + self.up1(x1, fine))[0, :, :n, :n, :n]
