"""Blending on a CPU in one loop over (point, view) pairs, which stay in its cache from the samples to the colour.

What is computed is written out plainly in `BlendNet.logits` and `view_blending`; the layers are so narrow that results
which go from operation to operation cost several times their arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..loops import as_array, compiled, share_out
from .blend_net import DIRECTION, RGB, BlendNet
from .map_sampling import Sampling
from .view_blending import Sight

Array = NDArray[Any]

PAIRS = 512
"""Pairs that go through the layers together, where not more views than that see a point."""

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
OUTPUTS, INPUTS, BIASED, ACTIVE, BEGIN = range(5)
NONE = cast(int, np.int64(0))
"""A count that a literal begins is compiled for twice: for the literal, and for what it comes to be."""
LOG2_E = np.float32(math.log2(math.e))
LEAST, SHORT, TINY = np.float32(1e-8), np.float32(1e-12), np.float32(1e-24)
LARGEST = np.float32(126)
TO_WHOLE = np.float32(3 * 2**22)
"""A number added to this has its whole part in the last bits."""
C1, C2, C3, C4, C5, C6 = (np.float32(math.log(2) ** k / math.factorial(k)) for k in range(1, 7))


def blend(
    net: BlendNet, geometry: Tensor, table: Tensor, size: tuple[int, int], sight: Sight, sampling: Sampling
) -> Tensor:
    """Colours (p, 3) of points with features (p, g), by views that a table (v h w, c) has the maps of.

    size: (h, w). A point that no view sees gets the mean of all. ValueError where the sizes don't fit each other.
    """
    _check(net, geometry, table, size, sight)
    found = geometry.new_empty(len(geometry), RGB)
    plan, parameters = _layers(net, table.shape[1])
    own = sight.points, sight.directions, sight.centres, sight.positions, sight.visible
    given = _arrays((*own, geometry, table))
    ways = sampling.padding == "zeros", sampling.align_corners, net.count_hidden_views
    sharpness = np.float32(abs(float(net.sharpness.detach())))
    fill: Callable[..., None] = _fill
    share_out(
        len(geometry),
        lambda start, stop: fill(
            *given, *size, *ways, sharpness, plan, parameters, start, stop, found.numpy()
        ),
    )
    return found


def _check(net: BlendNet, geometry: Tensor, table: Tensor, size: tuple[int, int], sight: Sight) -> None:
    """The loop looks up nothing beside its arrays if these have the sizes that they should."""
    (views, count), channels, taken = sight.visible.shape, table.shape[1], RGB + net.feature_channels
    if (taken, net.geometry_channels) != (channels, geometry.shape[-1]):
        raise ValueError(
            f"the blend net takes {taken} channels of a view and {net.geometry_channels} of a point, "
            f"not {channels} and {geometry.shape[-1]}"
        )
    given = {
        "points": (sight.points, (count, 3)),
        "directions": (sight.directions, (count, 3)),
        "geometry": (geometry, (count, net.geometry_channels)),
        "centres": (sight.centres, (views, 3)),
        "positions": (sight.positions, (views, count, 2)),
        "maps": (table, (views * size[0] * size[1], channels)),
    }
    for name, (tensor, shape) in given.items():
        if tensor.shape != shape or not views:
            raise ValueError(f"{name} {tuple(tensor.shape)}: {views} views of {count} points need {shape}")


def _layers(net: BlendNet, channels: int) -> tuple[Array, Array]:
    """Weights and biases in the order of the loop: a layer whose inputs come from several places is one for each.

    All in one array, and of each layer (n, 5) its outputs, its inputs, whether it has a bias, whether its ELU is to be
    taken, and where it begins. (With an array for each, more of the loop is to be compiled.)
    """
    blocks = (net.direction, net.base, net.visibility, net.visibility2, net.logit)
    all_layers = [layer for block in blocks for layer in block if isinstance(layer, nn.Linear)]
    direction0, direction1, base0, base1, seen0, seen1, again0, again1, logit0, logit1, logit2 = (
        (layer.weight, layer.bias) for layer in all_layers
    )
    of_view, width, none = [base0[0].shape[1] - channels, channels], net.width, base0[1].new_empty(0)
    of_point, of_pair = base0[0].split(of_view, 1)
    of_x, of_second, of_direction = logit0[0].split([width, 1, DIRECTION], 1)
    residual, opinion = zip(*(part.split([width, 1]) for part in seen1), strict=True)
    elu, linear = True, False
    layers = [
        (*direction0, elu), (*direction1, elu), (of_point, base0[1], linear), (of_pair, none, elu), (*base1, elu),
        (*seen0, elu), (*residual, elu), (*opinion, elu), (*again0, elu), (*again1, linear), (of_x, logit0[1], linear),
        (of_second, none, linear), (of_direction, none, elu), (*logit1, elu), (*logit2, linear),
    ]  # fmt: skip
    plan, at = [], 0
    for weight, bias, active in layers:
        plan.append((*weight.shape, len(bias) > 0, active, at))
        at += weight.numel() + len(bias)
    parameters = torch.cat([one.detach().reshape(-1) for layer in layers for one in layer[:2]])
    return np.array(plan, np.int64), as_array(parameters)


def _arrays(tensors: Iterable[Tensor]) -> tuple[Array, ...]:
    return tuple(as_array(one) for one in tensors)


@compiled(freedom={"contract"})
def _fill(
    points: Array,
    directions: Array,
    centres: Array,
    positions: Array,
    visible: Array,
    geometry: Array,
    table: Array,
    height: int,
    width: int,
    zeros: bool,
    align_corners: bool,
    count_hidden_views: bool,
    sharpness: np.float32,
    plan: Array,
    parameters: Array,
    start: int,
    stop: int,
    result: Array,
) -> None:
    """Fill in rows start to stop. The loop's arrays have a row for each channel, a column for each pair or point."""
    views, channels = len(visible), table.shape[1]
    room = max(PAIRS, views)
    point, view, seen = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.bool_)
    first, least = np.empty(room + 1, np.int32), np.empty(room, np.float32)
    share, opinion, second = (
        np.empty(room, np.float32),
        np.empty((1, room), np.float32),
        np.empty((1, room), np.float32),
    )
    samples, features = np.empty((channels, room), np.float32), np.empty((channels, room), np.float32)
    relative, known = np.empty((4, room), np.float32), np.empty((plan[2, INPUTS], room), np.float32)
    shared = np.empty((plan[2, OUTPUTS], room), np.float32)
    widest = 1
    for layer in plan:
        widest = max(widest, layer[OUTPUTS])
    a, b = np.empty((widest, room), np.float32), np.empty((widest, room), np.float32)
    x = np.empty((widest, room), np.float32)
    bits = np.empty(room, np.int32)
    power = bits.view(np.float32)
    scratch, inner = (bits, power, np.empty(room, np.float32)), plan[4, OUTPUTS]
    taken = start
    while taken < stop:
        begin, pairs, count = taken, NONE, NONE
        while taken < stop and pairs + views <= room:
            first[count], least[count] = pairs, LARGEST
            for v in range(views):
                if visible[v, taken]:
                    point[pairs], view[pairs], seen[pairs] = count, v, True
                    pairs += 1
                elif count_hidden_views:
                    closeness = _dot(directions[taken], _towards(centres[v], points[taken]))
                    least[count] = min(least[count], sharpness * (closeness - ONE))
            if pairs == first[count]:
                for v in range(views):
                    point[pairs], view[pairs], seen[pairs] = count, v, False
                    pairs += 1
            count += 1
            taken += 1
        first[count] = pairs
        for j in range(pairs):
            at = begin + point[j]
            _sample(
                table, positions[view[j], at], view[j], height, width, zeros, align_corners, samples[:, j]
            )
            _relative(points[at], directions[at], centres[view[j]], relative[:, j])
            share[j] = sharpness * (relative[3, j] - ONE)
        _exp(share, pairs, bits, power)
        _exp(least, count, bits, power)
        _shares(share, least, seen, first, count)

        _layer(plan[0], parameters, relative, a, pairs, scratch)
        _layer(plan[1], parameters, a, features, pairs, scratch)
        for i in range(channels):
            for j in range(pairs):
                features[i, j] += samples[i, j]
        _statistics(geometry[begin:taken], features, share, first, count, known)
        _layer(plan[2], parameters, known, shared, count, scratch)
        for i in range(len(shared)):
            for j in range(pairs):
                a[i, j] = shared[i, point[j]]
        _layer(plan[3], parameters, features, a, pairs, scratch)
        _layer(plan[4], parameters, a, x, pairs, scratch)
        for i in range(inner):
            for j in range(pairs):
                a[i, j] = x[i, j] * share[j]
        _layer(plan[5], parameters, a, b, pairs, scratch)
        _layer(plan[6], parameters, b, a, pairs, scratch)
        _layer(plan[7], parameters, b, opinion, pairs, scratch)
        _sigmoid(opinion[0], pairs, bits, power)
        for i in range(inner):
            for j in range(pairs):
                x[i, j] += a[i, j]
                a[i, j] = x[i, j] * opinion[0, j]
        _layer(plan[8], parameters, a, b, pairs, scratch)
        _layer(plan[9], parameters, b, second, pairs, scratch)
        _sigmoid(second[0], pairs, bits, power)
        _layer(plan[10], parameters, x, a, pairs, scratch)
        _layer(plan[11], parameters, second, a, pairs, scratch)
        _layer(plan[12], parameters, relative, a, pairs, scratch)
        _layer(plan[13], parameters, a, b, pairs, scratch)
        _layer(plan[14], parameters, b, second, pairs, scratch)
        _mix(second[0], pairs, seen, first, count, samples, bits, power, result[begin:taken])


@compiled(freedom={"contract"})
def _sample(
    table: Array,
    position: Array,
    view: int,
    height: int,
    width: int,
    zeros: bool,
    align_corners: bool,
    sample: Array,
) -> None:
    """As `Sampling` has it; what is no number lands on the first pixel, or before it."""
    left, right, west, east = _between(position[0], width, zeros, align_corners)
    top, bottom, north, south = _between(position[1], height, zeros, align_corners)
    upper, lower = (view * height + top) * width, (view * height + bottom) * width
    nw, ne, sw, se = west * north, east * north, west * south, east * south
    for i in range(table.shape[1]):
        sample[i] = (
            nw * table[upper + left, i]
            + ne * table[upper + right, i]
            + sw * table[lower + left, i]
            + se * table[lower + right, i]
        )


@compiled(freedom={"contract"})
def _between(
    x: np.float32, n: int, zeros: bool, align_corners: bool
) -> tuple[int, int, np.float32, np.float32]:
    """The pixels, of an axis of n, that a position is between, and their shares."""
    last = np.float32(n - 1)
    at = (x + ONE) * (last * HALF) if align_corners else (x + ONE) * (np.float32(n) * HALF) - HALF
    lowest, highest = (-ONE, last + ONE) if zeros else (ZERO, last)
    at = at if at > lowest else lowest
    at = at if at < highest else highest
    below = np.floor(at)
    share, low = at - below, int(below)
    high = low + 1
    first, second = ONE - share if 0 <= low < n else ZERO, share if high < n else ZERO
    return min(max(low, 0), n - 1), min(high, n - 1), first, second


@compiled(freedom={"contract"})
def _towards(centre: Array, point: Array) -> tuple[np.float32, np.float32, np.float32]:
    x, y, z = centre[0] - point[0], centre[1] - point[1], centre[2] - point[2]
    scale = ONE / np.sqrt(max(x * x + y * y + z * z, TINY))
    return x * scale, y * scale, z * scale


@compiled(freedom={"contract"})
def _dot(query: Array, towards: tuple[np.float32, np.float32, np.float32]) -> np.float32:
    x, y, z = towards
    return query[0] * x + query[1] * y + query[2] * z


@compiled(freedom={"contract"})
def _relative(point: Array, query: Array, centre: Array, found: Array) -> None:
    """As `view_directions`."""
    towards = _towards(centre, point)
    found[3] = _dot(query, towards)
    x, y, z = towards
    x, y, z = query[0] - x, query[1] - y, query[2] - z
    scale = ONE / np.sqrt(max(x * x + y * y + z * z, SHORT))
    found[0], found[1], found[2] = x * scale, y * scale, z * scale


@compiled()
def _shares(share: Array, hidden: Array, seen: Array, first: Array, count: int) -> None:
    """As `BlendNet.anti_alias`, of closenesses, in place. hidden: the least one of a hidden view."""
    for i in range(count):
        low, high = first[i], first[i + 1]
        if not seen[low]:
            share[low:high] = ZERO
            continue
        least = hidden[i]
        for j in range(low, high):
            least = min(least, share[j])
        total = LEAST
        for j in range(low, high):
            share[j] -= least
            total += share[j]
        for j in range(low, high):
            share[j] /= total


@compiled(freedom={"contract"})
def _statistics(
    geometry: Array, features: Array, share: Array, first: Array, count: int, known: Array
) -> None:
    """A point's own features, and mean and variance over its views by their shares."""
    own, channels = geometry.shape[1], len(features)
    for i in range(count):
        for k in range(own):
            known[k, i] = geometry[i, k]
    for k in range(channels):
        for i in range(count):
            mean, variance = ZERO, ZERO
            for j in range(first[i], first[i + 1]):
                mean += share[j] * features[k, j]
            for j in range(first[i], first[i + 1]):
                away = features[k, j] - mean
                variance += share[j] * (away * away)
            known[own + k, i] = mean
            known[own + channels + k, i] = variance


@compiled(freedom={"contract"})
def _mix(
    logit: Array,
    pairs: int,
    seen: Array,
    first: Array,
    count: int,
    samples: Array,
    bits: Array,
    power: Array,
    rgb: Array,
) -> None:
    """Colours by the softmax of the logits of each point's views."""
    for i in range(count):
        low, high = first[i], first[i + 1]
        if not seen[low]:
            logit[low:high] = ZERO
        most = logit[low]
        for j in range(low, high):
            most = max(most, logit[j])
        for j in range(low, high):
            logit[j] -= most
    _exp(logit, pairs, bits, power)
    for i in range(count):
        total = ZERO
        for j in range(first[i], first[i + 1]):
            total += logit[j]
        for k in range(RGB):
            value = ZERO
            for j in range(first[i], first[i + 1]):
                value += logit[j] * samples[k, j]
            rgb[i, k] = value / total


@compiled(freedom={"contract"})
def _layer(
    layer: Array,
    parameters: Array,
    x: Array,
    y: Array,
    count: int,
    scratch: tuple[Array, Array, Array],
) -> None:
    """y = weight x + bias, of the first `count` columns; y + weight x without any bias; or the ELU of that."""
    bits, power, part = scratch
    outputs, inputs, begin = layer[OUTPUTS], layer[INPUTS], layer[BEGIN]
    weight = parameters[begin : begin + outputs * inputs].reshape(outputs, inputs)
    whole = inputs - inputs % 4
    for o in range(outputs):
        row = y[o]
        if layer[BIASED]:
            bias = parameters[begin + outputs * inputs + o]
            for j in range(count):
                row[j] = bias
        for i in range(0, whole, 4):
            w0, w1, w2, w3 = weight[o, i], weight[o, i + 1], weight[o, i + 2], weight[o, i + 3]
            x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
            for j in range(count):
                row[j] = row[j] + w0 * x0[j] + w1 * x1[j] + w2 * x2[j] + w3 * x3[j]
        for i in range(whole, inputs):
            w0, x0 = weight[o, i], x[i]
            for j in range(count):
                row[j] = row[j] + w0 * x0[j]
        if not layer[ACTIVE]:
            continue
        for j in range(count):
            value = row[j]
            z = (value if value < ZERO else ZERO) * LOG2_E
            z = z if z > -LARGEST else -LARGEST
            shifted = z + TO_WHOLE
            f = z - (shifted - TO_WHOLE)
            power[j] = shifted
            part[j] = f * (C1 + f * (C2 + f * (C3 + f * (C4 + f * (C5 + f * C6)))))
            row[j] = ZERO if value < ZERO else value
        _powers(bits, count)
        for j in range(count):  # what is added is 0 where there was more than that
            row[j] += (power[j] - ONE) + power[j] * part[j]


@compiled(freedom={"contract"})
def _exp(x: Array, count: int, bits: Array, power: Array) -> None:
    """e^x in place: 2^f for the fraction f of the bits by a polynomial, the whole part by its bits.

    power: the memory of `bits`, read as floating point numbers.
    """
    for j in range(count):
        y = x[j] * LOG2_E
        y = -LARGEST if y < -LARGEST else y  # what is no number stays none
        y = LARGEST if y > LARGEST else y
        shifted = y + TO_WHOLE
        f = y - (shifted - TO_WHOLE)
        power[j] = shifted
        x[j] = ONE + f * (C1 + f * (C2 + f * (C3 + f * (C4 + f * (C5 + f * C6)))))
    _powers(bits, count)
    for j in range(count):
        x[j] *= power[j]


@compiled()
def _powers(bits: Array, count: int) -> None:
    """2^n, as the bits of a number, from those of n + `TO_WHOLE`, whose last are n's."""
    for j in range(count):
        bits[j] = (bits[j] << 23) + 0x3F800000


@compiled(freedom={"contract"})
def _sigmoid(x: Array, count: int, bits: Array, power: Array) -> None:
    for j in range(count):
        x[j] = -x[j]
    _exp(x, count, bits, power)
    for j in range(count):
        x[j] = ONE / (ONE + x[j])
