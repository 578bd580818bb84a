"""A 3x3x3 convolution of a volume that is one constant vector but for some voxels, as a cost volume is.

Forward it is dense. Backward only the voxels that differ from the constant are looked at: what arrives at a voxel from
its 27 neighbours is gathered once, and both gradients are matrix products of it. Of the constant the weights learn by
sums over boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

GATHERED = 2**22
"""Values that are gathered at once, so that they stay in a CPU's cache."""


@dataclass(frozen=True)
class Voxels:
    """b volumes of edge^3 voxels and c channels: values `rows` (a, c) at (a) flat indices `at`, each once, `rest` (c)
    everywhere else."""

    rows: Sequence[Tensor]
    at: Sequence[Tensor]
    rest: Tensor
    edge: int

    def dense(self) -> Tensor:
        """(b, c, n, n, n), channels-last."""
        volumes = [
            _filled(rows, at, self.rest, self.edge) for rows, at in zip(self.rows, self.at, strict=True)
        ]
        return torch.cat(volumes)

    def convolved(self, weight: Tensor) -> Tensor:
        """Convolution (b, k, n, n, n) with weight (k, c, 3, 3, 3), zero beyond the border."""
        found = [
            _RowConv.apply(rows, at, self.rest, weight, self.edge)
            for rows, at in zip(self.rows, self.at, strict=True)
        ]
        return torch.cat(found)


def _filled(rows: Tensor, at: Tensor, rest: Tensor, edge: int) -> Tensor:
    volume = rest.to(rows).repeat(edge**3, 1).index_copy_(0, at, rows)
    return volume.view(1, edge, edge, edge, -1).permute(0, 4, 1, 2, 3)


class _RowConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, at: Tensor, rest: Tensor, weight: Tensor, edge: int) -> Tensor:
        ctx.edge = edge
        ctx.save_for_backward(rows, at, rest, weight)
        return F.conv3d(_filled(rows, at, rest, edge), weight, padding=1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        rows, at, rest, weight = ctx.saved_tensors
        n, (k, c) = ctx.edge, weight.shape[:2]
        sent = upstream[0].permute(1, 2, 3, 0).to(rows)
        padded = F.pad(sent, (0, 0, 1, 1, 1, 1, 1, 1))
        table, m = padded.view(-1, k), n + 2
        x, y, z = at // n**2, at // n % n, at % n
        centre = ((x + 1) * m + y + 1) * m + z + 1
        # Voxel u is under tap o (-1, 0, 1 along each axis) of the result at u - o.
        tap = torch.arange(-1, 2, device=at.device)
        shift = -((tap[:, None, None] * m + tap[:, None]) * m + tap).flatten()
        kernel = weight.to(rows).permute(2, 3, 4, 0, 1).reshape(27 * k, c)

        of_rows = torch.empty_like(rows)
        elsewhere = _under_taps(sent)
        of_kernel = torch.outer(elsewhere, rest.to(rows))
        size = max(1, GATHERED // (27 * k))
        for start in range(0, len(at), size):
            piece = slice(start, start + size)
            arrived = table.index_select(0, (centre[piece, None] + shift).flatten()).view(-1, 27 * k)
            torch.mm(arrived, kernel, out=of_rows[piece])
            elsewhere = elsewhere - arrived.sum(0)
            of_kernel.addmm_(arrived.T, rows[piece] - rest)
        of_weight = of_kernel.view(3, 3, 3, k, c).permute(3, 4, 0, 1, 2)
        of_rest = (elsewhere @ kernel).to(rest) if ctx.needs_input_grad[2] else None
        return of_rows, None, of_rest, of_weight.to(weight), None


def _under_taps(sent: Tensor) -> Tensor:
    """Sums (27 k) of what is sent (n, n, n, k), for each tap over the results under which it lies on a voxel."""
    for axis in range(3):  # the axes that are summed come out in front, in reverse
        whole = sent.sum(axis)
        sent = torch.stack([whole - sent.select(axis, 0), whole, whole - sent.select(axis, -1)], axis)
    return sent.flatten()
