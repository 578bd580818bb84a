"""Between pictures and what the diffusion model works on: the latents of an autoencoder, or folded pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL


class Codec(Protocol):
    """channels, factor: of the latents (n, channels, h / factor, w / factor)."""

    channels: int
    factor: int

    def condition(self, images: Tensor) -> Tensor:
        """Latents by which a picture (n, 3, h, w) in [0, 1] conditions the model."""
        ...

    def encode(self, images: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Latents of about unit variance, to be noised in training."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures (n, 3, h, w) of latents, not clamped to [0, 1]."""
        ...


class VaeCodec(nn.Module):
    """Latents of Stable Diffusion's autoencoder (Rombach et al., arXiv 2112.10752), as Zero123 uses them.

    The condition is the mode of the posterior, *not* multiplied by the scaling factor; noised latents are.
    """

    def __init__(self, *, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae
        self.channels = int(vae.config["latent_channels"])
        self.factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
        self.scaling = float(vae.config["scaling_factor"])

    def condition(self, images: Tensor) -> Tensor:
        return self.vae.encode(images * 2 - 1).latent_dist.mode()  # type: ignore[union-attr]

    def encode(self, images: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        posterior = self.vae.encode(images * 2 - 1).latent_dist  # type: ignore[union-attr]
        return posterior.sample(generator) * self.scaling

    def decode(self, latents: Tensor) -> Tensor:
        return self.vae.decode(latents / self.scaling).sample / 2 + 0.5  # type: ignore[union-attr]


class PixelCodec(nn.Module):
    """Pixels folded `factor` by `factor` into channels: no weights and no loss, for small pictures.

    scale: pixels in [-1, 1] are multiplied by it; pictures that are mostly white have less than unit variance.
    """

    def __init__(self, *, factor: int = 4, scale: float = 1.0) -> None:
        super().__init__()
        self.factor, self.scale = factor, scale
        self.channels = 3 * factor**2

    def condition(self, images: Tensor) -> Tensor:
        return F.pixel_unshuffle(images * 2 - 1, self.factor) * self.scale

    def encode(self, images: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        return self.condition(images)

    def decode(self, latents: Tensor) -> Tensor:
        return F.pixel_shuffle(latents / self.scale, self.factor) / 2 + 0.5
