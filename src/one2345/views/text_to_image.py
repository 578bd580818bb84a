"""A sentence to a picture of one object: any text-to-image pipeline that diffusers knows, put in front."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from one2345.errors import CheckpointError, InputError
from one2345.hub import WeightsUnavailable, hub_folder, is_hub_name, part_files, sha256, stated_sha256
from one2345.seeding import key

CHOICES = "the choices left: text_to_image.weights=DIR (a folder in diffusers' layout), or image=FILE"
_INDEX = "model_index.json"
_LIBRARIES = ("diffusers", "transformers")
_PLAIN = (".json", ".txt", ".model")


class TextToImage:
    """weights: a hub id, or a folder in diffusers' layout. suffix: put behind the text, negative: what to avoid.

    steps, guidance, size (edge in pixels): of the diffusion; negative and guidance are passed where the pipeline
    takes them. dtype: auto is float16 on CUDA, else float32. download: whether the hub may be asked.

    Nothing of the folder is run: parts of other libraries than diffusers and transformers are refused, and weights
    are read from safetensors only.
    """

    def __init__(
        self,
        *,
        weights: str,
        revision: str | None = None,
        suffix: str = "",
        negative: str = "",
        steps: int = 30,
        guidance: float = 7.5,
        size: int = 512,
        variant: str | None = None,
        dtype: str = "auto",
        device: str = "auto",
        download: bool = True,
    ) -> None:
        if steps < 1 or size < 8 or size % 8:
            raise InputError(f"text_to_image: steps={steps} must be 1 or more, size={size} a multiple of 8")
        if dtype not in ("auto", "float32", "float16", "bfloat16"):
            raise InputError(f"text_to_image.dtype={dtype}: use auto, float32, float16 or bfloat16")
        self.weights, self.revision, self.variant, self.download = weights, revision, variant, download
        self.suffix, self.negative = suffix, negative
        self.steps, self.guidance, self.size = steps, guidance, size
        self.dtype, self.device = dtype, device

    def check(self) -> None:
        """Raise at once where the weights are neither here nor within reach; nothing heavy is imported."""
        self._folder(probe=True)

    def describe(self) -> dict[str, Any]:
        """Settings that decide a picture, and SHA-256 of the weights, which are fetched for it but not loaded."""
        folder = self._folder()
        files = sorted(folder.glob("*/*.safetensors"))
        hashes = {f.relative_to(folder).as_posix(): stated_sha256(f) or sha256(f) for f in files}
        names = ("weights", "revision", "suffix", "negative", "steps", "guidance", "size", "variant", "dtype")
        return {**{name: getattr(self, name) for name in names}, "sha256": hashes}

    def __call__(self, text: str, *, seed: int = 0) -> bytes:
        """The picture of `text` as a PNG file. Raises InputError for an empty text, CheckpointError for weights
        that can't be used."""
        if not text.strip():
            raise InputError("text is empty; say what object you want")
        import torch
        from diffusers.pipelines.auto_pipeline import AutoPipelineForText2Image
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging

        diffusers_logging.disable_progress_bar()
        transformers_logging.disable_progress_bar()

        folder = self._folder()
        _check_index(folder)
        device = self.device if self.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        dtype = self.dtype if self.dtype != "auto" else "float16" if device.startswith("cuda") else "float32"
        try:
            pipe = AutoPipelineForText2Image.from_pretrained(
                folder,
                use_safetensors=True,
                variant=self.variant,
                local_files_only=True,
            ).to(device, getattr(torch, dtype))
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(
                f"{folder}: no text-to-image pipeline that can be used: {reason}"
            ) from error
        pipe.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(key(seed, "text"))
        wanted = {"negative_prompt": self.negative or None, "guidance_scale": self.guidance}
        made = pipe(
            prompt=text.strip() + self.suffix,
            num_inference_steps=self.steps,
            height=self.size,
            width=self.size,
            generator=generator,
            **_taken(pipe, wanted),
        )
        buffer = io.BytesIO()
        made.images[0].save(buffer, format="PNG")
        return buffer.getvalue()

    def _folder(self, *, probe: bool = False) -> Path:
        local = Path(self.weights).expanduser()
        if local.is_dir():
            if not (local / _INDEX).is_file():
                raise InputError(
                    f"text_to_image.weights={self.weights}: the folder has no {_INDEX}; {CHOICES}"
                )
            return local
        if not is_hub_name(self.weights):
            raise WeightsUnavailable(f"text_to_image.weights={self.weights}: no such folder; {CHOICES}")
        name = f"{self.weights}@{self.revision}" if self.revision else self.weights
        return hub_folder(
            name,
            choose=lambda names: _chosen(names, self.variant),
            anchor=_INDEX,
            download=self.download,
            what="a text-to-image pipeline, some GB",
            choices=CHOICES,
            probe=probe,
        )


def _chosen(names: Sequence[str], variant: str | None) -> list[str] | None:
    """Configuration and safetensors of every part of a pipeline."""
    if _INDEX not in names:
        return None
    parts = sorted({n.split("/")[0] for n in names if n.count("/") == 1})
    kept = [_INDEX, *(n for n in names if n.count("/") == 1 and n.endswith(_PLAIN))]
    weights = 0
    for part in parts:
        files = part_files(names, part, variant=variant) or part_files(names, part)
        safe = [f for f in files if f.endswith(".safetensors")]
        weights += len(safe)
        kept += safe
    return sorted(set(kept)) if weights else None


def _check_index(folder: Path) -> None:
    """CheckpointError where the pipeline names classes of other libraries."""
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        parts = {k: v for k, v in index.items() if isinstance(v, list)}
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder / _INDEX}: not readable: {error}") from error
    for name, value in parts.items():
        library = value[0] if value else None
        if library is not None and library not in _LIBRARIES:
            raise CheckpointError(
                f"{folder / _INDEX}: {name} comes from {library!r}; only {' and '.join(_LIBRARIES)} are used"
            )


def _taken(pipe: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `settings` that the pipeline's call has."""
    import inspect

    known = inspect.signature(pipe.__call__).parameters
    return {k: v for k, v in settings.items() if k in known}
