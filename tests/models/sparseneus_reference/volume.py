"""The cost volume: the fixture's quirks 4 and 5."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CostVolume:
    """count (g, g, g): views that see a voxel, axes x, y, z. active: seen by more than min(1, views - 1).

    sites (n, 3): the active voxels, in order of the flattened index. cost (n, 32): variance 16, mean 16.
    leaks, leaks_behind (g, g, g): views that add a feature to an active voxel they don't see, of these with the
    voxel behind the camera.
    """

    count: Tensor
    active: Tensor
    sites: Tensor
    cost: Tensor
    leaks: Tensor
    leaks_behind: Tensor


def voxel_size(grid: int) -> float:
    """2 / (grid - 1) with the eight decimals of the published configuration (0.02105263 for 96)."""
    return round(2 / (grid - 1), 8)


def read_picture(picture: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Bilinear value (p, c) of a picture (c, h, w) at pixel indices x, y (p): nodes at integers, zero outside."""
    c, h, w = picture.shape
    rows = picture.reshape(c, h * w).T
    x, y = x.clamp(-2, w + 1), y.clamp(-2, h + 1)  # as far outside as can be told
    left, top = x.detach().floor(), y.detach().floor()
    total = picture.new_zeros(len(x), c)
    for i, wx in ((left, left + 1 - x), (left + 1, x - left)):
        for j, wy in ((top, top + 1 - y), (top + 1, y - top)):
            inside = (i >= 0) & (i <= w - 1) & (j >= 0) & (j <= h - 1)
            index = j.clamp(0, h - 1).long() * w + i.clamp(0, w - 1).long()
            total = total + rows[index] * (wx * wy * inside)[:, None]
    return total


def voxels(grid: int) -> Tensor:
    """Indices (g^3, 3), the last axis fastest."""
    axis = torch.arange(grid)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)


def cost_volume(compressed: Tensor, affine: Tensor, *, grid: int) -> CostVolume:
    """Lift compressed maps (n, 16, h, h) of the n sources, whose K w2c are affine (n, 4, 4).

    A picture's border is where its outermost nodes are; a depth in [0, 1e-6) counts as 1e-6. Features enter the sums
    seen or not, only the count (plus 1e-5) is of those seen.
    """
    views, size = len(compressed), compressed.shape[-1]
    index = voxels(grid)
    points = -1 + index.double() * voxel_size(grid)
    projected = [points @ matrix[:3, :3].T + matrix[:3, 3] for matrix in affine]
    positions, seen, leaking, behind = [], [], [], []
    for q in projected:
        depth = torch.where((q[:, 2] >= 0) & (q[:, 2] < 1e-6), torch.full_like(q[:, 2], 1e-6), q[:, 2])
        u, v = q[:, 0] / depth, q[:, 1] / depth
        x, y = 2 * u / (size - 1) - 1, 2 * v / (size - 1) - 1
        mask = (x.abs() <= 1) & (y.abs() <= 1) & (depth > 0)
        touches = (u > -1) & (u < size) & (v > -1) & (v < size)
        positions.append((u, v))
        seen.append(mask)
        leaking.append(touches & ~mask)
        behind.append(touches & ~mask & (depth < 0))
    count = torch.stack(seen).sum(dim=0)
    active = count > min(1, views - 1)

    total = squares = compressed.new_zeros(int(active.sum()), compressed.shape[1])
    for picture, (u, v) in zip(compressed, positions, strict=True):
        feature = read_picture(picture, u[active], v[active])
        total, squares = total + feature, squares + feature**2
    n = count[active].double()[:, None] + 1e-5
    mean = total / n
    variance = squares / n - mean**2
    cube = (grid, grid, grid)
    return CostVolume(
        count=count.reshape(cube),
        active=active.reshape(cube),
        sites=index[active],
        cost=torch.cat([variance, mean], dim=1),
        leaks=(torch.stack(leaking).sum(dim=0) * active).reshape(cube),
        leaks_behind=(torch.stack(behind).sum(dim=0) * active).reshape(cube),
    )
