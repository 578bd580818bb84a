"""Colour of a point by blending what the source views show there (after IBRNet).

No colour is predicted: the network weighs the views, so it works for any number and order of them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

RGB = 3
DIRECTION = 4
LOG2_E = math.log2(math.e)
UNSEEN = -1e9
"""The logit of a view that doesn't see the point."""


class BlendNet(nn.Module):
    """Weights of the views from their features, directions and the point's geometry feature.

    geometry_channels: per-point feature. feature_channels: per-view image feature, without the 3 colours.
    hidden, width, logit_hidden: sizes of the layers (the published ones by default).
    count_hidden_views: the minimum of the anti-alias weight runs over views that don't see the point too, as
    published; otherwise such views change nothing, and a batch may be padded with them.

    Published names: direction = ray_dir_fc, base = base_fc, visibility = vis_fc, visibility2 = vis_fc2,
    logit = rgb_fc, sharpness = s.
    """

    def __init__(
        self,
        *,
        geometry_channels: int = 16,
        feature_channels: int = 56,
        hidden: int = 64,
        width: int = 32,
        direction_hidden: int = 16,
        logit_hidden: tuple[int, int] = (16, 8),
        count_hidden_views: bool = False,
    ) -> None:
        super().__init__()
        channels = RGB + feature_channels
        self.geometry_channels, self.feature_channels, self.width = geometry_channels, feature_channels, width
        self.count_hidden_views = count_hidden_views
        self.sharpness = nn.Parameter(torch.tensor(0.2))
        self.direction = nn.Sequential(
            nn.Linear(DIRECTION, direction_hidden), Elu(), nn.Linear(direction_hidden, channels), Elu()
        )
        self.base = nn.Sequential(
            nn.Linear(geometry_channels + 3 * channels, hidden), Elu(), nn.Linear(hidden, width), Elu()
        )
        self.visibility = nn.Sequential(nn.Linear(width, width), Elu(), nn.Linear(width, width + 1), Elu())
        self.visibility2 = nn.Sequential(nn.Linear(width, width), Elu(), nn.Linear(width, 1))
        first, second = logit_hidden
        self.logit = nn.Sequential(
            nn.Linear(width + 1 + DIRECTION, first),
            Elu(),
            nn.Linear(first, second),
            Elu(),
            nn.Linear(second, 1),
        )
        for block in (self.base, self.visibility, self.visibility2, self.logit):
            for layer in block:
                if isinstance(layer, nn.Linear):
                    nn.init.kaiming_normal_(layer.weight)
                    nn.init.zeros_(layer.bias)

    def forward(self, geometry: Tensor, view_features: Tensor, directions: Tensor, visible: Tensor) -> Tensor:
        """Colours (b, p, 3).

        geometry: (b, p, g). view_features: (b, v, p, 3 + f), colour first. directions: (b, v, p, 4), see
        `view_directions`. visible: (b, v, p) bool. A point that no view sees gets the mean of all.
        """
        return (
            self.weights(geometry, view_features, directions, visible)[..., None] * view_features[..., :RGB]
        ).sum(1)

    def weights(self, geometry: Tensor, view_features: Tensor, directions: Tensor, visible: Tensor) -> Tensor:
        """Blending weights (b, v, p), summing to 1 over the views; arguments as in `forward`."""
        share = self.anti_alias(directions, visible)
        rows = [x.transpose(1, 2).flatten(0, 1) for x in (view_features, directions, visible, share)]
        weights = torch.softmax(self.logits(geometry.flatten(0, 1), *rows), 1)
        return weights.unflatten(0, (len(visible), -1)).transpose(1, 2)

    def logits(
        self, geometry: Tensor, view_features: Tensor, directions: Tensor, visible: Tensor, share: Tensor
    ) -> Tensor:
        """What the views' weights (p, v) are the softmax of.

        geometry: (p, g). view_features: (p, v, 3 + f). directions: (p, v, 4). visible: (p, v) bool. share: (p, v) of
        `anti_alias`. Views that don't see a point have the same very low value there and no part in the others.
        """
        p, v, c = view_features.shape
        rows = p * v  # everything but the mean and the variance is of one view and one point
        directions = directions.reshape(rows, DIRECTION)
        features = view_features + self.direction(directions).view(p, v, c)
        with torch.autocast(share.device.type, enabled=False):
            mean = share[:, None] @ features
            variance = share[:, None] @ (features - mean).square()
        x = self._base(geometry, mean[:, 0], variance[:, 0], features)
        residual, opinion = self._visibility(x * share.reshape(rows, 1))
        x = x + residual
        # What is worked out here for views that don't see the point is dropped by the mask.
        second = torch.sigmoid(self.visibility2(x * torch.sigmoid(opinion)))
        first = _linear(self.logit)
        w_x, w_second, w_direction = first.weight.split([self.width, 1, DIRECTION], 1)
        hidden = F.linear(directions, w_direction, first.bias) + F.linear(x, w_x) + second * w_second[:, 0]
        return self.logit[1:](hidden).view(p, v).to(share.dtype).masked_fill(~visible, UNSEEN)

    def _base(self, geometry: Tensor, mean: Tensor, variance: Tensor, features: Tensor) -> Tensor:
        """The base MLP (p v, width) on [geometry, mean, variance, features of the view].

        The columns of the first three are applied once per point, not once per view.
        """
        first = _linear(self.base)
        c = features.shape[-1]
        per_point, per_view = first.weight.split([self.geometry_channels + 2 * c, c], 1)
        point = F.linear(torch.cat([geometry, mean, variance], -1), per_point, first.bias)
        hidden = F.linear(features, per_view) + point[:, None]
        return self.base[1:](hidden.flatten(0, 1))

    def _visibility(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The visibility MLP's residual (n, width) and its opinion (n, 1), as two layers rather than two slices."""
        last, activation = _linear(self.visibility, 2), self.visibility[3]
        hidden, sizes = self.visibility[:2](x), [self.width, 1]
        parts = zip(last.weight.split(sizes), last.bias.split(sizes), strict=True)
        residual, opinion = (activation(F.linear(hidden, weight, bias)) for weight, bias in parts)
        return residual, opinion

    def anti_alias(self, directions: Tensor, visible: Tensor) -> Tensor:
        """Weights (b, v, p) of the views in mean and variance: views close to the query direction count more.

        They sum to 1 over the views, or are all 0: no view sees the point, or all that do are equally close.
        """
        closeness = torch.exp(self.sharpness.abs() * (directions[..., 3] - 1.0))
        visible = visible.bool()
        counted = closeness if self.count_hidden_views else closeness.masked_fill(~visible, 2.0)
        raw = torch.where(visible, closeness - counted.amin(1, keepdim=True), torch.zeros_like(closeness))
        return raw / (raw.sum(1, keepdim=True) + 1e-8)


class Elu(nn.ELU):
    """nn.ELU; in single and double precision on a CPU by exp2, which is four times as fast as expm1.

    Equal to a rounding error of 1.
    """

    def forward(self, input: Tensor) -> Tensor:
        exact = input.device.type == "cpu" and input.dtype in (torch.float32, torch.float64)
        return _Elu.apply(input) if exact and not torch.compiler.is_compiling() else super().forward(input)


class _Elu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        result = (x * LOG2_E).clamp_max_(0).exp2_().sub_(1)
        torch.maximum(result, x, out=result)  # e^x - 1 is never below x
        ctx.save_for_backward(result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        (result,) = ctx.saved_tensors
        return torch.ops.aten.elu_backward(upstream, 1, 1, 1, True, result)


def _linear(block: nn.Sequential, index: int = 0) -> nn.Linear:
    layer = block[index]
    assert isinstance(layer, nn.Linear)
    return layer


def view_directions(to_query: Tensor, to_views: Tensor) -> Tensor:
    """Direction input (..., 4) = [unit(q - s), q . s].

    to_query: q and to_views: s, both (3, ...), unit vectors from the points to the cameras, coordinates first.
    """
    difference = unit(to_query - to_views, eps=1e-6)
    return torch.stack([*difference, (to_query * to_views).sum(0)], -1)


def unit(vectors: Tensor, eps: float = 1e-12) -> Tensor:
    """Vectors (3, ...) of length 1, coordinates first; shorter ones than `eps` are divided by it.

    `F.normalize` along the first dimension takes fifty times as long on a CPU.
    """
    x, y, z = vectors
    return vectors * (x * x + y * y + z * z).clamp_min(eps * eps).rsqrt()
