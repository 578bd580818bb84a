"""Sizes of the published model, Zero123 and Zero123-XL (Liu et al., arXiv 2303.11328), and its noise schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from .codec import VaeCodec
from .model import POSE, Zero123
from .parts import build_image_encoder, build_unet, build_vae

SIZE = 256
SCHEDULE: dict[str, Any] = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "prediction_type": "epsilon",
}
"""Noise of Stable Diffusion 1; steps and the last one's noise as in the original's DDIM."""


@dataclass(frozen=True)
class Zero123Config:
    """Configurations in the words of diffusers and transformers, as their config.json have them."""

    unet: dict[str, Any]
    vae: dict[str, Any]
    image_encoder: dict[str, Any]
    scheduler: dict[str, Any]
    size: int = SIZE

    def build(self) -> Zero123:
        """The network on the meta device: shapes without memory."""
        image_encoder = build_image_encoder(self.image_encoder, where="image_encoder")
        return Zero123(
            unet=build_unet(self.unet, where="unet"),
            codec=VaeCodec(vae=build_vae(self.vae, where="vae")),
            image_encoder=image_encoder,
            projection=nn.Linear(
                int(self.image_encoder["projection_dim"]) + POSE,
                int(self.unet["cross_attention_dim"]),
                device="meta",
            ),
            size=self.size,
        ).eval()


def published_config() -> Zero123Config:
    """The UNet, autoencoder and schedule of Stable Diffusion 1 (the UNet with eight channels in), CLIP ViT-L/14."""
    return Zero123Config(
        unet={
            "sample_size": 32,
            "in_channels": 8,
            "out_channels": 4,
            "block_out_channels": [320, 640, 1280, 1280],
            "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
            "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
            "layers_per_block": 2,
            "attention_head_dim": 8,  # of Stable Diffusion 1 diffusers means the number of heads by it
            "cross_attention_dim": 768,
        },
        vae={
            "in_channels": 3,
            "out_channels": 3,
            "latent_channels": 4,
            "block_out_channels": [128, 256, 512, 512],
            "down_block_types": ["DownEncoderBlock2D"] * 4,
            "up_block_types": ["UpDecoderBlock2D"] * 4,
            "layers_per_block": 2,
            "scaling_factor": 0.18215,
            "sample_size": SIZE,
        },
        image_encoder={
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 224,
            "patch_size": 14,
            "projection_dim": 768,
            "hidden_act": "quick_gelu",
        },
        scheduler=dict(SCHEDULE),
    )
