"""A Zero123 of any size with random weights, to be trained from nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from one2345.errors import InputError

from .codec import PixelCodec
from .loading import LoadedZero123
from .model import POSE, Zero123


def new_zero123(
    *,
    size: int,
    scheduler: Mapping[str, Any],
    fold: int = 8,
    scale: float = 1.0,
    channels: Sequence[int] = (128,),
    attention: Sequence[bool] = (True,),
    layers: int = 1,
    heads: int = 4,
    token: int = 64,
    encoder: Mapping[str, Any] | None = None,
    pose_gain: float = 1.0,
    reprojected: Sequence[float] = (),
) -> LoadedZero123:
    """Random weights, from torch's global generator.

    size: edge of the pictures in pixels, of which `fold` by `fold` become one position of the UNet. scale: see
    `PixelCodec`. channels, attention: of the UNet's levels. token: entries of the condition's token, which beside
    the attention to it also modulates every residual block (diffusers' `addition_embed_type=text`): attention to a
    single token can only add a constant, by which a turn is learnt slowly. encoder: sizes in the words of
    transformers' CLIPVisionConfig. pose_gain: factor on the first weights of the pose in the projection.
    reprojected: see `Zero123`. scheduler: the noise, in the words of diffusers.
    """
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    codec = PixelCodec(factor=fold, scale=scale)
    levels = len(channels)
    if len(attention) != levels or size % (fold * 2 ** (levels - 1)):
        raise InputError(
            f"zero123 of {size} px: {levels} levels of channels={list(channels)} need as many entries of "
            f"attention={list(attention)}, and a size that fold={fold} and the halvings divide"
        )
    sizes: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    sizes |= {"image_size": 32, "patch_size": 8, "projection_dim": 64, **(encoder or {})}
    unet = UNet2DConditionModel(
        sample_size=size // fold,
        in_channels=(2 + len(reprojected)) * codec.channels,
        out_channels=codec.channels,
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attention),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)),
        block_out_channels=tuple(channels),
        layers_per_block=layers,
        attention_head_dim=heads,  # by which diffusers means the number of heads here
        cross_attention_dim=token,
        norm_num_groups=16,
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        resnet_time_scale_shift="scale_shift",
    )
    projection = nn.Linear(int(sizes["projection_dim"]) + POSE, token)
    projection.weight.data[:, -POSE:] *= pose_gain
    model = Zero123(
        unet=unet,
        codec=codec,
        image_encoder=CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes)),
        projection=projection,
        size=size,
        reprojected=reprojected,
    )
    schedule = {"_class_name": "DDIMScheduler", **scheduler}
    return LoadedZero123(
        model=model, scheduler=schedule, pose="delta", facts={"weights": "random", "sha256": {}}
    )
