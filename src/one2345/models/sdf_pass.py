"""The signed distance head in passes that fit a CPU's cache and keep nothing for the backward pass but their inputs.

The gradient is an explicit reverse pass. What a loss on distance and gradient sends back is worked out anew, piece by
piece, and without reversing a reverse pass: for upstream values (s, g) of a point, s f + g . grad f is s times the
value plus the derivative along g. So one tangent goes forward beside the value, and both go back together, as twice the
rows of the same matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from ..geometry import Box
from .activations import Activation, activate_, activate_with_slope_, bend_
from .volume_lookup import Cells, FeatureVolume, add_to_rows, cells_at, mixed, passes, weighted_rows

Start = tuple[Tensor | None, Tensor | None]
"""A prior's distances (p, k) at points and their world gradients (p, k, 3); None of what is not there or needed."""

Layers = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
"""Weight (out, in) and bias (out) of three layers; of the last one only the output that is the distance."""


@dataclass(frozen=True)
class Head:
    """How the head of `SdfNet` works, beside its weights and the volume's values."""

    box: Box
    strict: bool
    activation: Activation
    octaves: int
    prior: bool

    def distance(self, points: Tensor, volume: FeatureVolume, layers: Layers) -> Tensor:
        """Signed distance (b, p) at world points (b, p, 3); no gradient flows to the points."""
        distances = None if volume.prior is None else volume.prior.distances(points)
        return _Pass.apply(self, False, points, volume.values, distances, None, *layers)[0]

    def distance_and_gradient(
        self, points: Tensor, volume: FeatureVolume, layers: Layers
    ) -> tuple[Tensor, Tensor]:
        """Signed distance (b, p) and its world gradient (b, p, 3); no gradient flows to the points."""
        start: Start = (None, None) if volume.prior is None else volume.prior.distances_and_gradients(points)
        return _Pass.apply(self, True, points, volume.values, *start, *layers)

    def encode(self, unit: Tensor) -> Tensor:
        """[x, sin(2^k x), cos(2^k x)] for k < octaves: (..., 3 + 6 octaves)."""
        sin, cos, _ = self._waves(unit)
        return torch.cat([unit, torch.stack([sin, cos], -2).flatten(-3)], -1)

    def values(
        self, unit: Tensor, cells: Cells, table: Tensor, start: Start, layers: Layers, memory: Memory
    ) -> Tensor:
        """Distance (p) at unit coordinates (p, 3) of the box, which lie in cells of the volume's table."""
        first, bias0, second, bias1, last, bias2 = layers
        width = len(first)
        latent = _features(weighted_rows(table, cells.rows, cells.weights()), start[0])
        h0, h1, scratch = (memory(name, len(unit), width) for name in ("h0", "h1", "scratch"))
        torch.addmm(bias0, self.encode(unit), first.T, out=h0)
        activate_(self.activation, h0, scratch)
        torch.addmm(bias1, h0, second[:, :width].T, out=h1).addmm_(latent, second[:, width:].T)
        return self._output(activate_(self.activation, h1, scratch), latent, last, bias2)

    def values_and_gradients(
        self, unit: Tensor, cells: Cells, table: Tensor, start: Start, layers: Layers, memory: Memory
    ) -> tuple[Tensor, Tensor]:
        """`values`, and their world gradient (p, 3)."""
        first, bias0, second, bias1, last, bias2 = layers
        width, scale, p = len(first), self.box.half_edge, len(unit)
        looked_up = weighted_rows(table, cells.rows, cells.weights())
        latent = _features(looked_up, start[0])
        h0, h1, slope0, slope1, scratch = (
            memory(name, p, width) for name in ("h0", "h1", "slope0", "slope1", "scratch")
        )
        torch.addmm(bias0, self.encode(unit), first.T, out=h0)
        activate_with_slope_(self.activation, h0, slope0, scratch)
        torch.addmm(bias1, h0, second[:, :width].T, out=h1).addmm_(latent, second[:, width:].T)
        activate_with_slope_(self.activation, h1, slope1, scratch)
        distance = self._output(h1, latent, last, bias2)

        to_second = slope1.mul_(last[0, :width] * scale)
        to_first = slope0.mul_(torch.mm(to_second, second[:, :width], out=scratch))
        to_latent = torch.addmm(last[0, width:] * scale, to_second, second[:, width:])
        if self.prior:
            to_latent[:, -1] += 1
        through_start = None
        if start[0] is not None and start[1] is not None:
            of_mixed = to_latent[:, -1:]
            shares = looked_up[:, -start[0].shape[1] :]
            through_start = (of_mixed * shares)[:, None].bmm(start[1])[:, 0]
            to_latent = torch.cat([to_latent[:, :-1], of_mixed * start[0]], 1)
        corners = memory("corners", cells.rows.numel(), table.shape[-1])
        torch.index_select(table, 0, cells.rows.flatten(), out=corners)
        per_corner = corners.view(p, 8, -1).mul_(to_latent[:, None]).sum(-1)
        through_volume = cells.gradient(per_corner) / self.box.voxel_size
        through_position = self._encode_reverse(unit, to_first @ first) / scale
        rotation = self.box.pose[:3, :3].to(unit)
        gradient = (through_volume + through_position) @ rotation.mT
        return distance, gradient if through_start is None else gradient + through_start

    def reverse(
        self,
        upstream: tuple[Tensor, Tensor | None],
        unit: Tensor,
        cells: Cells,
        table: Tensor,
        start: Start,
        layers: Layers,
        to_table: Tensor | None,
        to_layers: Layers,
        memory: Memory,
    ) -> None:
        """Add what upstream values of `values` (p) and their gradients (p, 3) send to the table and the layers."""
        first, bias0, second, bias1, last, _ = layers
        width, scale, p = len(first), self.box.half_edge, len(unit)
        of_value, of_gradient = upstream
        if of_gradient is None:
            weights = [cells.weights()]
            rows, encoded, out = cells.rows, self.encode(unit), of_value * scale
        else:
            along = of_gradient @ self.box.pose[:3, :3].to(unit)
            weights = [*cells.weights_along(along / self.box.voxel_size)]
            rows, encoded = cells.rows.repeat(2, 1), self._encode_along(unit, along / scale)
            out = torch.cat([of_value * scale, torch.full_like(of_value, scale)])
        latent, along_start = weighted_rows(table, rows, torch.cat(weights)), None
        if start[0] is not None:
            if of_gradient is not None and start[1] is not None:
                along_start = start[1].bmm(of_gradient[..., None])[..., 0]
            latent = _features_along(latent, start[0], along_start)
        h0, h1, d0, d1 = (memory(name + " twice", len(rows), width) for name in ("h0", "h1", "d0", "d1"))
        back0, back1 = (tuple(memory(f"{n}{i}", p, width) for n in ("slope", "gain")) for i in (0, 1))
        torch.mm(encoded, first.T, out=h0)
        self._activate_rows(h0, bias0, *back0)
        torch.mm(h0, second[:, :width].T, out=h1).addmm_(latent, second[:, width:].T)
        self._activate_rows(h1, bias1, *back1)

        torch.mul(out[:, None], last[0, :width], out=d1)
        _through_activation(d1, *back1)
        torch.mm(d1, second[:, :width], out=d0)
        _through_activation(d0, *back0)
        to_first, to_bias0, to_second, to_bias1, to_last, to_bias2 = to_layers
        to_last[0, :width].addmv_(h1.T, out)
        to_last[0, width:].addmv_(latent.T, out)
        to_bias2 += out[:p].sum()
        to_second[:, :width].addmm_(d1.T, h0)
        to_second[:, width:].addmm_(d1.T, latent)
        to_bias1 += d1[:p].sum(0)
        to_first.addmm_(d0.T, encoded)
        to_bias0 += d0[:p].sum(0)
        if to_table is not None:
            to_latent = torch.addmm(out[:, None] * last[0, width:], d1, second[:, width:])
            if self.prior:
                to_latent[:, -1] += out / scale
            if start[0] is not None:
                to_latent = _through_features(to_latent, start[0], along_start)
            spread = memory("spread", 8 * p, table.shape[-1]).view(p, 8, -1)
            torch.mul(weights[0][..., None], to_latent[:p, None], out=spread)
            if of_gradient is not None:
                spread.addcmul_(weights[1][..., None], to_latent[p:, None])
            add_to_rows(to_table, cells.rows, spread)

    def _output(self, h: Tensor, latent: Tensor, last: Tensor, bias: Tensor) -> Tensor:
        width = h.shape[-1]
        out = torch.mv(h, last[0, :width]).add_(torch.mv(latent, last[0, width:])).add_(bias[0])
        out = out * self.box.half_edge
        return out + latent[:, -1] if self.prior else out

    def _activate_rows(self, rows: Tensor, bias: Tensor, slope: Tensor, gain: Tensor) -> None:
        """The first p rows become the activation of them and the bias; the p below, if any, are tangents.

        slope (p, c): set to the derivatives, which is what `_through_activation` needs, and gain (p, c) to what the
        derivatives gain along the tangents.
        """
        p = len(slope)
        values = rows[:p].add_(bias)
        activate_with_slope_(self.activation, values, slope, gain)
        if len(rows) > p:
            bend_(self.activation, values, slope, gain).mul_(rows[p:])
            rows[p:].mul_(slope)

    def _waves(self, unit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sine and cosine (..., octaves, 3) and the frequencies (octaves, 1)."""
        frequency = unit.new_tensor([[2.0**k] for k in range(self.octaves)])
        angle = unit[..., None, :] * frequency
        return angle.sin(), angle.cos(), frequency

    def _encode_reverse(self, unit: Tensor, upstream: Tensor) -> Tensor:
        """Gradient (p, 3) with respect to `unit` from that of the encoding."""
        sin, cos, frequency = self._waves(unit)
        of_sin, of_cos = upstream[:, 3:].unflatten(-1, (self.octaves, 2, 3)).unbind(-2)
        return upstream[:, :3] + ((of_sin * cos - of_cos * sin) * frequency).sum(-2)

    def _encode_along(self, unit: Tensor, direction: Tensor) -> Tensor:
        """The encodings (2 p, 3 + 6 octaves): of `unit`, and their derivatives along direction (p, 3)."""
        sin, cos, frequency = self._waves(unit)
        steps = direction[:, None] * frequency
        waves = torch.stack([torch.stack([sin, cos], -2), torch.stack([cos * steps, -sin * steps], -2)])
        return torch.cat([torch.stack([unit, direction]), waves.flatten(2)], -1).flatten(0, 1)


def _features(rows: Tensor, distances: Tensor | None) -> Tensor:
    """What the head is given: rows (p, c) of the volume, a prior's distances (p, k) mixed by the last k channels."""
    return rows if distances is None else mixed(rows, distances)


def _features_along(rows: Tensor, distances: Tensor, along: Tensor | None) -> Tensor:
    """`_features` of the first p rows; the p below, if any, are tangents, as `along` (p, k) is of the distances."""
    if along is None:
        return mixed(rows, distances)
    p, k = distances.shape
    found = mixed(rows, distances.repeat(2, 1))
    found[p:, -1] += (rows[:p, -k:] * along).sum(-1)
    return found


def _through_features(upstream: Tensor, distances: Tensor, along: Tensor | None) -> Tensor:
    """Upstream values of `_features_along` become those of its rows."""
    p = len(distances)
    of_mixed = upstream[:, -1:]
    to_shares = of_mixed * (distances if along is None else distances.repeat(2, 1))
    if along is not None:
        to_shares[:p].addcmul_(of_mixed[p:], along)
    return torch.cat([upstream[:, :-1], to_shares], 1)


def _through_activation(upstream: Tensor, slope: Tensor, gain: Tensor) -> None:
    """Upstream values of activations, rows (p or 2 p, c) as in `_activate_rows`, become those before them."""
    p = len(slope)
    upstream[:p].mul_(slope)
    if len(upstream) > p:
        upstream[:p].addcmul_(upstream[p:], gain)
        upstream[p:].mul_(slope)


class Memory:
    """Matrices by name that every piece of a pass uses again."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._kept: dict[str, Tensor] = {}

    def __call__(self, name: str, rows: int, columns: int) -> Tensor:
        """(rows, columns), with anything in it; the first piece asks for the most rows."""
        if name not in self._kept:
            self._kept[name] = self._like.new_empty(rows, columns)
        return self._kept[name][:rows]


class _Pass(torch.autograd.Function):
    """Distance, and gradient if asked for, of points (b, p, 3) in a volume of values (b, n, n, n, c).

    distances (b, p, k), slopes (b, p, k, 3): what a prior says there, see `FeatureVolume`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        head: Head,
        with_gradient: bool,
        points: Tensor,
        values: Tensor,
        distances: Tensor | None,
        slopes: Tensor | None,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor | None]:
        ctx.head = head
        ctx.save_for_backward(points, values, distances, slopes, *weights)
        ctx.set_materialize_grads(False)
        shape, flat, table = points.shape, points.flatten(0, 1), values.reshape(-1, values.shape[-1])
        layers, memory = cast(Layers, weights), Memory(values)
        distance = flat.new_empty(len(flat))
        gradient = torch.empty_like(flat) if with_gradient else None
        with torch.autocast(points.device.type, enabled=False):
            for part in passes(len(flat), len(layers[0]), flat.device):
                unit, cells = _located(head, flat, part, shape[1])
                start = _at_part(distances, part), _at_part(slopes, part)
                if gradient is None:
                    distance[part] = head.values(unit, cells, table, start, layers, memory)
                else:
                    found = head.values_and_gradients(unit, cells, table, start, layers, memory)
                    distance[part], gradient[part] = found
        return distance.view(shape[:2]), None if gradient is None else gradient.view(shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_distance: Tensor | None, of_gradient: Tensor | None) -> tuple[Any, ...]:
        head: Head = ctx.head
        points, values, distances, slopes, *weights = ctx.saved_tensors
        flat, table = points.flatten(0, 1), values.reshape(-1, values.shape[-1])
        to_table = torch.zeros_like(table) if ctx.needs_input_grad[3] else None
        layers, memory = cast(Layers, tuple(weights)), Memory(values)
        to_layers = cast(Layers, tuple(torch.zeros_like(weight) for weight in weights))
        to_distance = flat.new_zeros(len(flat)) if of_distance is None else of_distance.reshape(-1)
        to_gradient = None if of_gradient is None else of_gradient.reshape(-1, 3)
        with torch.autocast(points.device.type, enabled=False):
            for part in passes(len(flat), len(layers[0]), flat.device):
                unit, cells = _located(head, flat, part, points.shape[1])
                upstream = to_distance[part], None if to_gradient is None else to_gradient[part]
                start = _at_part(distances, part), _at_part(slopes, part)
                head.reverse(upstream, unit, cells, table, start, layers, to_table, to_layers, memory)
        to_values = None if to_table is None else to_table.view_as(values)
        return None, None, None, to_values, None, None, *to_layers


def _at_part(of_points: Tensor | None, part: slice) -> Tensor | None:
    """Rows of a part of the points of all objects, of values (b, p, ...)."""
    return None if of_points is None else of_points.flatten(0, 1)[part]


def _located(head: Head, flat: Tensor, part: slice, per_object: int) -> tuple[Tensor, Cells]:
    """Unit coordinates (p, 3) and cells of a part of the points of all objects (b p, 3)."""
    unit = head.box.to_unit(flat[part])
    return unit, cells_at(head.box, head.strict, head.box.unit_to_index(unit), part.start, per_object)
