"""The stock modules that Zero123 is made of, built from plain configurations and filled with weights by name."""

from __future__ import annotations

import inspect
import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from one2345.errors import CheckpointError
from one2345.weight_files import check_names

from .lazy import Tensors

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPVisionModelWithProjection

Config = Mapping[str, Any]

_CLIP_KEYS = [
    "hidden_size",
    "intermediate_size",
    "projection_dim",
    "num_hidden_layers",
    "num_attention_heads",
    "num_channels",
    "image_size",
    "patch_size",
    "hidden_act",
    "layer_norm_eps",
    "attention_dropout",
    "initializer_range",
    "initializer_factor",
]


def build_unet(config: Config, *, where: str) -> UNet2DConditionModel:
    """On the meta device, as all of these. Raises CheckpointError that begins with `where`."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return _diffusers(UNet2DConditionModel, config, where)


def build_vae(config: Config, *, where: str) -> AutoencoderKL:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return _diffusers(AutoencoderKL, config, where)


def build_image_encoder(config: Config, *, where: str) -> CLIPVisionModelWithProjection:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    # Some keys of transformers' configurations name code to fetch (`auto_map`, kernels of attention): only sizes
    # are taken.
    sizes = {key: config[key] for key in _CLIP_KEYS if key in config}
    with _building(where):
        return CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes)).eval()


def _diffusers(kind: Any, config: Config, where: str) -> Any:
    name = config.get("_class_name", kind.__name__)
    if name != kind.__name__:
        raise CheckpointError(f"{where}: a {name}, expected {kind.__name__}")
    known = inspect.signature(kind.__init__).parameters
    with _building(where):
        return kind.from_config({k: v for k, v in config.items() if k in known}).eval()


@contextmanager
def _building(where: str) -> Generator[None]:
    try:
        with torch.device("meta"):
            yield
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{where}: its configuration can't be built ({reason})") from error


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object. Raises CheckpointError."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: can't be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: no JSON object")
    return content


def fill(
    module: nn.Module,
    tensors: Tensors,
    *,
    where: str,
    dtype: torch.dtype,
    device: torch.device,
    ignore: str = "",
) -> None:
    """Put weights into a module of the meta device, one tensor after the other.

    ignore: a name that may be among the tensors without being one of the module's. Raises CheckpointError naming
    `where` and the keys that are missing, unknown or of another shape, or whose values are not finite.
    """
    wanted = module.state_dict()
    check_names(wanted, tensors, where=where, ignore=ignore)
    state = {}
    for name in wanted:
        tensor = tensors[name].load()
        # A copy, since a mapped file would follow what happens to it.
        tensor = tensor.to(device, dtype, copy=True) if tensor.is_floating_point() else tensor.to(device)
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{where}: {name} holds numbers that are not finite in {dtype}")
        state[name] = tensor.contiguous()
    module.load_state_dict(state, assign=True)
    for name, buffer in module.named_buffers():
        if buffer.is_meta:
            _recompute(module, name, device)


def _recompute(module: nn.Module, name: str, device: torch.device) -> None:
    """A buffer that is not stored: of the stock modules only CLIP's count of positions."""
    owner, _, last = name.rpartition(".")
    parent = module.get_submodule(owner)
    if last != "position_ids":
        raise NotImplementedError(f"{type(module).__name__} has a buffer {name} that is not stored")
    shape = parent.get_buffer(last).shape
    parent.register_buffer(last, torch.arange(shape[-1], device=device).expand(shape), persistent=False)
