"""The original checkpoints (zero123-xl.ckpt and its sisters): their names and layouts to those of stock modules.

UNet and autoencoder are converted by diffusers' own functions for checkpoints of latent diffusion; the names of
CLIP's image encoder (OpenAI's) and of the projection are mapped here. Sizes are read off the shapes.
The averaged weights (`model_ema.`) are taken where they are there, as the original does when it samples.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from one2345.errors import CheckpointError

from .lazy import LazyTensor, Tensors, read_safetensors
from .published import SCHEDULE, published_config
from .unpickle import read_checkpoint

UNCHECKED = (
    "names of original checkpoints are mapped from their description: no original file was here to check them"
)

_UNET, _EMA, _VAE, _CLIP = (
    "model.diffusion_model.",
    "model_ema.",
    "first_stage_model.",
    "cond_stage_model.model.",
)
_PROJECTION = "cc_projection."


@dataclass(frozen=True)
class Original:
    """Tensors and configurations by the names of diffusers and transformers.

    unused: names of tensors that nothing was made of, by their first words. ema: whether the UNet's weights are
    the averaged ones.
    """

    unet: Tensors
    vae: Tensors
    image_encoder: Tensors
    projection: Tensors
    configs: Mapping[str, dict[str, Any]]
    ema: bool
    unused: Mapping[str, int]
    notes: tuple[str, ...] = field(default=(UNCHECKED,))


def read_original(file: Path) -> Original:
    """Convert a checkpoint of Lightning, or its tensors as safetensors; nothing is read but names and shapes.

    Raises CheckpointError naming the file and the first of the parts or keys that are not there.
    """
    tensors = _tensors(file)
    used: set[str] = set()
    unet, ema = _unet_tensors(tensors, used, file)
    try:
        configs = {
            "unet": _unet_config(unet),
            "vae": _vae_config(_without(tensors, _VAE)),
            "image_encoder": _clip_config(_without(tensors, f"{_CLIP}visual.")),
            "scheduler": _schedule(tensors),
        }
    except (LookupError, ValueError) as error:
        raise CheckpointError(
            f"{file}: no weights of Zero123, or of an unknown kind: {error.args[0]!r} is not there"
        ) from error
    visual = _without(tensors, f"{_CLIP}visual.")
    vae = {f"{_VAE}{n}": t for n, t in _without(tensors, _VAE).items() if not n.startswith("loss.")}
    used |= (
        {f"{_CLIP}visual.{n}" for n in visual} | set(vae) | {n for n in tensors if n.startswith(_PROJECTION)}
    )
    return Original(
        unet=_converted("unet", unet, configs["unet"], file),
        vae=_converted("vae", vae, configs["vae"], file),
        image_encoder=clip_names(visual, file),
        projection=_without(tensors, _PROJECTION),
        configs=configs,
        ema=ema,
        unused=_grouped(sorted(set(tensors) - used)),
    )


def _tensors(file: Path) -> dict[str, LazyTensor]:
    if file.suffix == ".safetensors":
        return read_safetensors(file)
    content = read_checkpoint(file)
    state = content.get("state_dict", content)
    if not isinstance(state, dict):
        raise CheckpointError(f"{file}: its `state_dict` is none")
    found = {n: t for n, t in state.items() if isinstance(n, str) and isinstance(t, LazyTensor)}
    if not found:
        raise CheckpointError(f"{file}: holds no weights (key `state_dict`)")
    return found


def _without(tensors: Tensors, prefix: str) -> dict[str, LazyTensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _grouped(names: list[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        group = ".".join(name.split(".")[:3]) if name.startswith("cond_stage") else name.split(".")[0]
        counts[group] = counts.get(group, 0) + 1
    return counts


def _unet_tensors(tensors: Tensors, used: set[str], file: Path) -> tuple[dict[str, LazyTensor], bool]:
    """Names with their prefix, and the averaged tensors in the place of the plain ones where they are there.

    The average keeps the names of the parameters without their dots, below `diffusion_model`.
    """
    plain = {n: t for n, t in tensors.items() if n.startswith(_UNET)}
    if not plain:
        raise CheckpointError(f"{file}: no weights of Zero123: no key begins with {_UNET}")
    averaged = {n: _EMA + n.removeprefix("model.").replace(".", "") for n in plain}
    if not any(name in tensors for name in averaged.values()):
        used |= set(plain)
        return plain, False
    lost = [name for name in averaged.values() if name not in tensors]
    if lost:
        raise CheckpointError(
            f"{file}: of the averaged weights {lost[0]} and {len(lost) - 1} more are missing"
        )
    # What the average replaces is used as far as a report is concerned.
    used |= set(plain) | set(averaged.values())
    return {n: tensors[averaged[n]] for n in plain}, True


def _converted(kind: str, tensors: Tensors, config: dict[str, Any], file: Path) -> dict[str, LazyTensor]:
    from diffusers.loaders import single_file_utils

    convert = getattr(single_file_utils, f"convert_ldm_{kind}_checkpoint")
    try:
        found: dict[str, LazyTensor | None] = convert(dict(tensors), config=config)
    except (LookupError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{file}: diffusers can't convert its {kind}: {error!r}") from error
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def _unet_config(tensors: Tensors) -> dict[str, Any]:
    """Sizes of a UNet of latent diffusion, from the shapes; the number of heads, which none shows, is eight."""
    shapes = {n.removeprefix(_UNET): t.shape for n, t in tensors.items()}
    blocks = 1 + max(int(n.split(".")[1]) for n in shapes if n.startswith("input_blocks."))
    downs = [i for i in range(blocks) if f"input_blocks.{i}.0.op.weight" in shapes]
    ends = [*downs, blocks]
    layers = ends[0] - 1
    levels = [range(end - layers, end) for end in ends]
    channels = [shapes[f"input_blocks.{level[0]}.0.out_layers.3.weight"][0] for level in levels]
    attention = [f"input_blocks.{level[0]}.1.norm.weight" in shapes for level in levels]
    context = shapes["middle_block.1.transformer_blocks.0.attn2.to_k.weight"][1]
    return published_config().unet | {
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes["out.2.weight"][0],
        "block_out_channels": channels,
        "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attention],
        "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)],
        "layers_per_block": layers,
        "cross_attention_dim": context,
    }


def _vae_config(tensors: Tensors) -> dict[str, Any]:
    shapes = {name: t.shape for name, t in tensors.items()}
    levels = 1 + max(int(n.split(".")[2]) for n in shapes if n.startswith("encoder.down."))
    layers = 1 + max(int(n.split(".")[4]) for n in shapes if n.startswith("encoder.down.0.block."))
    return published_config().vae | {
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "block_out_channels": [shapes[f"encoder.down.{i}.block.0.conv1.weight"][0] for i in range(levels)],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": layers,
    }


def _clip_config(tensors: Tensors) -> dict[str, Any]:
    """Sizes of CLIP's image encoder, from the shapes; a head has 64 channels in all of its versions."""
    width, _, patch, _ = tensors["conv1.weight"].shape
    grid = math.isqrt(tensors["positional_embedding"].shape[0] - 1)
    layers = 1 + max(int(n.split(".")[2]) for n in tensors if n.startswith("transformer.resblocks."))
    return {
        "hidden_size": width,
        "intermediate_size": tensors["transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
        "num_hidden_layers": layers,
        "num_attention_heads": max(width // 64, 1),
        "image_size": grid * patch,
        "patch_size": patch,
        "projection_dim": tensors["proj"].shape[1],
        "hidden_act": "quick_gelu",
    }


def _schedule(tensors: Tensors) -> dict[str, Any]:
    """The published noise schedule; that of the file where it holds another one."""
    betas = tensors.get("betas")
    if betas is None:
        return dict(SCHEDULE)
    import torch

    found = betas.load().double()
    first, last = SCHEDULE["beta_start"] ** 0.5, SCHEDULE["beta_end"] ** 0.5
    known = torch.linspace(first, last, SCHEDULE["num_train_timesteps"], dtype=torch.float64) ** 2
    if found.shape == known.shape and bool(torch.allclose(found, known, rtol=1e-4)):
        return dict(SCHEDULE)
    return dict(SCHEDULE) | {"num_train_timesteps": len(found), "trained_betas": found.tolist()}


_FIXED = {
    "class_embedding": "vision_model.embeddings.class_embedding",
    "positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "ln_post.weight": "vision_model.post_layernorm.weight",
    "ln_post.bias": "vision_model.post_layernorm.bias",
}
_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_BLOCK = re.compile(r"transformer\.resblocks\.(?P<n>\d+)\.(?P<rest>.+)")


def clip_names(tensors: Tensors, file: Path) -> dict[str, LazyTensor]:
    """OpenAI's names of CLIP's image encoder to those of transformers.

    Query, key and value are one matrix there and three here; the projection is transposed.
    """
    found: dict[str, LazyTensor] = {}
    for name, tensor in tensors.items():
        block = _BLOCK.fullmatch(name)
        if name in _FIXED:
            found[_FIXED[name]] = tensor
        elif name == "proj" and len(tensor.shape) == 2:
            found["visual_projection.weight"] = tensor.transposed()
        elif block is not None:
            found |= _layer(f"vision_model.encoder.layers.{block['n']}", block["rest"], tensor, name, file)
        else:
            raise CheckpointError(f"{file}: unknown key {_CLIP}visual.{name}")
    return found


def _layer(at: str, rest: str, tensor: LazyTensor, name: str, file: Path) -> dict[str, LazyTensor]:
    if rest in ("attn.in_proj_weight", "attn.in_proj_bias"):
        kind, width = rest.removeprefix("attn.in_proj_"), tensor.shape[0] // 3
        return {
            f"{at}.self_attn.{letter}_proj.{kind}": tensor[i * width : (i + 1) * width]
            for i, letter in enumerate("qkv")
        }
    stem, _, kind = rest.rpartition(".")
    if stem not in _LAYER or kind not in ("weight", "bias"):
        raise CheckpointError(f"{file}: unknown key {_CLIP}visual.{name}")
    return {f"{at}.{_LAYER[stem]}.{kind}": tensor}
