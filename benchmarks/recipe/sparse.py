"""The 3D network over lists of coordinates: 27 times gather, multiply, scatter per layer."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

OFFSETS = [(x, y, z) for z, y, x in product((-1, 0, 1), repeat=3)]
MIDDLE = 13
BORDER = 8
"""How far sites and taps of the coarsest level reach beyond those of the finest."""
Map = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Sites:
    """Coordinates (m, 3) of one level, multiples of stride, in ascending order of their keys; edge: of the cube from
    -BORDER on that all levels and their taps lie in."""

    at: Tensor
    stride: int
    edge: int

    @staticmethod
    def of(at: Tensor) -> Sites:
        """The finest level's."""
        return Sites(at, 1, int(at.max()) + 1 + 3 * BORDER)

    def key(self, at: Tensor) -> Tensor:
        x, y, z = (at + BORDER).unbind(-1)
        return (x * self.edge + y) * self.edge + z

    def table(self) -> Tensor:
        """The row of every key, -1 where there is no site: what a hash table answers."""
        rows = self.at.new_full((self.edge**3,), -1)
        rows[self.key(self.at)] = torch.arange(len(self.at), device=self.at.device)
        return rows


def coarser(fine: Sites) -> Sites:
    """Multiples of twice the stride with a site among the 27 around, none below the lowest site of an axis."""
    stride, edge = 2 * fine.stride, fine.edge
    found = torch.zeros(edge**3, dtype=torch.bool, device=fine.at.device)
    for offset in OFFSETS:
        near = fine.at + fine.at.new_tensor(offset) * fine.stride
        found[fine.key(near[(near % stride == 0).all(-1) & (near >= fine.at.amin(0)).all(-1)])] = True
    keys = found.nonzero()[:, 0]
    return Sites(torch.stack([keys // edge**2, keys // edge % edge, keys % edge], -1) - BORDER, stride, edge)


def kernel_map(source: Sites, target: Sites) -> Map:
    """Per tap the rows of `target` and of `source` that it connects: target + offset = source."""
    table, keys, pairs = source.table(), source.key(target.at), []
    for x, y, z in OFFSETS:
        place = table[keys + ((x * source.edge + y) * source.edge + z) * source.stride]
        rows = (place >= 0).nonzero()[:, 0]
        pairs.append((rows, place[rows]))
    return pairs


def convolve(x: Tensor, kernel: Tensor, pairs: Map, count: int, *, same: bool, back: bool) -> Tensor:
    """Rows (m, in) by taps (27, in, out) to `count` rows. same: the middle tap connects every row to itself.
    back: through the map the other way."""
    total = x @ kernel[MIDDLE] if same else x.new_zeros(count, kernel.shape[2])
    for tap, (into, source) in enumerate(pairs):
        if same and tap == MIDDLE:
            continue
        if back:
            into, source = source, into
        total.index_add_(0, into, x.index_select(0, source) @ kernel[tap])
    return total


def network(net: nn.Module, rows: Tensor, at: Tensor) -> Tensor:
    """Rows (m, 32) at active voxels (m, 3), sorted, to (m, 16). The maps are made anew: the sites are the picture's."""
    levels = [Sites.of(at)]
    for _ in range(3):
        levels.append(coarser(levels[-1]))
    same = [kernel_map(level, level) for level in levels]
    down = [kernel_map(levels[i], levels[i + 1]) for i in range(3)]

    def layer(
        name: str, x: Tensor, level: int, pairs: Map, *, same: bool = False, back: bool = False
    ) -> Tensor:
        unit = net.get_submodule(name)
        y = convolve(x, taps(unit.conv), pairs, len(levels[level].at), same=same, back=back)
        return normalise(unit.norm, y)

    x0 = layer("conv0", rows, 0, same[0], same=True)
    x1 = layer("conv2", layer("conv1", x0, 1, down[0]), 1, same[1], same=True)
    x2 = layer("conv4", layer("conv3", x1, 2, down[1]), 2, same[2], same=True)
    x3 = layer("conv6", layer("conv5", x2, 3, down[2]), 3, same[3], same=True)
    x2 = x2 + layer("up3", x3, 2, down[2], back=True)
    x1 = x1 + layer("up2", x2, 1, down[1], back=True)
    return x0 + layer("up1", x1, 0, down[0], back=True)


def taps(conv: nn.Module) -> Tensor:
    """Weight of a dense convolution as taps (27, in, out), x fastest."""
    weight: Tensor = conv.weight
    if isinstance(conv, nn.ConvTranspose3d):
        weight = weight.transpose(0, 1)
    return weight.permute(4, 3, 2, 1, 0).reshape(27, weight.shape[1], weight.shape[0]).contiguous()


def normalise(norm: nn.BatchNorm1d, rows: Tensor) -> Tensor:
    """Batch norm over rows (m, c), ReLU."""
    y = F.batch_norm(
        rows, norm.running_mean, norm.running_var, norm.weight, norm.bias, True, norm.momentum, norm.eps
    )
    return F.relu(y)
