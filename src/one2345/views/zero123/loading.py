"""Zero123 from its weights, whichever way they are laid out: stock modules only, every key accounted for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import torch
from torch import nn

from one2345.errors import CheckpointError
from one2345.hub.zero123 import OWN, PROJECTIONS, Pose, Source, find_weights

from .codec import Codec, PixelCodec, VaeCodec
from .lazy import LazyTensor, Tensors, read_safetensors, read_weights
from .model import POSE, Zero123
from .original import read_original
from .parts import build_image_encoder, build_unet, build_vae, fill, read_json
from .published import SIZE
from .saving import FORMAT

if TYPE_CHECKING:
    from transformers import CLIPVisionModelWithProjection


@dataclass(frozen=True, kw_only=True)
class LoadedZero123:
    """model: in evaluation mode, nothing to train. scheduler: its noise schedule, in the words of diffusers.

    pose: what the fourth entry of the pose vector is. facts: for a report: where the weights are from, SHA-256 by
    file, and notes on what could not be checked.
    """

    model: Zero123
    scheduler: Mapping[str, Any]
    pose: Pose
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class _Place:
    dtype: torch.dtype
    device: torch.device


# Not persistent any more, but in files that older versions of transformers wrote.
_POSITIONS = "vision_model.embeddings.position_ids"


def load_zero123(
    weights: str | Path,
    *,
    revision: str | None = None,
    variant: str | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    download: bool = True,
    size: int | None = None,
    pose: Pose | None = None,
    choices: str = "",
) -> LoadedZero123:
    """Load from a hub id, a folder of the hub's layouts or of our own, or an original checkpoint.

    Original checkpoints are large and read tensor by tensor. size: edge of its pictures in pixels; null: what our
    own folders say, else 256. pose: None: what our own folders say, else by the name (see `Source.pose`). For the
    rest see `find_weights`, whose errors are raised; and CheckpointError naming the file and the keys that are
    missing, unknown or of another shape.
    """
    source = find_weights(weights, revision=revision, variant=variant, download=download, choices=choices)
    place = _Place(dtype, torch.device(device))
    if source.layout == "original":
        loaded = _load_original(source, place)
    else:
        loaded = _load_folder(source, place)
    loaded.model.size = size or loaded.model.size
    loaded.model.eval().requires_grad_(False)
    facts = {"weights": source.weights, "layout": source.layout, **loaded.facts, "sha256": source.hashes()}
    return LoadedZero123(
        model=loaded.model, scheduler=loaded.scheduler, pose=pose or loaded.pose, facts=facts
    )


def _load_folder(source: Source, place: _Place) -> LoadedZero123:
    own = _own_record(source.path / OWN) if source.layout == "own" else {}
    unet_config, unet_files = _part(source, "unet")
    unet = build_unet(read_json(unet_config), where=str(unet_config))
    fill(unet, read_weights(unet_files), where=str(unet_files[0]), dtype=place.dtype, device=place.device)
    encoder_config, encoder_files = _part(source, "image_encoder")
    encoder = build_image_encoder(read_json(encoder_config), where=str(encoder_config))
    fill(encoder, read_weights(encoder_files), where=str(encoder_files[0]), dtype=place.dtype, device=place.device,
         ignore=_POSITIONS)  # fmt: skip
    codec = _pixels(own["codec"], source.path / OWN) if "codec" in own else _vae(source, place)
    model = _assemble(unet, codec, encoder, *_projection(source), place, size=int(own.get("size", SIZE)),
                      reprojected=own.get("reprojected", ()))  # fmt: skip
    schedule = source.path / "scheduler" / "scheduler_config.json"
    return LoadedZero123(
        model=model, scheduler=read_json(schedule), pose=source.pose(), facts=_repository(source)
    )


def _repository(source: Source) -> dict[str, Any]:
    """The commit, for what lies in the hub's cache."""
    return {"commit": source.path.name} if source.path.parent.name == "snapshots" else {}


def _part(source: Source, name: str) -> tuple[Path, list[Path]]:
    files = source.part(name)
    if not files:
        raise CheckpointError(f"{source.path / name}: no config.json with weights beside it")
    return files[0], files[1:]


def _vae(source: Source, place: _Place) -> VaeCodec:
    config, files = _part(source, "vae")
    vae = build_vae(read_json(config), where=str(config))
    fill(vae, _newer_names(read_weights(files)), where=str(files[0]), dtype=place.dtype, device=place.device)
    return VaeCodec(vae=vae)


_OLDER = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def _newer_names(tensors: Tensors) -> dict[str, LazyTensor]:
    """The attention of autoencoders that older versions of diffusers wrote has other names."""
    found = {}
    for name, tensor in tensors.items():
        stem, _, kind = name.rpartition(".")
        stem, _, last = stem.rpartition(".")
        if "attentions" in stem and last in _OLDER:
            name = f"{stem}.{_OLDER[last]}.{kind}"
        found[name] = tensor
    return found


def _projection(source: Source) -> tuple[Tensors, Path]:
    if source.layout == "own":
        file = source.path / "projection.safetensors"
        return read_safetensors(file), file
    name = next(p for p in PROJECTIONS if source.part(p))
    files = source.part(name)[1:]
    return read_weights(files), files[0]


def _load_original(source: Source, place: _Place) -> LoadedZero123:
    original = read_original(source.path)
    where = str(source.path)
    unet = build_unet(original.configs["unet"], where=f"{where}: UNet")
    fill(unet, original.unet, where=f"{where}: UNet", dtype=place.dtype, device=place.device)
    encoder = build_image_encoder(original.configs["image_encoder"], where=f"{where}: image encoder")
    fill(
        encoder,
        original.image_encoder,
        where=f"{where}: image encoder",
        dtype=place.dtype,
        device=place.device,
    )
    vae = build_vae(original.configs["vae"], where=f"{where}: autoencoder")
    fill(vae, original.vae, where=f"{where}: autoencoder", dtype=place.dtype, device=place.device)
    model = _assemble(unet, VaeCodec(vae=vae), encoder, original.projection, source.path, place, size=SIZE)
    facts = {
        "unet_weights": "averaged" if original.ema else "plain",
        "unused": dict(original.unused),
        "notes": list(original.notes),
    }
    return LoadedZero123(
        model=model, scheduler=original.configs["scheduler"], pose=source.pose(), facts=facts
    )


def _assemble(
    unet: Any,
    codec: Codec,
    encoder: CLIPVisionModelWithProjection,
    projection: Tensors,
    where: Path,
    place: _Place,
    *,
    size: int,
    reprojected: Sequence[float] = (),
) -> Zero123:
    """Join the parts, whose sizes must fit; the projection is named `projection`, `proj` or nothing in its file."""
    wanted = (2 + len(reprojected)) * codec.channels
    if unet.config["in_channels"] != wanted or unet.config["out_channels"] != codec.channels:
        raise CheckpointError(
            f"{where}: the UNet has {unet.config['in_channels']} channels in and {unet.config['out_channels']} out; "
            f"latents of {codec.channels} need {wanted} and {codec.channels}"
        )
    with torch.device("meta"):
        linear = nn.Linear(
            int(cast(Any, encoder.config).projection_dim) + POSE, int(unet.config["cross_attention_dim"])
        )
    prefix = next((p for p in ("projection.", "proj.") if any(n.startswith(p) for n in projection)), "")
    names = {n.removeprefix(prefix): t for n, t in projection.items()}
    fill(linear, names, where=f"{where}: projection", dtype=place.dtype, device=place.device)
    return Zero123(
        unet=unet, codec=codec, image_encoder=encoder, projection=linear, size=size, reprojected=reprojected
    )


def own_size(folder: Path) -> int:
    """Edge of the pictures of a folder of our own layout, without reading its weights. Raises CheckpointError."""
    return int(_own_record(folder / OWN)["size"])


def _own_record(file: Path) -> dict[str, Any]:
    record = read_json(file)
    if record.get("format") != FORMAT:
        raise CheckpointError(f"{file}: not of this project's Zero123 (format {record.get('format')!r})")
    if type(record.get("size")) is not int or record["size"] < 1:
        raise CheckpointError(f"{file}: `size` must be a number of pixels, not {record.get('size')!r}")
    if record.get("pose") not in get_args(Pose):
        raise CheckpointError(f"{file}: `pose` must be one of {', '.join(get_args(Pose))}")
    elevations = record.get("reprojected", [])
    if not isinstance(elevations, list) or not all(
        type(e) in (int, float) and -90 <= e <= 90 for e in elevations
    ):
        raise CheckpointError(f"{file}: `reprojected` must list elevations in degrees, not {elevations!r}")
    return {k: v for k, v in record.items() if v is not None}


def _pixels(values: Any, file: Path) -> PixelCodec:
    match values:
        case {"factor": int(factor), "scale": int() | float() as scale} if factor >= 1 and scale > 0:
            return PixelCodec(factor=factor, scale=float(scale))
    raise CheckpointError(f"{file}: `codec` must have a whole factor and a scale above 0, not {values!r}")
