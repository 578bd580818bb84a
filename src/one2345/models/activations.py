"""The activations of the signed distance head with two derivatives, from one exponential and in given memory.

Not for autograd: everything is written over its arguments, for a CPU spends more on fresh memory than on arithmetic.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Activation = Literal["softplus", "silu"]

BETA = 100.0
"""Sharpness of softplus, as in IGR (arXiv 2002.10099) and NeuS (arXiv 2106.10689)."""


def activate_(kind: Activation, x: Tensor, scratch: Tensor) -> Tensor:
    """x (...) becomes the activation of it. scratch: (...) to be overwritten.

    softplus(x) = max(x, 0) - log sigmoid(|beta x|) / beta: exact to rounding, of cheaper functions than log1p, and
    without the subnormal numbers that slow exp(-|beta x|) down.
    """
    if kind == "silu":
        return x.mul_(torch.sigmoid(x, out=scratch))
    torch.abs(x, out=scratch).mul_(BETA).sigmoid_().log_()
    return x.relu_().sub_(scratch, alpha=1 / BETA)


def activate_with_slope_(kind: Activation, x: Tensor, slope: Tensor, scratch: Tensor) -> Tensor:
    """`activate_`, with the derivative written to slope (...). `bend_` needs what is in scratch after it."""
    if kind == "silu":
        x.mul_(torch.sigmoid(x, out=scratch))
        torch.addcmul(x, x, scratch, value=-1, out=slope).add_(scratch)
        return x
    torch.abs(x, out=scratch).mul_(BETA).sigmoid_()
    torch.sub(scratch, 0.5, out=slope)
    torch.copysign(slope, x, out=slope).add_(0.5)
    return x.relu_().sub_(scratch.log_(), alpha=1 / BETA)


def bend_(kind: Activation, value: Tensor, slope: Tensor, scratch: Tensor) -> Tensor:
    """The second derivative, from activation and derivative (...), in the memory of scratch.

    scratch: as `activate_with_slope_` left it.
    """
    if kind == "silu":  # (1 - gate) (2 slope - value)
        return scratch.sub_(1).mul_(value - 2 * slope)
    return torch.addcmul(slope, slope, slope, value=-1, out=scratch).mul_(BETA)
