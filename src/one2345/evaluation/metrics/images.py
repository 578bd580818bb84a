"""Agreement of pictures: per-view PSNR and SSIM, averaged over the views of one object."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

MAX_PSNR = 100.0
"""Decibels given to identical pictures, so that means stay finite."""


def psnr(predicted: Tensor, true: Tensor) -> float:
    """Mean over views of -10 log10 of the mean squared error of pictures (v, 3, h, w) in [0, 1], whole frame,
    white background included, at most `MAX_PSNR`."""
    p, t = picture_pair(predicted, true)
    error = (p - t).square().flatten(1).mean(1)
    return float((-10 * torch.log10(error.clamp_min(10 ** (-MAX_PSNR / 10)))).mean())


def ssim(predicted: Tensor, true: Tensor) -> float:
    """Mean over views of the structural similarity (Wang et al. 2004: Gaussian window, sigma 1.5, 11 px) of
    pictures (v, 3, h, w) in [0, 1]."""
    p, t = picture_pair(predicted, true)
    value = structural_similarity_index_measure(p.float(), t.float(), data_range=1.0)
    assert isinstance(value, Tensor)
    return float(value)


def picture_pair(predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64, clamped to [0, 1]. Raises ValueError unless they are (v, 3, h, w) of one shape, hold at
    least one pixel and are finite."""
    if predicted.shape != true.shape or predicted.ndim != 4 or predicted.shape[1] != 3:
        raise ValueError(
            f"pictures have shapes {tuple(predicted.shape)} and {tuple(true.shape)}, expected (v, 3, h, w) of both"
        )
    if not predicted.numel():
        raise ValueError(f"pictures have shape {tuple(predicted.shape)}: there is nothing to compare")
    p, t = predicted.detach().double(), true.detach().double()
    if not bool(p.isfinite().all() and t.isfinite().all()):
        raise ValueError("pictures hold NaN or infinite values")
    return p.clamp(0, 1), t.clamp(0, 1)
