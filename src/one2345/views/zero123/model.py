"""The view-conditioned diffusion model of Zero123 (Liu et al., arXiv 2303.11328), from stock diffusers parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .codec import Codec
from .reproject import reproject

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPVisionModelWithProjection

POSE = 4
"""Entries of the pose vector, see `geometry.zero123_pose`."""

_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Condition:
    """What the model is told of n pictures. embeddings: (n, d) of the image encoder. latents: (n, c, h, w).
    pictures: (n, 3, size, size) themselves."""

    embeddings: Tensor
    latents: Tensor
    pictures: Tensor

    def __getitem__(self, index: Any) -> Condition:
        return Condition(self.embeddings[index], self.latents[index], self.pictures[index])

    @staticmethod
    def cat(parts: Sequence[Condition]) -> Condition:
        """The pictures of all parts, in order."""
        names = ("embeddings", "latents", "pictures")
        return Condition(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


class Zero123(nn.Module):
    """Noise prediction for a picture of an object from a camera that is given relative to another picture of it.

    unet: takes noisy and condition latents side by side, and one token as context. codec: pictures to latents.
    image_encoder: picture to embedding. projection: linear, from embedding and pose (4) to the token.
    size: edge of the square pictures in pixels that the weights were trained for. reprojected: elevations in degrees;
    for each, the latents of the picture as the wanted camera would see it from there if it showed a ball (`reproject`)
    follow those of the picture itself. Nothing of the published model: a start for small ones.
    """

    def __init__(
        self,
        *,
        unet: UNet2DConditionModel,
        codec: Codec,
        image_encoder: CLIPVisionModelWithProjection,
        projection: nn.Linear,
        size: int = 256,
        reprojected: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.unet = unet
        self.codec = codec
        self.image_encoder = image_encoder
        self.projection = projection
        self.size = size
        self.reprojected = tuple(float(elevation) for elevation in reprojected)

    @property
    def dtype(self) -> torch.dtype:
        return self.projection.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.projection.weight.device

    def latent_shape(self, count: int) -> tuple[int, int, int, int]:
        """Shape of the latents of `count` pictures."""
        edge = self.size // self.codec.factor
        return count, self.codec.channels, edge, edge

    def condition(self, images: Tensor) -> Condition:
        """Encode pictures (n, 3, size, size) in [0, 1]."""
        images = images.to(self.device, self.dtype)
        return Condition(
            embeddings=self.image_encoder(pixel_values=self._for_encoder(images)).image_embeds,
            latents=self.codec.condition(images),
            pictures=images,
        )

    def image_latents(self, condition: Condition, pose: Tensor) -> Tensor:
        """What stands beside the noisy latents for pose vectors (n, 4): those of the pictures, and of `reprojected`."""
        guesses = [reproject(condition.pictures, pose, elevation=e) for e in self.reprojected]
        return torch.cat([condition.latents, *(self.codec.condition(guess) for guess in guesses)], 1)

    def token(self, condition: Condition, pose: Tensor) -> Tensor:
        """The context (n, 1, d) of pose vectors (n, 4)."""
        pose = pose.to(condition.embeddings)
        return self.projection(torch.cat([condition.embeddings, pose], -1))[:, None]

    def forward(self, noisy: Tensor, timesteps: Tensor, token: Tensor, latents: Tensor) -> Tensor:
        """The prediction (n, c, h, w) for noisy latents (n, c, h, w) at timesteps (n,) or ().

        token, latents: the condition; both zero means unconditional.
        """
        return self.unet(torch.cat([noisy, latents], 1), timesteps, encoder_hidden_states=token).sample

    def _for_encoder(self, images: Tensor) -> Tensor:
        """Bicubic, corners aligned, not anti-aliased, as Zero123 was trained; then CLIP's mean and deviation."""
        edge = int(cast(Any, self.image_encoder.config).image_size)
        # On [-1, 1], where the original resamples; bicubic overshoot makes the order of the two matter little.
        resized = F.interpolate(
            images.float() * 2 - 1, (edge, edge), mode="bicubic", align_corners=True, antialias=False
        )
        mean, std = (resized.new_tensor(x)[:, None, None] for x in (_CLIP_MEAN, _CLIP_STD))
        return ((resized / 2 + 0.5 - mean) / std).to(images.dtype)
