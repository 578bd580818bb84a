"""Convolution units shared by the 2D and the 3D network."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from .norms import BatchNorm

Norm = Literal["group", "batch", "none"]


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """ "group" normalises over one sample only, so that a result never depends on what else is in the batch."""
    if norm == "group":
        return nn.GroupNorm(max(1, channels // 8), channels)
    if norm == "batch":
        return BatchNorm(channels)
    if norm == "none":
        return nn.Identity()
    raise ValueError(f"norm must be 'group', 'batch' or 'none', not {norm!r}")


def conv2d_unit(inputs: int, outputs: int, *, norm: Norm, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, norm, leaky ReLU (0.01)."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, norm_layer(norm, outputs), nn.LeakyReLU(0.01, inplace=True))


def conv3d_unit(
    inputs: int, outputs: int, *, norm: Norm, stride: int = 1, transposed: bool = False
) -> nn.Sequential:
    """Convolution with a 3x3x3 kernel (transposed: doubles the resolution), norm, ReLU."""
    options: dict[str, Any] = {"kernel_size": 3, "stride": stride, "padding": 1, "bias": False}
    convolution = (
        nn.ConvTranspose3d(inputs, outputs, output_padding=stride - 1, **options)
        if transposed
        else nn.Conv3d(inputs, outputs, **options)
    )
    return nn.Sequential(convolution, norm_layer(norm, outputs), nn.ReLU(inplace=True))
