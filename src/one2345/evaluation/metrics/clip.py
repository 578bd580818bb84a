"""CLIP similarity: how alike two pictures are to the image encoder of CLIP (Radford et al., ICML 2021).

Cosine of the image embeddings of a pair, averaged over views: between -1 and 1, where papers print it times 100.
Pictures are prepared here, without the model's own processor, by the steps that CLIP was trained with: the
shorter edge resized to the encoder's size (bicubic, antialiased), the centre cut out, CLIP's mean and deviation.
The processor's rounding to 8 bits after the resize is left out.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from one2345.errors import InputError
from one2345.hub import WeightsUnavailable, hub_folder, sha256

from .images import picture_pair
from .per_object import PerObjectMetric
from .published import FETCH

VIEWS_AT_ONCE = 8
_WEIGHTS = "model*.safetensors"
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


class CLIPEncoder(nn.Module):
    """model: a `CLIPVisionModelWithProjection`, or anything that takes `pixel_values` (v, 3, size, size) and gives
    `image_embeds` (v, c)."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, *, model: nn.Module, size: int) -> None:
        super().__init__()
        self.model, self.size = model, size
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None], persistent=False)
        self.requires_grad_(False).eval()
        self._last: tuple[str, Tensor] | None = None

    def prepare(self, pictures: Tensor) -> Tensor:
        """Pictures (v, 3, h, w) in [0, 1] as the model takes them."""
        h, w = pictures.shape[-2:]
        size = [self.size * edge // min(h, w) for edge in (h, w)]
        x = interpolate(pictures, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        top, left = (size[0] - self.size) // 2, (size[1] - self.size) // 2
        x = x[..., top : top + self.size, left : left + self.size]
        return (x - self.mean) / self.deviation

    def forward(self, pictures: Tensor) -> Tensor:
        """Embeddings (v, c) of unit length, of pictures (v, 3, h, w) in [0, 1]."""
        return normalize(self.model(pixel_values=self.prepare(pictures)).image_embeds, dim=-1)

    def embed(self, pictures: Tensor) -> Tensor:
        """The same in parts, in float64 on the CPU."""
        place, kind = self.mean.device, self.mean.dtype
        with torch.inference_mode():
            parts = [self(part.to(place, kind)).cpu() for part in pictures.split(VIEWS_AT_ONCE)]
        return torch.cat(parts).double()

    def embed_true(self, pictures: Tensor) -> Tensor:
        """`embed`, remembered until other pictures come: methods are measured against one truth in turn."""
        numbers = pictures.float().cpu().contiguous().numpy().data
        key = f"{tuple(pictures.shape)} {hashlib.sha256(numbers).hexdigest()}"
        if self._last is None or self._last[0] != key:
            self._last = key, self.embed(pictures)
        return self._last[1]


def clip_similarity(predicted: Tensor, true: Tensor, encoder: CLIPEncoder) -> float:
    """Mean over views of the cosine between the embeddings of pictures (v, 3, h, w) in [0, 1].

    Raises ValueError for pictures of different shapes, empty or not finite.
    """
    p, t = picture_pair(predicted, true)
    return float((encoder.embed(p) * encoder.embed_true(t)).sum(1).mean())


class CLIPSimilarity(PerObjectMetric):
    """`clip` of pictures (v, 3, h, w) in [0, 1], mean over views, then over objects."""

    higher_is_better = True

    def __init__(self, *, encoder: CLIPEncoder, **kwargs: Any) -> None:
        super().__init__(("clip",), **kwargs)
        self.encoder = encoder

    def update(self, object_id: str, predicted: Tensor, true: Tensor) -> None:
        self.add(object_id, [clip_similarity(predicted, true, self.encoder)])


def load_clip(name: str, *, download: bool = False) -> tuple[CLIPEncoder, dict[str, Any]]:
    """The encoder, and what a report states about it.

    name: a folder with config.json and safetensors, or `organisation/model` or `organisation/model@revision` of
    the hub, taken from the local cache or fetched where `download` says so. No other kind of weights is read and
    no code of the model's is run. Raises WeightsUnavailable for weights that are not here, InputError for a
    folder given that holds something else.
    """
    folder = Path(name).expanduser()
    facts: dict[str, Any] = {"model": name}
    if folder.is_dir():
        facts["model"] = folder.name
        encoder = _read(folder)
    else:
        folder = hub_folder(name, choose=_choose, download=download, choices="" if download else FETCH)
        facts["commit"] = folder.name
        try:
            encoder = _read(folder)
        except InputError as error:
            raise WeightsUnavailable(f"the cached copy can't be used: {error}") from error
    facts["size"] = encoder.size
    facts["sha256"] = {file.name: sha256(file) for file in _weight_files(folder)}
    return encoder, facts


def _choose(names: Sequence[str]) -> list[str] | None:
    weights = fnmatch.filter(names, _WEIGHTS)
    if not weights or "config.json" not in names:
        return None
    return ["config.json", *weights, *fnmatch.filter(names, "*.safetensors.index.json")]


def _weight_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob(_WEIGHTS) if file.is_file())


def _read(folder: Path) -> CLIPEncoder:
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{folder}: no config.json that names its model_type ({error})") from error
    if kind not in ("clip", "clip_vision_model"):
        raise InputError(f"{folder}: holds a model of type {kind!r}, expected clip or clip_vision_model")
    if not _weight_files(folder):
        raise InputError(f"{folder}: has no model*.safetensors; other kinds of weights are not read")
    from transformers import CLIPVisionModelWithProjection

    try:
        with _quiet():
            loaded: Any = CLIPVisionModelWithProjection.from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (
        SafetensorError,
        OSError,
        RuntimeError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:
        raise InputError(f"{folder}: can't be loaded as CLIP ({str(error).splitlines()[0]})") from error
    model, report = loaded
    # transformers would fill what is missing with random numbers.
    lost = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if lost:
        raise InputError(
            f"{folder}: its weights lack {lost[0]} and {len(lost) - 1} more, or have them in other sizes"
        )
    return CLIPEncoder(model=model, size=int(model.config.image_size))


@contextmanager
def _quiet() -> Generator[None]:
    """Without transformers' bars and its table of the text encoder's weights, which are left out on purpose."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
