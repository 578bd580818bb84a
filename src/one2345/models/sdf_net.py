"""Signed distance head: a small MLP over the encoded position and the feature volume's value there."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from .activations import BETA, Activation
from .sdf_pass import Head, Layers
from .volume_lookup import FeatureVolume


class SdfNet(nn.Module):
    """sdf(x) = MLP(encoding(x), latent(x)) [+ prior(x)].

    latent_channels: of `FeatureVolume.features`; with `prior` its last channel is a signed distance to start
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
        if not (torch.is_grad_enabled() and points_world.requires_grad):
            return self._head(volume).distance(points_world, volume, self._layers())
        latent, h, last = self._hidden(points_world, volume)
        value = _join(last[:1], self.layer2.bias[:1], h, latent)[..., 0] * volume.box.half_edge
        return value + latent[..., -1] if self.prior else value

    def features(self, points_world: Tensor, volume: FeatureVolume) -> Tensor:
        """The other outputs (b, p, outputs - 1) of the last layer at points (b, p, 3)."""
        latent, h, last = self._hidden(points_world, volume)
        return _join(last[1:], self.layer2.bias[1:], h, latent)

    def sdf_and_gradient(self, points_world: Tensor, volume: FeatureVolume) -> tuple[Tensor, Tensor]:
        """Signed distance (b, p) and its world gradient (b, p, 3) by one explicit reverse pass.

        Equal to `forward` and autograd's derivative of it, and losses may be made of both: see `sdf_pass`. No gradient
        flows to the points.
        """
        return self._head(volume).distance_and_gradient(points_world.detach(), volume, self._layers())

    def _head(self, volume: FeatureVolume) -> Head:
        return Head(
            box=volume.box,
            strict=volume.strict,
            activation=self.activation,
            octaves=self.octaves,
            prior=self.prior,
        )

    def _layers(self) -> Layers:
        """Each weight is asked for once: with weight_norm each access works it out again."""
        last, bias = self.layer2.weight[:1], self.layer2.bias[:1]
        return (
            self.layer0.weight, self.layer0.bias, self.layer1.weight, self.layer1.bias, last, bias
        )  # fmt: skip

    def _hidden(self, points_world: Tensor, volume: FeatureVolume) -> tuple[Tensor, Tensor, Tensor]:
        """Latent, last hidden values, and the last layer's weight, by plain operations."""
        latent = volume.features(points_world)
        h = self._activate(self.layer0(self._head(volume).encode(volume.box.to_unit(points_world))))
        h = self._activate(_join(self.layer1.weight, self.layer1.bias, h, latent))
        return latent, h, self.layer2.weight

    def _activate(self, x: Tensor) -> Tensor:
        # torch takes softplus for its argument from beta x = 20 on: 2e-11 off, which float64 can tell.
        return F.softplus(x, beta=BETA, threshold=50) if self.activation == "softplus" else F.silu(x)


def _join(weight: Tensor, bias: Tensor, h: Tensor, latent: Tensor) -> Tensor:
    """A linear layer of [h, latent] without the concatenation."""
    width = h.shape[-1]
    return F.linear(h, weight[:, :width], bias) + F.linear(latent, weight[:, width:])
