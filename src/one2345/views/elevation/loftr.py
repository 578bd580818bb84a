"""Matching by LoFTR (Sun et al. 2021), as kornia builds it, with weights from a file."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from one2345.errors import CheckpointError, InputError

from .matching import Matches, check_pictures, pairs

_LUMA = (0.299, 0.587, 0.114)


class LoftrMatcher:
    """Dense matches of a transformer; needs the `preprocess` extra and a weights file.

    weights: a local .ckpt, .pt or .safetensors file of the public LoFTR weights (One-2-3-45 uses
    "indoor_ds_new"); pickles are read by weights_only loading, so they run no code. size: edge in pixels that
    pictures are resized to, a multiple of 8. fixed_encoding: whether the weights were trained with the corrected
    positional encoding (true of indoor_ds_new, false of the older "indoor" and "outdoor"). device: of the network.
    Raises InputError where kornia or the file is missing, CheckpointError where the file holds something else;
    both on first use, so that building it needs neither.
    """

    def __init__(
        self,
        *,
        weights: str | Path | None,
        size: int = 480,
        fixed_encoding: bool = True,
        device: str = "cpu",
    ) -> None:
        if size < 64 or size % 8:
            raise InputError(f"LoftrMatcher: size={size} must be a multiple of 8, at least 64")
        self.weights = None if weights is None else Path(weights)
        self.size = size
        self.fixed_encoding = fixed_encoding
        self.device = device

    def __call__(self, images: Tensor, masks: Tensor) -> Sequence[Matches]:
        check_pictures(images, masks)
        height, width = images.shape[-2:]
        luma = torch.tensor(_LUMA)[:, None, None]
        grey = (images.detach().cpu().float() * luma).sum(1, keepdim=True).clamp(0, 1)
        grey = interpolate(grey, (self.size, self.size), mode="bilinear", antialias=True).to(self.device)
        scale = torch.tensor([width / self.size, height / self.size], dtype=torch.float64)
        result = []
        for a, b in pairs(len(images)):
            with torch.inference_mode():
                found = self.network({"image0": grey[a : a + 1], "image1": grey[b : b + 1]})
            # LoFTR's own frame has pixel centres at +0.5 (kornia 0.9 documents it), so a scale is all it takes
            first, second, confidence = (
                found[k].detach().cpu().double().clone() for k in ("keypoints0", "keypoints1", "confidence")
            )
            result.append(Matches(a, b, first * scale, second * scale, confidence.clamp(0, 1)))
        return result

    @cached_property
    def network(self) -> torch.nn.Module:
        """The network with its weights, in evaluation mode."""
        try:
            from kornia.feature import LoFTR  # pyright: ignore[reportMissingImports]
            from kornia.feature.loftr.loftr import default_cfg  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise InputError(
                "LoftrMatcher needs kornia, which is not installed: pip install 'one2345[preprocess]', or choose "
                "elevation_estimator=classical"
            ) from error
        state = self._state()
        config: dict[str, Any] = copy.deepcopy(default_cfg)
        config["coarse"]["temp_bug_fix"] = self.fixed_encoding
        network = LoFTR(pretrained=None, config=config)
        missing, extra = network.load_state_dict(state, strict=False)
        if missing or extra:
            named = ", ".join([*(f"no {k}" for k in missing[:3]), *(f"unknown {k}" for k in extra[:3])])
            raise CheckpointError(
                f"{self.weights}: not the weights of LoFTR ({len(missing)} missing, {len(extra)} unknown: {named})"
            )
        return network.to(self.device).eval()

    def _state(self) -> dict[str, Tensor]:
        path = self.weights
        if path is None or not path.is_file():
            raise InputError(
                f"LoFTR's weights are not at {path}: give loftr_indoor_ds_new.ckpt (about 46 MB) by "
                "elevation_estimator.matcher.weights=FILE, or choose elevation_estimator=classical, which needs none"
            )
        try:
            if path.suffix == ".safetensors":
                from safetensors.torch import load_file

                state = load_file(path)
            else:
                state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise CheckpointError(
                f"{path}: can't be read as weights ({type(error).__name__}); give LoFTR's file anew"
            ) from error
        if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
            state = state["state_dict"]
        if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
            raise CheckpointError(f"{path}: holds no dictionary of tensors; give LoFTR's file")
        return {str(k).removeprefix("matcher."): v for k, v in state.items()}
