"""The same 3D network as dense convolutions whose results count at the listed sites only."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .sparse import normalise


class SiteUnit(nn.Module):
    """Convolution and norm of one layer: also what `sparse` takes its weights from."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, *, transposed: bool = False) -> None:
        super().__init__()
        kind = nn.ConvTranspose3d if transposed else nn.Conv3d
        self.conv = kind(inputs, outputs, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (1, c, ...) -> values at the sites of mask (...), zero elsewhere."""
        y = self.conv(x)[0].permute(1, 2, 3, 0)
        rows, sites = y.reshape(-1, y.shape[-1]), mask.flatten().nonzero()[:, 0]
        values = normalise(self.norm, rows.index_select(0, sites))
        filled = torch.zeros_like(rows).index_copy(0, sites, values)
        return filled.view_as(y).permute(3, 0, 1, 2)[None]


class VolumeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv0 = SiteUnit(32, 16)
        self.conv1, self.conv2 = SiteUnit(16, 16, 2), SiteUnit(16, 16)
        self.conv3, self.conv4 = SiteUnit(16, 32, 2), SiteUnit(32, 32)
        self.conv5, self.conv6 = SiteUnit(32, 64, 2), SiteUnit(64, 64)
        self.up3 = SiteUnit(64, 32, 2, transposed=True)
        self.up2 = SiteUnit(32, 16, 2, transposed=True)
        self.up1 = SiteUnit(16, 16, 2, transposed=True)

    def forward(self, rows: Tensor, at: Tensor, resolution: int) -> Tensor:
        """Rows (m, 32) at voxels (m, 3) of a grid with `resolution` of them per axis, to (m, 16)."""
        n = resolution + 1  # the coarse levels have sites one beyond the far faces
        x, y, z = at.unbind(-1)
        volume = rows.new_zeros(n, n, n, rows.shape[1])
        volume[x, y, z] = rows
        mask = torch.zeros(n, n, n, dtype=torch.bool, device=rows.device)
        mask[x, y, z] = True
        masks = [mask]
        for _ in range(3):
            masks.append(_coarser(masks[-1]))
        x0 = self.conv0(volume.permute(3, 0, 1, 2)[None], masks[0])
        x1 = self.conv2(self.conv1(x0, masks[1]), masks[1])
        x2 = self.conv4(self.conv3(x1, masks[2]), masks[2])
        x3 = self.conv6(self.conv5(x2, masks[3]), masks[3])
        x2 = x2 + self.up3(x3, masks[2])
        x1 = x1 + self.up2(x2, masks[1])
        x0 = x0 + self.up1(x1, masks[0])
        return x0[0].permute(1, 2, 3, 0)[x, y, z]


def _coarser(mask: Tensor) -> Tensor:
    coarse = F.max_pool3d(mask[None, None].float(), 3, 2, 1)[0, 0] > 0
    for axis in range(3):
        lowest = _lowest(mask, axis)
        below = torch.arange(coarse.shape[axis], device=mask.device) * 2 < lowest
        coarse = coarse & ~below.reshape([-1 if a == axis else 1 for a in range(3)])
    return coarse


def _lowest(mask: Tensor, axis: int) -> int:
    return int(mask.movedim(axis, 0).flatten(1).any(1).nonzero()[0])
