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
    p, t = _pictures(predicted, true)
    error = (p - t).square().flatten(1).mean(1)
    return float((-10 * torch.log10(error.clamp_min(10 ** (-MAX_PSNR / 10)))).mean())


def ssim(predicted: Tensor, true: Tensor) -> float:
    """Mean over views of the structural similarity (Wang et al. 2004: Gaussian window, sigma 1.5, 11 px) of
    pictures (v, 3, h, w) in [0, 1]."""
    p, t = _pictures(predicted, true)
    value = structural_similarity_index_measure(p.float(), t.float(), data_range=1.0)
    assert isinstance(value, Tensor)
    return float(value)


def _pictures(predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    if predicted.shape != true.shape or predicted.ndim != 4:
        raise ValueError(f"pictures have shapes {tuple(predicted.shape)} and {tuple(true.shape)}")
    return predicted.detach().double().clamp(0, 1), true.detach().double().clamp(0, 1)
