"""Colour of a point by blending what the source views show there (after IBRNet).

No colour is predicted: the network weighs the views, so it works for any number and order of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RGB = 3
DIRECTION = 4


class BlendNet(nn.Module):
    """Weights of the views from their features, directions and the point's geometry feature.

    geometry_channels: per-point feature. feature_channels: per-view image feature, without the 3 colours.
    hidden, width, logit_hidden: sizes of the layers (the published ones by default).
    count_hidden_views: the minimum of the anti-alias weight runs over views that don't see the point too, as
    published; otherwise such views change nothing, and a batch may be padded with them.
    cpu_rows: on a CPU, (object, view, point) triples per pass, so that a pass fits the cache; None takes all
    at once, as a GPU always does. Only speed depends on it.

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
        cpu_rows: int | None = 16_384,
    ) -> None:
        super().__init__()
        channels = RGB + feature_channels
        self.geometry_channels, self.width = geometry_channels, width
        self.count_hidden_views, self.cpu_rows = count_hidden_views, cpu_rows
        self.sharpness = nn.Parameter(torch.tensor(0.2))
        self.direction = nn.Sequential(
            nn.Linear(DIRECTION, direction_hidden), nn.ELU(), nn.Linear(direction_hidden, channels), nn.ELU()
        )
        self.base = nn.Sequential(
            nn.Linear(geometry_channels + 3 * channels, hidden), nn.ELU(), nn.Linear(hidden, width), nn.ELU()
        )
        self.visibility = nn.Sequential(
            nn.Linear(width, width), nn.ELU(), nn.Linear(width, width + 1), nn.ELU()
        )
        self.visibility2 = nn.Sequential(nn.Linear(width, width), nn.ELU(), nn.Linear(width, 1))
        first, second = logit_hidden
        self.logit = nn.Sequential(
            nn.Linear(width + 1 + DIRECTION, first),
            nn.ELU(),
            nn.Linear(first, second),
            nn.ELU(),
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
        b, v, p = visible.shape
        if self.cpu_rows is None or geometry.device.type != "cpu" or b * v * p <= self.cpu_rows:
            return self._weights(geometry, view_features, directions, visible)
        points = max(1, self.cpu_rows // (b * v))
        parts = zip(
            geometry.split(points, 1),
            *(x.split(points, 2) for x in (view_features, directions, visible)),
            strict=True,
        )
        return torch.cat([self._weights(*part) for part in parts], 2)

    def _weights(
        self, geometry: Tensor, view_features: Tensor, directions: Tensor, visible: Tensor
    ) -> Tensor:
        weight = self.anti_alias(directions, visible)[..., None]
        features = view_features + self.direction(directions)
        mean = (weight * features).sum(1)
        variance = (weight * (features - mean[:, None]).square()).sum(1)
        x = self._base(geometry, mean, variance, features)
        residual, opinion = self.visibility(x * weight).split([self.width, 1], -1)
        x = x + residual
        # What is worked out here for views that don't see the point is dropped by the softmax's mask.
        second = torch.sigmoid(self.visibility2(x * torch.sigmoid(opinion)))
        first, rest = _first_layer(self.logit)
        w_x, w_second, w_direction = first.weight.split([self.width, 1, DIRECTION], -1)
        hidden = F.linear(x, w_x, first.bias) + second * w_second[:, 0] + F.linear(directions, w_direction)
        logits = rest(hidden)[..., 0]
        return torch.softmax(logits.masked_fill(~visible.bool(), -1e9), 1)

    def _base(self, geometry: Tensor, mean: Tensor, variance: Tensor, features: Tensor) -> Tensor:
        """The base MLP on [geometry, mean, variance, features of the view].

        The columns of the first three are applied once per point, not once per view.
        """
        first, rest = _first_layer(self.base)
        c = features.shape[-1]
        per_point, per_view = first.weight.split([self.geometry_channels + 2 * c, c], -1)
        point = F.linear(torch.cat([geometry, mean, variance], -1), per_point, first.bias)
        return rest(point[:, None] + F.linear(features, per_view))

    def anti_alias(self, directions: Tensor, visible: Tensor) -> Tensor:
        """Weights (b, v, p) of the views in mean and variance: views close to the query direction count more.

        They sum to 1 over the views, or are all 0: no view sees the point, or all that do are equally close.
        """
        closeness = torch.exp(self.sharpness.abs() * (directions[..., 3] - 1.0))
        visible = visible.bool()
        counted = closeness if self.count_hidden_views else closeness.masked_fill(~visible, 2.0)
        raw = torch.where(visible, closeness - counted.amin(1, keepdim=True), torch.zeros_like(closeness))
        return raw / (raw.sum(1, keepdim=True) + 1e-8)


def _first_layer(block: nn.Sequential) -> tuple[nn.Linear, nn.Sequential]:
    first, *rest = block
    assert isinstance(first, nn.Linear)
    return first, nn.Sequential(*rest)


def view_directions(to_query: Tensor, to_views: Tensor) -> Tensor:
    """Direction input (b, v, p, 4) = [unit(q - s), q . s].

    to_query: q (b, p, 3), to_views: s (b, v, p, 3), unit vectors from the points to the cameras.
    """
    query = to_query[:, None]
    difference = F.normalize(query - to_views, dim=-1, eps=1e-6)
    return torch.cat([difference, (query * to_views).sum(-1, keepdim=True)], -1)
