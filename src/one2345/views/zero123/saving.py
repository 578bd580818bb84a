"""Zero123 as a folder: each part as diffusers and transformers lay it out, safetensors only."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from one2345.files import aside_name, sync, write_atomic
from one2345.hub.zero123 import OWN, Pose

from .codec import PixelCodec, VaeCodec
from .model import Zero123

FORMAT = "one2345-zero123/1"


def save_zero123(
    folder: Path,
    model: Zero123,
    *,
    scheduler: Mapping[str, Any],
    pose: Pose = "delta",
    record: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a folder that `load_zero123` reads.

    unet/, vae/ (of a `VaeCodec`), image_encoder/, scheduler/, projection.safetensors, and one2345.json with size, pose,
    reprojected and a `PixelCodec`'s factor and scale; it comes last, so that a folder that has it is whole. scheduler:
    configuration of the noise schedule in the words of diffusers. record: plain notes on how the weights came to
    be. dtype: to store in, None: as they are.
    """
    codec = model.codec
    if not isinstance(codec, VaeCodec | PixelCodec):
        raise ValueError(f"{type(codec).__name__} can't be saved")
    (folder / OWN).unlink(missing_ok=True)
    _save(folder / "unet", model.unet, _config(model.unet), "diffusion_pytorch_model", dtype)
    if isinstance(codec, VaeCodec):
        _save(folder / "vae", codec.vae, _config(codec.vae), "diffusion_pytorch_model", dtype)
    encoder: Any = model.image_encoder
    _save(folder / "image_encoder", encoder, encoder.config.to_dict(), "model", dtype)
    _weights(folder / "projection.safetensors", model.projection, dtype)
    _json(folder / "scheduler" / "scheduler_config.json", scheduler)
    pixels = isinstance(codec, PixelCodec)
    content: dict[str, Any] = {
        "format": FORMAT,
        "size": model.size,
        "reprojected": list(model.reprojected),
        "pose": pose,
        "codec": {"factor": codec.factor, "scale": codec.scale} if pixels else None,
        "record": dict(record or {}),
    }
    _json(folder / OWN, content)


def _save(
    folder: Path, module: nn.Module, config: Mapping[str, Any], stem: str, dtype: torch.dtype | None
) -> None:
    _weights(folder / f"{stem}.safetensors", module, dtype)
    _json(folder / "config.json", config)


def _config(module: Any) -> dict[str, Any]:
    """Of a diffusers model, without the version that happened to write it."""
    return {
        "_class_name": type(module).__name__,
        **{k: v for k, v in module.config.items() if not k.startswith("_")},
    }


def _json(file: Path, content: Mapping[str, Any]) -> None:
    write_atomic(file, json.dumps(dict(content), indent=2, sort_keys=True, default=str) + "\n")


def _weights(file: Path, module: nn.Module, dtype: torch.dtype | None) -> None:
    state = {
        n: t.detach().to("cpu", dtype if t.is_floating_point() else None).contiguous()
        for n, t in module.state_dict().items()
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{aside_name()}.tmp")
    try:
        save_file(state, aside)
        sync(aside)
        os.replace(aside, file)
    finally:
        aside.unlink(missing_ok=True)
