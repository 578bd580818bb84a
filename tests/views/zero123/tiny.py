"""A Zero123 of random weights that runs in milliseconds, and its weights in every layout that is read.

The names of the original are written here from their description, without the loader's tables.
"""

from __future__ import annotations

import json
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from one2345.views.zero123 import SCHEDULE, PixelCodec, VaeCodec, Zero123

SIZE = 32


def make_tiny(seed: int = 0, *, pixels: bool = False) -> Zero123:
    torch.manual_seed(seed)
    channels = 12 if pixels else 4
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=2 * channels,
        out_channels=channels,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=2,
        attention_head_dim=8,
        cross_attention_dim=24,
    )
    vae = AutoencoderKL(
        latent_channels=4,
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        scaling_factor=0.18215,
    )
    encoder = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=128, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
            image_size=28, patch_size=14, projection_dim=20, hidden_act="quick_gelu",
        )
    )  # fmt: skip
    model = Zero123(
        unet=unet,
        codec=PixelCodec(factor=2) if pixels else VaeCodec(vae=vae),
        image_encoder=encoder,
        projection=nn.Linear(24, 24),
        size=SIZE,
    )
    # Larger than they start, so that every part has a say in the pictures.
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            if parameter.ndim > 1:
                parameter.mul_(1.5)
            elif "norm" not in name:
                nn.init.normal_(parameter, std=0.1)
    return model.eval().requires_grad_(False)


def pictures(count: int = 2, seed: int = 3) -> Tensor:
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic").clamp(0, 1)


def output(model: Zero123) -> Tensor:
    """What depends on every weight: noise that is predicted for a picture's latents, decoded."""
    with torch.no_grad():
        condition = model.condition(pictures())
        noisy = torch.randn(model.latent_shape(2), generator=torch.Generator().manual_seed(5))
        token = model.token(condition, torch.tensor([[0.3, 0.6, -0.8, 0.0]] * 2))
        predicted = model(noisy, torch.tensor(300), token, condition.latents)
        return torch.cat([model.codec.decode(predicted).flatten(), predicted.flatten()])


def write_hub(
    folder: Path, model: Zero123, *, layout: str = "kxic", pickled: bool = False, variant: str | None = None
) -> Path:
    """kxic: cc_projection with `projection.`; bennyguo: clip_camera_projection with `proj.`."""
    name, prefix = {
        "kxic": ("cc_projection", "projection."),
        "bennyguo": ("clip_camera_projection", "proj."),
    }[layout]
    kind = f".{variant}" if variant else ""

    def write(part: str, stem: str, state: dict[str, Tensor], config: dict[str, Any]) -> None:
        (folder / part).mkdir(parents=True, exist_ok=True)
        state = {k: v.contiguous().clone() for k, v in state.items()}
        if pickled:
            torch.save(state, folder / part / f"{stem}{kind}.bin")
        else:
            save_file(state, folder / part / f"{stem}{kind}.safetensors")
        (folder / part / "config.json").write_text(json.dumps(config))

    vae, encoder = model.codec.vae, model.image_encoder
    stem = "diffusion_pytorch_model"
    write("unet", stem, model.unet.state_dict(), {**model.unet.config, "_class_name": "UNet2DConditionModel"})
    vae_state = vae.state_dict()
    encoder_state = encoder.state_dict()
    if pickled:  # as the versions of 2023 wrote them
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            vae_state = {
                k.replace(f"attentions.0.{new}", f"attentions.0.{old}"): v for k, v in vae_state.items()
            }
        encoder_state["vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    write("vae", stem, vae_state, {**vae.config, "_class_name": "AutoencoderKL"})
    encoder_stem = "pytorch_model" if pickled else "model"
    write("image_encoder", encoder_stem, encoder_state, json.loads(encoder.config.to_json_string()))
    projection = {prefix + k: v for k, v in model.projection.state_dict().items()}
    write(name, stem, projection, {"_class_name": "CCProjection", "in_channel": 24, "out_channel": 24})
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULE))
    # names a module of its own, which must never be imported
    index = {"_class_name": "Zero1to3StableDiffusionPipeline", name: ["pipeline_zero1to3", "CCProjection"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def original_state(model: Zero123, *, ema: bool = True) -> dict[str, Tensor]:
    """By the names of the original code. ema: the true weights are the averaged ones, the plain ones are others."""
    state: dict[str, Tensor] = {}
    unet = {f"model.diffusion_model.{k}": v for k, v in ldm_unet(model.unet).items()}
    for name, tensor in unet.items():
        state[name] = tensor + 1.0 if ema else tensor
        if ema:
            state["model_ema." + name.removeprefix("model.").replace(".", "")] = tensor
    if ema:
        state |= {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(7)}
    state |= {f"first_stage_model.{k}": v for k, v in ldm_vae(model.codec.vae).items()}
    state |= {f"cond_stage_model.model.visual.{k}": v for k, v in openai_clip(model.image_encoder).items()}
    state |= {"cond_stage_model.model.transformer.resblocks.0.ln_1.weight": torch.ones(3)}
    state |= {f"cc_projection.{k}": v for k, v in model.projection.state_dict().items()}
    steps = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return state | {"betas": steps.float(), "alphas_cumprod": (1 - steps).cumprod(0).float()}


def ldm_unet(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """Latent diffusion's: blocks are counted through, a block's first entry is its ResNet, the second attention."""
    times = unet.time_embedding
    named: dict[str, nn.Module] = {"time_embed.0": times.linear_1, "time_embed.2": times.linear_2}
    named |= {"input_blocks.0.0": unet.conv_in, "out.0": unet.conv_norm_out, "out.2": unet.conv_out}
    count = 1
    for block in unet.down_blocks:
        for j, resnet in enumerate(block.resnets):
            named |= _resnet(f"input_blocks.{count}.0", resnet)
            if hasattr(block, "attentions"):
                named[f"input_blocks.{count}.1"] = block.attentions[j]
            count += 1
        if block.downsamplers:
            named[f"input_blocks.{count}.0.op"] = block.downsamplers[0].conv
            count += 1
    named |= _resnet("middle_block.0", unet.mid_block.resnets[0])
    named["middle_block.1"] = unet.mid_block.attentions[0]
    named |= _resnet("middle_block.2", unet.mid_block.resnets[1])
    count = 0
    for block in unet.up_blocks:
        attends = hasattr(block, "attentions")
        for j, resnet in enumerate(block.resnets):
            named |= _resnet(f"output_blocks.{count}.0", resnet)
            if attends:
                named[f"output_blocks.{count}.1"] = block.attentions[j]
            count += 1
        if block.upsamplers:
            named[f"output_blocks.{count - 1}.{2 if attends else 1}.conv"] = block.upsamplers[0].conv
    return {f"{at}.{k}": v for at, module in named.items() for k, v in module.state_dict().items()}


def _resnet(at: str, resnet: Any) -> dict[str, nn.Module]:
    parts = {
        "in_layers.0": resnet.norm1,
        "in_layers.2": resnet.conv1,
        "emb_layers.1": resnet.time_emb_proj,
        "out_layers.0": resnet.norm2,
        "out_layers.3": resnet.conv2,
        "skip_connection": resnet.conv_shortcut,
    }
    return {f"{at}.{name}": module for name, module in parts.items() if module is not None}


def ldm_vae(vae: AutoencoderKL) -> dict[str, Tensor]:
    named: dict[str, nn.Module] = {"quant_conv": vae.quant_conv, "post_quant_conv": vae.post_quant_conv}
    state: dict[str, Tensor] = {}
    for side, part in (("encoder", vae.encoder), ("decoder", vae.decoder)):
        named |= {f"{side}.conv_in": part.conv_in, f"{side}.conv_out": part.conv_out}
        named[f"{side}.norm_out"] = part.conv_norm_out
        for i in (0, 1):
            named |= _block(f"{side}.mid.block_{i + 1}", part.mid_block.resnets[i])
        attention = part.mid_block.attentions[0]
        named[f"{side}.mid.attn_1.norm"] = attention.group_norm
        linear = {
            "q": attention.to_q,
            "k": attention.to_k,
            "v": attention.to_v,
            "proj_out": attention.to_out[0],
        }
        for name, module in linear.items():  # convolutions of one pixel there
            state[f"{side}.mid.attn_1.{name}.weight"] = module.weight[:, :, None, None]
            state[f"{side}.mid.attn_1.{name}.bias"] = module.bias
    for i, block in enumerate(vae.encoder.down_blocks):
        for j, resnet in enumerate(block.resnets):
            named |= _block(f"encoder.down.{i}.block.{j}", resnet)
        if block.downsamplers:
            named[f"encoder.down.{i}.downsample.conv"] = block.downsamplers[0].conv
    for i, block in enumerate(reversed(vae.decoder.up_blocks)):  # counted from the full size on
        for j, resnet in enumerate(block.resnets):
            named |= _block(f"decoder.up.{i}.block.{j}", resnet)
        if block.upsamplers:
            named[f"decoder.up.{i}.upsample.conv"] = block.upsamplers[0].conv
    return state | {f"{at}.{k}": v for at, module in named.items() for k, v in module.state_dict().items()}


def _block(at: str, resnet: Any) -> dict[str, nn.Module]:
    parts = {"norm1": resnet.norm1, "conv1": resnet.conv1, "norm2": resnet.norm2, "conv2": resnet.conv2,
             "nin_shortcut": resnet.conv_shortcut}  # fmt: skip
    return {f"{at}.{name}": module for name, module in parts.items() if module is not None}


def openai_clip(encoder: CLIPVisionModelWithProjection) -> dict[str, Tensor]:
    vision = encoder.vision_model
    state = {
        "class_embedding": vision.embeddings.class_embedding,
        "positional_embedding": vision.embeddings.position_embedding.weight,
        "conv1.weight": vision.embeddings.patch_embedding.weight,
        "proj": encoder.visual_projection.weight.T,
    }
    for name, norm in (("ln_pre", vision.pre_layrnorm), ("ln_post", vision.post_layernorm)):
        state |= {f"{name}.weight": norm.weight, f"{name}.bias": norm.bias}
    for i, layer in enumerate(vision.encoder.layers):
        at, attention = f"transformer.resblocks.{i}", layer.self_attn
        three = (attention.q_proj, attention.k_proj, attention.v_proj)
        state[f"{at}.attn.in_proj_weight"] = torch.cat([p.weight for p in three])
        state[f"{at}.attn.in_proj_bias"] = torch.cat([p.bias for p in three])
        parts = {"attn.out_proj": attention.out_proj, "ln_1": layer.layer_norm1, "ln_2": layer.layer_norm2,
                 "mlp.c_fc": layer.mlp.fc1, "mlp.c_proj": layer.mlp.fc2}  # fmt: skip
        for name, module in parts.items():
            state |= {f"{at}.{name}.weight": module.weight, f"{at}.{name}.bias": module.bias}
    return {k: v.detach().clone().contiguous() for k, v in state.items()}


def write_original(file: Path, state: dict[str, Tensor], *, legacy: bool = False) -> Path:
    """A checkpoint as Lightning 1 wrote it, with objects of classes that are not there when it is read."""
    module = types.ModuleType("absent_lightning")

    class ModelCheckpoint:
        pass

    class ListConfig:
        def __init__(self, content: list[Any]) -> None:
            self.__dict__["_content"], self.__dict__["_parent"] = content, None

    class Mode(str):
        pass

    for kind in (ModelCheckpoint, ListConfig, Mode):
        kind.__module__, kind.__qualname__ = "absent_lightning", kind.__name__
        setattr(module, kind.__name__, kind)
    sys.modules["absent_lightning"] = module
    try:
        content = {
            "epoch": 3,
            "global_step": 165000,
            "pytorch-lightning_version": "1.4.2",
            "state_dict": OrderedDict(state),
            "callbacks": {ModelCheckpoint: {"best_model_score": torch.tensor(0.5), "mode": Mode("min")}},
            "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1e-4}]}],
            "hyper_parameters": {"scales": ListConfig([1, 2, ListConfig([4])]), "odd": {1, 2}, "none": None},
        }
        torch.save(content, file, _use_new_zipfile_serialization=not legacy, pickle_protocol=2)
    finally:
        del sys.modules["absent_lightning"]
    return file


class Stored:
    """In a pickle: a tensor of a storage that is described freely."""

    def __init__(self, *, kind: Any = torch.FloatStorage, key: str = "0", count: int = 4, offset: int = 0,
                 shape: tuple[int, ...] = (4,), stride: tuple[int, ...] = (1,)) -> None:  # fmt: skip
        self.reference = Reference(("storage", kind, key, "cpu", count))
        self.rest = (offset, shape, stride, False, OrderedDict())

    def __reduce__(self) -> Any:
        return torch._utils._rebuild_tensor_v2, (self.reference, *self.rest)


class Reference:
    def __init__(self, content: tuple[Any, ...]) -> None:
        self.content = content


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return obj.content if isinstance(obj, Reference) else None


def write_archive(
    file: Path, content: Any, storages: dict[str, bytes] | None = None, *, root: str = "archive",
    compressed: bool = False,
) -> Path:  # fmt: skip
    """A file of torch's newer format, written by hand; bytes as content are the pickle itself."""
    import io

    data = io.BytesIO()
    if isinstance(content, bytes):
        data.write(content)
    else:
        _Pickler(data, protocol=2).dump(content)
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", kind) as archive:
        archive.writestr(f"{root}/data.pkl", data.getvalue())
        archive.writestr(f"{root}/version", "3\n")
        for key, stored in (storages or {}).items():
            archive.writestr(f"{root}/data/{key}", stored)
    return file
