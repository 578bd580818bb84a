"""Colours of points blended from the source views, a few thousand (point, view) pairs at a time.

Only the views that see a point are sampled and weighed: the others have no part in its colour. Nothing of this is kept
for the backward pass, which works the pairs out again and adds up the gradient of the maps in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..geometry import Cameras
from ..loops import as_array, looped, share_out
from ..rendering.colours import pack
from .blend_net import RGB, BlendNet, unit, view_directions
from .cost_volume import sampling_grid
from .map_sampling import Corners, Sampling, table_of

CPU_PAIRS, DEVICE_PAIRS = 2**14, 2**18
"""(Point, view) pairs per pass: on a CPU what fits its cache, elsewhere what fits the memory. Only speed depends on
them."""


@dataclass(frozen=True)
class Sight:
    """Points of one object and where its v source views see them.

    points: (p, 3). directions: (p, 3) unit vectors to the viewer. centres: (v, 3) of the views' cameras.
    positions: (v, p, 2) in the maps, as `Sampling` wants them. visible: (v, p) bool.
    """

    points: Tensor
    directions: Tensor
    centres: Tensor
    positions: Tensor
    visible: Tensor

    @staticmethod
    def of(points: Tensor, directions: Tensor, cameras: Cameras, count: int) -> tuple[Sight, Tensor]:
        """Points (p, 3) with directions (p, 3) as at most `count` of the cameras (v) see them, see `nearest`, and how
        many do see each, (p)."""
        with torch.no_grad():
            if looped(points):
                return _sight_by_loops(points, directions, cameras, count)
            positions, visible = sampling_grid(points, cameras)
            sight = Sight(points, directions, cameras.centres, positions, visible)
            return sight.nearest(count), visible.sum(0)

    def nearest(self, count: int) -> Sight:
        """With at most `count` views of each point: of those that see it, the ones from closest to where it is viewed.

        After the nearby source views of IBRNet (arXiv 2102.13090, section 3.1), here chosen for each point.
        """
        if len(self.centres) <= count:
            return self
        towards = unit(self.centres.T[:, :, None] - self.points.T[:, None])
        closeness = (towards * self.directions.T[:, None]).sum(0).masked_fill(~self.visible, -torch.inf)
        chosen = torch.zeros_like(self.visible).scatter_(0, closeness.topk(count, 0).indices, True)
        return replace(self, visible=self.visible & chosen)

    def relative(self, points: Tensor, views: Tensor) -> Tensor:
        """Directions (q, k, 4) of `BlendNet` for the points and views of these indices, (q) and (q, k)."""
        towards = unit(self.centres.T[:, views] - self.points[points].T[..., None])
        return view_directions(self.directions[points].T[..., None], towards)


def blend(
    net: BlendNet, geometry: Tensor, maps: Tensor, sights: Sequence[Sight], sampling: Sampling
) -> Tensor:
    """Colours (b, p, 3) of the points of b objects.

    geometry: (b, p, g) features of the points. maps: (b, v, 3 + f, h, w), colours first, best with the channels of a
    pixel side by side in memory. Equal to `net` applied to all the samples.
    """
    if (
        torch.compiler.is_compiling()
    ):  # no shape may depend on what the views see, and kernels are fused anyway
        colours = []
        for sight, shape, views in zip(sights, geometry, maps, strict=True):
            pairs = _Pairs.every(sight)
            colours.append(pairs.blend(net, shape, pairs.corners(sampling, maps).read(table_of(views))))
        return torch.stack(colours)
    return _Blend.apply(net, sights, sampling, geometry, maps, *net.parameters())


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        net: BlendNet,
        sights: Sequence[Sight],
        sampling: Sampling,
        geometry: Tensor,
        maps: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        ctx.net, ctx.sights, ctx.sampling = net, sights, sampling
        ctx.save_for_backward(geometry, maps, *parameters)
        kind = geometry.device.type
        ctx.autocast = torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        result = geometry.new_empty(*geometry.shape[:2], RGB)
        size = (maps.shape[-2], maps.shape[-1])
        by_loops = looped(geometry) and maps.dtype == geometry.dtype and not ctx.autocast[1]
        for index, sight in enumerate(sights):
            table = table_of(maps[index])
            if by_loops:
                from .blend_loops import blend as by_loop

                result[index] = by_loop(net, geometry[index], table, size, sight, sampling)
                continue
            for points in _passes(sight):
                pairs = _Pairs.of(net, sight, points)
                samples = pairs.corners(sampling, maps).read(table)
                result[index, points] = pairs.blend(net, geometry[index, points], samples)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        geometry, maps, *parameters = ctx.saved_tensors
        _, _, _, to_geometry, to_maps, *to_parameters = ctx.needs_input_grad
        trained = [p for p, wanted in zip(parameters, to_parameters, strict=True) if wanted]
        sums = [torch.zeros_like(parameter) for parameter in trained]
        of_geometry = torch.zeros_like(geometry)
        b, v, c, h, w = maps.shape
        of_maps = maps.new_zeros(b, v * h * w, c) if to_maps else None
        for index, sight in enumerate(ctx.sights):
            table = table_of(maps[index].detach())
            # Padding, and the samples of rays that no loss counts, pass nothing back.
            for points in _passes(sight, (upstream[index] != 0).any(-1)):
                pairs = _Pairs.of(ctx.net, sight, points)
                corners = pairs.corners(ctx.sampling, maps)
                shape = geometry[index, points].detach().requires_grad_()
                samples = corners.read(table).requires_grad_()
                with torch.enable_grad(), torch.autocast(geometry.device.type, *ctx.autocast):
                    rgb = pairs.blend(ctx.net, shape, samples)
                found = torch.autograd.grad(rgb, [shape, samples, *trained], upstream[index, points])
                of_geometry[index, points] = found[0]
                if of_maps is not None:
                    corners.add(of_maps[index], found[1])
                for total, part in zip(sums, found[2:], strict=True):
                    total += part
        grads = iter(sums)
        return (
            None, None, None, of_geometry if to_geometry else None,
            None if of_maps is None else of_maps.view(b, v, h, w, c).permute(0, 1, 4, 2, 3),
            *(next(grads) if wanted else None for wanted in to_parameters),
        )  # fmt: skip


def _passes(sight: Sight, wanted: Tensor | None = None) -> Iterator[Tensor]:
    """Indices of points, all or the wanted (p) ones, in passes of points that about as many views see."""
    views, p = sight.visible.shape
    counts = sight.visible.sum(0)
    counts = torch.where(counts == 0, views, counts)
    points = torch.arange(p, device=counts.device) if wanted is None else wanted.nonzero()[:, 0]
    counts, order = counts[points].sort(descending=True, stable=True)
    points, counts = points[order], counts.tolist()
    pairs = CPU_PAIRS if points.device.type == "cpu" else DEVICE_PAIRS
    start = 0
    while start < len(counts):
        end = start + max(1, pairs // counts[start])
        yield points[start:end]
        start = end


def _sight_by_loops(points: Tensor, directions: Tensor, cameras: Cameras, count: int) -> tuple[Sight, Tensor]:
    """`Sight.of` by a compiled loop."""
    from .sight_loops import look

    v, p, centres = len(cameras), len(points), cameras.centres.to(points)
    made = points.new_empty(v, p, 2), torch.empty(v, p, dtype=torch.bool), torch.empty(p, dtype=torch.int64)
    given = [as_array(part) for part in (points, directions, cameras.projections.to(points), centres)]
    found, fill = [part.numpy() for part in made], cast(Callable[..., None], look)
    share_out(p, lambda start, stop: fill(*given, *cameras.size, min(count, v), start, stop, *found))
    return Sight(points, directions, centres, *made[:2]), made[2]


@dataclass(frozen=True)
class _Pairs:
    """q points, each with the views that see it, or with all if none does.

    views: (q, k) indices of a point's own views, and real: (q, k) which of them are no padding. positions: (q, k, 2) in
    them. relative: (q, m, 4) and visible: (q, m) of the views that are weighed against each other, of which the own
    ones are number places (q, k); None where they are the same ones.
    """

    views: Tensor
    real: Tensor
    positions: Tensor
    relative: Tensor
    visible: Tensor
    places: Tensor | None = None

    @staticmethod
    def of(net: BlendNet, sight: Sight, points: Tensor) -> _Pairs:
        visible = sight.visible[:, points].T
        views, real = pack(visible | ~visible.any(1, keepdim=True))
        positions = sight.positions[views, points[:, None]]
        if not net.count_hidden_views:
            seen = visible.gather(1, views) & real
            return _Pairs(views, real, positions, sight.relative(points, views), seen)
        every = torch.arange(visible.shape[1], device=points.device).expand_as(visible)
        return _Pairs(views, real, positions, sight.relative(points, every), visible, views)

    @staticmethod
    def every(sight: Sight) -> _Pairs:
        """All points with all views."""
        v, p = sight.visible.shape
        views = torch.arange(v, device=sight.visible.device).expand(p, v)
        relative = sight.relative(torch.arange(p, device=views.device), views)
        real = torch.ones_like(views, dtype=torch.bool)
        return _Pairs(views, real, sight.positions.transpose(0, 1), relative, sight.visible.T)

    def corners(self, sampling: Sampling, maps: Tensor) -> Corners:
        return sampling.corners(self.positions, self.views, (maps.shape[-2], maps.shape[-1]))

    def blend(self, net: BlendNet, geometry: Tensor, samples: Tensor) -> Tensor:
        """Colours (q, 3) of geometry (q, g) and samples (q, k, c)."""
        share, relative, visible = net.anti_alias(self.relative, self.visible), self.relative, self.visible
        if self.places is not None:
            share, visible = share.gather(1, self.places) * self.real, visible.gather(1, self.places)
            relative = relative.take_along_dim(self.places[..., None], 1)
        logits = net.logits(geometry, samples, relative, visible, share)
        weights = torch.softmax(logits.masked_fill(~self.real, -torch.inf), 1)
        return (weights[..., None] * samples[..., :RGB]).sum(1)
