"""Trilinear lookup in a batch of feature volumes, with the exact spatial derivative."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry import Box

CPU_VALUES, OTHER_VALUES = 2**18, 2**26


def passes(points: int, width: int, device: torch.device) -> Iterator[slice]:
    """`points` in pieces whose intermediates, `width` values of each point, stay in a CPU's cache, or small at all.

    Only speed and memory depend on it. While a graph is compiled there is one piece, whatever the device.
    """
    size = max(1, (CPU_VALUES if device.type == "cpu" else OTHER_VALUES) // width)
    if torch.compiler.is_compiling():
        size = max(1, points)
    return (slice(start, min(start + size, points)) for start in range(0, points, size))


@dataclass(frozen=True)
class Cells:
    """Where p points lie between the nodes of a table of nodes.

    rows: (p, 8) nodes around each point. shares: (3, 2, p) weight of the lower and the upper node per axis.
    slopes: (3, p) what a step of one node along an axis adds to the upper node's share, 1 or beyond the border 0.
    holds: (p) 0 where the value is zero by rule, None if nowhere.
    """

    rows: Tensor
    shares: Tensor
    slopes: Tensor
    holds: Tensor | None

    def weights(self) -> Tensor:
        """(p, 8) share of each node in the value."""
        x, y, z = self.shares
        return self._by_point((x[:, None] * y)[:, :, None] * z)

    def weights_along(self, direction: Tensor) -> tuple[Tensor, Tensor]:
        """`weights`, and what they gain per unit of a step along direction (p, 3), in nodes of each axis."""
        x, y, z = self.shares
        steps = direction.T * self.slopes
        dx, dy, dz = torch.stack([-steps, steps], 1)
        plane = x[:, None] * y
        gain = dx[:, None] * y + x[:, None] * dy
        gains = gain[:, :, None] * z + plane[:, :, None] * dz
        return self._by_point(plane[:, :, None] * z), self._by_point(gains)

    def weights_and_gradient(self) -> tuple[Tensor, Tensor]:
        """`weights`, and the derivative (p, 8, 3) of each by the position, in nodes of each axis."""
        x, y, z = self.shares
        sign = x.new_tensor([-1.0, 1.0])[:, None]
        dx, dy, dz = sign * self.slopes[:, None]
        plane = (x[:, None] * y)[:, :, None]
        slopes = torch.stack(
            [
                (dx[:, None] * y)[:, :, None] * z,
                (x[:, None] * dy)[:, :, None] * z,
                plane * dz,
            ]
        )
        slopes = slopes.reshape(3, 8, -1)
        if self.holds is not None:
            slopes = slopes * self.holds
        return self._by_point(plane * z), slopes.permute(2, 1, 0)

    def gradient(self, per_corner: Tensor) -> Tensor:
        """Derivative (p, 3), in nodes of each axis, of the weighted sum of values (p, 8) at the nodes."""
        x, y, z = self.shares
        if self.holds is not None:
            per_corner = per_corner * self.holds[:, None]
        corners = per_corner.T.reshape(2, 2, 2, -1)
        over_z = (corners * z).sum(2)
        along_x = ((over_z[1] - over_z[0]) * y).sum(0)
        along_y = ((over_z[:, 1] - over_z[:, 0]) * x).sum(0)
        along_z = ((corners[:, :, 1] - corners[:, :, 0]) * x[:, None] * y).sum((0, 1))
        return (torch.stack([along_x, along_y, along_z]) * self.slopes).T

    def _by_point(self, corners: Tensor) -> Tensor:
        """(2, 2, 2, p) to (p, 8)."""
        corners = corners.reshape(8, -1)
        return (corners if self.holds is None else corners * self.holds).T.contiguous()


class Prior(Protocol):
    """k signed distances of each of b objects that are known anywhere, without learning."""

    def distances(self, points_world: Tensor) -> Tensor:
        """(b, p, k) world units at points (b, p, 3), without gradients."""
        ...

    def distances_and_gradients(self, points_world: Tensor) -> tuple[Tensor, Tensor]:
        """`distances` and their world gradients (b, p, k, 3)."""
        ...


@dataclass(frozen=True)
class FeatureVolume:
    """values: (b, n, n, n, c) at the nodes of `box`, the same box for every element of the batch.

    Outside the outermost nodes the border value holds and the derivative across the border is zero. strict: only
    up to one voxel beyond the last nodes, and not at the first ones or before: there the value is zero.
    prior: distances to start from; then the last k channels are the shares by which its k distances are mixed.
    """

    values: Tensor
    box: Box
    strict: bool = False
    prior: Prior | None = None

    @property
    def table(self) -> Tensor:
        """(b n^3, c) all nodes, the last axis fastest."""
        return self.values.reshape(-1, self.values.shape[-1])

    def lookup(self, points_world: Tensor) -> Tensor:
        """Values (b, p, c) at points (b, p, 3)."""
        flat = points_world.flatten(0, 1)
        table, per_object = self.table, points_world.shape[1]
        if not torch.is_grad_enabled() or not (self.values.requires_grad or points_world.requires_grad):
            parts = [
                weighted_rows(table, cells.rows, cells.weights())
                for part in passes(len(flat), 64, flat.device)
                for cells in [
                    cells_at(self.box, self.strict, self.box.to_index(flat[part]), part.start, per_object)
                ]
            ]
            found = torch.cat(parts) if parts else table.new_zeros(0, table.shape[-1])
        else:
            cells = cells_at(self.box, self.strict, self.box.to_index(flat), 0, per_object)
            found = _WeightedRows.apply(table, cells.rows, cells.weights())
        return found.unflatten(0, points_world.shape[:2])

    def features(self, points_world: Tensor) -> Tensor:
        """What networks are given at points (b, p, 3): `lookup`, or with a prior the channels (b, p, c - k) that are no
        shares, and last the mixed distance."""
        found = self.lookup(points_world)
        if self.prior is None:
            return found
        if points_world.requires_grad:
            there = points_world.detach()
            distances, slopes = self.prior.distances_and_gradients(there)
            distances = distances + (slopes * (points_world - there)[..., None, :]).sum(-1)
        else:
            distances = self.prior.distances(points_world)
        return mixed(found, distances)

    def lookup_corners(self, points_world: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Corner values (b, p, 8, c), their weights (b, p, 8) and the weights' world gradient (b, p, 8, 3).

        The value is the weighted sum over the corners; the gradient of a linear functional g (b, p, c) of
        it is the sum over corners of (corner value . g) times the weight's gradient. For reference: `lookup` and
        `SdfNet.sdf_and_gradient` do without the corner values.
        """
        shape = points_world.shape[:2]
        cells = cells_at(self.box, self.strict, self.box.to_index(points_world.flatten(0, 1)), 0, shape[1])
        weights, slopes = cells.weights_and_gradient()
        rotation = self.box.pose[:3, :3].to(points_world)
        corners = self.table.index_select(0, cells.rows.flatten()).view(*shape, 8, -1)
        slopes = slopes @ rotation.mT / self.box.voxel_size
        return corners, weights.view(*shape, 8).to(corners), slopes.reshape(*shape, 8, 3).to(corners)


def cells_at(box: Box, strict: bool, position: Tensor, first: int, per_object: int) -> Cells:
    """Cells of positions (p, 3) in nodes of each axis of `box`; see `FeatureVolume`.

    The points are number first, first + 1, ... of all objects' together, `per_object` each.
    """
    n = box.resolution
    inside = (position >= 0) & (position <= n - 1)
    holds = ((position > 0) & (position < n)).all(-1).to(position.dtype) if strict else None
    clamped = position.clamp(0, n - 1)
    base = clamped.detach().floor().clamp_max(n - 2)
    high = (clamped - base).T
    x, y, z = base.to(torch.int64).unbind(-1)
    number = torch.arange(first, first + len(position), device=position.device)
    row = ((number // max(per_object, 1) * n + x) * n + y) * n + z
    offset = torch.tensor(
        [(i * n + j) * n + k for i in (0, 1) for j in (0, 1) for k in (0, 1)], device=position.device
    )
    return Cells(
        rows=row[:, None] + offset,
        shares=torch.stack([1 - high, high], 1),
        slopes=inside.T.to(position.dtype),
        holds=holds,
    )


def mixed(rows: Tensor, distances: Tensor) -> Tensor:
    """Rows (..., c), with the last k channels replaced by one: the distances (..., k), weighted by them."""
    k = distances.shape[-1]
    return torch.cat([rows[..., :-k], (rows[..., -k:] * distances).sum(-1, keepdim=True)], -1)


def weighted_rows(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Sums (p, c) of rows (p, k) of a table (m, c), with weights (p, k)."""
    return F.embedding_bag(rows, table, per_sample_weights=weights.to(table.dtype), mode="sum")


def add_to_rows(table: Tensor, rows: Tensor, values: Tensor) -> None:
    """Add values (p, k, c) to rows (p, k) of a table (m, c), in place; what `weighted_rows` passes back."""
    index = rows.reshape(-1, 1).expand(-1, table.shape[-1])
    table.scatter_add_(0, index, values.reshape(len(index), -1))


class _WeightedRows(torch.autograd.Function):
    """`weighted_rows` that neither sorts the rows to pass gradients back nor keeps the table's values per row."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(table, rows, weights)
        return weighted_rows(table, rows, weights)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        table, rows, weights = ctx.saved_tensors
        to_table = torch.zeros_like(table) if ctx.needs_input_grad[0] else None
        to_weights = torch.empty_like(weights) if ctx.needs_input_grad[2] else None
        for part in passes(len(rows), 64, rows.device):
            if to_table is not None:
                add_to_rows(to_table, rows[part], weights[part, :, None].to(table) * upstream[part, None])
            if to_weights is not None:
                corners = table.index_select(0, rows[part].flatten()).view(*rows[part].shape, -1)
                to_weights[part] = (corners * upstream[part, None]).sum(-1)
        return to_table, None, to_weights
