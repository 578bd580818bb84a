"""How alike pictures are: PSNR, SSIM, LPIPS and CLIP similarity, as far as the weights they need are here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from one2345.errors import InputError
from one2345.hub import WeightsUnavailable

from .metrics.clip import CLIPEncoder, clip_similarity, load_clip
from .metrics.images import psnr, ssim
from .metrics.lpips import ARCHITECTURES, LPIPSNetwork, load_lpips, lpips_distance

COLUMNS: Mapping[str, bool] = {"psnr": True, "ssim": True, "lpips": False, "clip": True}
"""Every column, and whether more is better."""

Score = Callable[[Tensor, Tensor], float]


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """What is computed of pictures, and with which weights (conf/appearance).

    metrics: columns of `COLUMNS`. lpips: 'vgg' or 'alex'; lpips_trunk, lpips_linear: files of its weights, None:
    the published ones (see metrics.lpips). clip: a folder, or `organisation/model[@revision]` of the hub; which
    backbone the One-2-3-45 paper used is not known, so its CLIP similarities can't be compared with ours.
    download: whether missing weights may be fetched (VGG16 528 MB, AlexNet 233 MB, CLIP ViT-L/14 1.7 GB).
    device: as torch names it; 'auto' is the first CUDA device, else the CPU.
    """

    metrics: Sequence[str] = tuple(COLUMNS)
    lpips: str = "vgg"
    lpips_trunk: str | None = None
    lpips_linear: str | None = None
    clip: str = "openai/clip-vit-large-patch14"
    download: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", tuple(str(name) for name in self.metrics))
        unknown = [name for name in self.metrics if name not in COLUMNS]
        if unknown or len(set(self.metrics)) != len(self.metrics):
            raise InputError(
                f"appearance.metrics are {list(self.metrics)}, expected each of {', '.join(COLUMNS)} at most once"
            )
        if self.lpips not in ARCHITECTURES:
            raise InputError(f"appearance.lpips is {self.lpips!r}, expected {' or '.join(ARCHITECTURES)}")
        if not self.clip:
            raise InputError("appearance.clip is empty, expected a folder or a model of the hub")

    def load(self, metrics: Sequence[str] | None = None) -> LoadedAppearance:
        """Make ready what `metrics` names (None: all that is configured; others are left out).

        Weights that are not here leave their column out, with the reason. Raises InputError for weights that
        are here, named by the user, and damaged or of something else. Nothing is read or fetched for columns
        that are not asked for.
        """
        asked = [name for name in self.metrics if metrics is None or name in metrics]
        device = self._device()
        scores: dict[str, Score] = {}
        unavailable: dict[str, str] = {}
        facts: dict[str, Any] = {}
        for name in asked:
            try:
                scores[name], facts_of_one = self._load(name, device)
            except WeightsUnavailable as error:
                unavailable[name] = str(error)
            else:
                facts |= {name: facts_of_one} if facts_of_one else {}
        return LoadedAppearance(cores=scores, unavailable=unavailable, backbones=facts)

    def _load(self, name: str, device: torch.device) -> tuple[Score, dict[str, Any]]:
        if name == "lpips":
            trunk, linear = (
                None if p is None else Path(p).expanduser() for p in (self.lpips_trunk, self.lpips_linear)
            )
            network, facts = load_lpips(self.lpips, trunk=trunk, linear=linear, download=self.download)
            return _with_lpips(network.to(device)), facts
        if name == "clip":
            encoder, facts = load_clip(self.clip, download=self.download)
            return _with_clip(encoder.to(device)), facts
        return {"psnr": psnr, "ssim": ssim}[name], {}

    def _device(self) -> torch.device:
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            return torch.empty(0, device=self.device).device
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"appearance.device is {self.device!r}, which can't be used: {reason}"
            ) from error


@dataclass(frozen=True, kw_only=True)
class LoadedAppearance:
    """Columns that can be computed, and `unavailable`: of those that were asked for and can't, why."""

    cores: Mapping[str, Score]
    unavailable: Mapping[str, str] = field(default_factory=dict[str, str])
    backbones: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def columns(self) -> dict[str, bool]:
        """Columns of `scores` in reading order, and whether more is better."""
        return {name: better for name, better in COLUMNS.items() if name in self.cores}

    def scores(
        self, predicted: Tensor, true: Tensor, *, metrics: Sequence[str] | None = None
    ) -> dict[str, float]:
        """Means over views of pictures (v, 3, h, w) in [0, 1]; metrics: of these columns only (a protocol's).

        Raises ValueError for pictures of different shapes, empty, not finite or too small for LPIPS.
        """
        wanted = [name for name in self.columns if metrics is None or name in metrics]
        return {name: self.cores[name](predicted, true) for name in wanted}

    def facts(self) -> dict[str, Any]:
        """For reports: backbones with the SHA-256 of their weights, and why columns are missing."""
        return {**self.backbones, "not_computed": dict(self.unavailable)}

    def remarks(self) -> list[str]:
        """One line per column that is not computed."""
        return [f"{name}: not computed: {why}" for name, why in self.unavailable.items()]


def _with_lpips(network: LPIPSNetwork) -> Score:
    return lambda predicted, true: lpips_distance(predicted, true, network)


def _with_clip(encoder: CLIPEncoder) -> Score:
    return lambda predicted, true: clip_similarity(predicted, true, encoder)
