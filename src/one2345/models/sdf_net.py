"""Signed distance head: a small MLP over the encoded position and the feature volume's value there."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from .volume_lookup import FeatureVolume

Activation = Literal["softplus", "silu"]


class SdfNet(nn.Module):
    """sdf(x) = MLP(encoding(x), latent(x)) [+ prior(x)].

    latent_channels: of the feature volume; with `prior` its last channel is a signed distance to start
    from (the soft visual hull): it feeds the MLP like the others, and is added to the output, whose
    last layer starts at zero, so that the untrained field is the prior itself.
    Without `prior` (activation=softplus only) the initialisation is geometric: a sphere of `radius` box half
    edges (Atzmon and Lipman, arXiv 1911.10414; the variant of NeuS, arXiv 2106.10689).
    The latent enters again at every layer but the first, as in SparseNeuS (arXiv 2206.05737).
    outputs: of the last layer; the first is the distance, the others are for `features`. weight_norm: weights are
    trained as direction and length per output (Salimans and Kingma, arXiv 1602.07868).
    """

    def __init__(
        self,
        *,
        latent_channels: int,
        hidden: int = 64,
        octaves: int = 4,
        activation: Activation = "silu",
        prior: bool = True,
        radius: float = 0.5,
        outputs: int = 1,
        weight_norm: bool = False,
    ) -> None:
        super().__init__()
        if not prior and activation != "softplus":
            raise InputError(
                f"sdf_net: prior=false needs activation=softplus to start from a sphere, not {activation}"
            )
        self.prior = prior
        self.octaves = octaves
        self.activation: Activation = activation
        self.layer0 = nn.Linear(3 + 6 * octaves, hidden)
        self.layer1 = nn.Linear(hidden + latent_channels, hidden)
        self.layer2 = nn.Linear(hidden + latent_channels, outputs)
        if prior:
            nn.init.zeros_(self.layer2.weight)
            nn.init.zeros_(self.layer2.bias)
        else:
            self._geometric_init(hidden, radius)
        if weight_norm:
            for layer in (self.layer0, self.layer1, self.layer2):
                nn.utils.parametrizations.weight_norm(layer)

    def _geometric_init(self, hidden: int, radius: float) -> None:
        for layer in (self.layer0, self.layer1):
            nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / hidden))
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.layer0.weight[:, 3:])
        nn.init.zeros_(self.layer1.weight[:, hidden:])
        nn.init.normal_(self.layer2.weight, math.sqrt(math.pi) / math.sqrt(hidden), 1e-4)
        nn.init.zeros_(self.layer2.weight[:, hidden:])
        nn.init.constant_(self.layer2.bias, -radius)

    def forward(self, points_world: Tensor, volume: FeatureVolume) -> Tensor:
        """points (b, p, 3) -> signed distance (b, p), world units, negative inside."""
        latent, h, last = self._hidden(points_world, volume)
        value = _join(last[:1], self.layer2.bias[:1], h, latent)[..., 0]
        return self._output(value, latent, volume)

    def features(self, points_world: Tensor, volume: FeatureVolume) -> Tensor:
        """The other outputs (b, p, outputs - 1) of the last layer at points (b, p, 3)."""
        latent, h, last = self._hidden(points_world, volume)
        return _join(last[1:], self.layer2.bias[1:], h, latent)

    def _hidden(self, points_world: Tensor, volume: FeatureVolume) -> tuple[Tensor, Tensor, Tensor]:
        """Latent, last hidden values, and the last layer's weight."""
        latent = volume.lookup(points_world)
        h = self._activate(self.layer0(self._encode(volume.box.to_unit(points_world))))[0]
        h = self._activate(_join(self.layer1.weight, self.layer1.bias, h, latent))[0]
        return latent, h, self.layer2.weight

    def sdf_and_gradient(self, points_world: Tensor, volume: FeatureVolume) -> tuple[Tensor, Tensor]:
        """Signed distance (b, p) and its world gradient (b, p, 3) by one explicit reverse pass.

        Equal to `forward` and autograd's derivative of it, but made of ordinary operations, so that a loss
        on the gradient needs no double backward. No gradient flows to the points.
        """
        points_world = points_world.detach()
        corners, weights, slopes = volume.lookup_corners(points_world)
        latent = (weights[..., None, :] @ corners)[..., 0, :]
        unit = volume.box.to_unit(points_world)
        encoding = self._encode(unit)
        # Taken once: with weight_norm each access works them out again.
        first, second, last = self.layer0.weight, self.layer1.weight, self.layer2.weight[:1]
        h0, d0 = self._activate(F.linear(encoding, first, self.layer0.bias))
        h1, d1 = self._activate(_join(second, self.layer1.bias, h0, latent))
        sdf = self._output(_join(last, self.layer2.bias[:1], h1, latent)[..., 0], latent, volume)

        scale = volume.box.half_edge
        hidden = h0.shape[-1]
        to_pre1 = d1 * (last[0, :hidden] * scale)
        to_pre0 = d0 * (to_pre1 @ second[:, :hidden])
        to_latent = to_pre1 @ second[:, hidden:] + last[0, hidden:] * scale
        if self.prior:
            of_prior = torch.zeros_like(to_latent)
            of_prior[..., -1] = 1
            to_latent = to_latent + of_prior
        through_volume = ((corners @ to_latent[..., None])[..., 0][..., None, :] @ slopes)[..., 0, :]
        through_position = self._encode_reverse(unit, to_pre0 @ first) / scale
        rotation = volume.box.pose[:3, :3].to(unit)
        return sdf, through_volume + through_position @ rotation.mT

    def _output(self, value: Tensor, latent: Tensor, volume: FeatureVolume) -> Tensor:
        value = value * volume.box.half_edge
        return value + latent[..., -1] if self.prior else value

    def _encode(self, unit: Tensor) -> Tensor:
        """[x, sin(2^k x), cos(2^k x)] for k < octaves: (..., 3 + 6 octaves)."""
        angles = [unit * 2.0**k for k in range(self.octaves)]
        return torch.cat([unit, *(f for angle in angles for f in (angle.sin(), angle.cos()))], -1)

    def _encode_reverse(self, unit: Tensor, upstream: Tensor) -> Tensor:
        """Gradient (..., 3) with respect to `unit` from that of the encoding."""
        result = upstream[..., :3]
        for k in range(self.octaves):
            angle = unit * 2.0**k
            of_sin, of_cos = upstream[..., 3 + 6 * k : 6 + 6 * k], upstream[..., 6 + 6 * k : 9 + 6 * k]
            result = result + 2.0**k * (of_sin * angle.cos() - of_cos * angle.sin())
        return result

    def _activate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Activation and its derivative."""
        if self.activation == "softplus":
            return F.softplus(x, beta=100), torch.sigmoid(100 * x)
        gate = torch.sigmoid(x)
        value = x * gate
        return value, gate + value * (1 - gate)


def _join(weight: Tensor, bias: Tensor, h: Tensor, latent: Tensor) -> Tensor:
    """A linear layer of [h, latent] without the concatenation."""
    width = h.shape[-1]
    return F.linear(h, weight[:, :width], bias) + F.linear(latent, weight[:, width:])
