"""Batch normalisation that says which statistics it uses when nothing is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

Statistics = Literal["batch", "running"]

CPU_ENTRIES = 2**18
"""Of a tensor that is worked on at once on a CPU. Memory that is new to a process costs more than the arithmetic."""


class BatchNorm(nn.Module):
    """Batch normalisation over the entries of x (n, c, ...), for any number of dimensions.

    statistics: of evaluation mode; "batch" takes those of the input and leaves the running ones alone, as a
    network does that is never switched to evaluation. Training mode always takes the input's and updates the running
    ones. absolute_gain: multiply by |weight| + eps instead of the weight, as in-place activated batch normalisation
    does (Rota Bulo et al., arXiv 1712.02616).
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        channels: int,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
        statistics: Statistics = "running",
        absolute_gain: bool = False,
    ) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.statistics: Statistics = statistics
        self.absolute_gain = absolute_gain
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        """x (n, c, ...), normalised per channel."""
        gain = self.weight.abs() + self.eps if self.absolute_gain else self.weight
        if not self.training and self.statistics == "running":
            return F.batch_norm(x, self.running_mean, self.running_var, gain, self.bias, eps=self.eps)
        y, mean, variance = _Normalise.apply(x, gain, self.bias, self.eps)
        if self.training:
            entries = x.numel() // x.shape[1]
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
            unbiased = variance * (entries / max(1, entries - 1))
            self.running_var.lerp_(unbiased.to(self.running_var), self.momentum)
        return y


class _Normalise(torch.autograd.Function):
    """Normalise by the input's own statistics, taken in two passes.

    torch's kernel for channels-last input on a CPU sums in one pass of float32, which costs four digits of an image.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        rest, entries = _but_channels(x), x.numel() // x.shape[1]
        wide = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
        mean = x.mean(rest, dtype=wide)
        variance = torch.zeros_like(mean)
        for (part,) in _slabs(x):
            variance += (part - _across(mean, x)).square_().sum(rest)
        variance /= entries
        ctx.save_for_backward(x, gain, mean, variance)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance)
        y = F.batch_norm(x, mean, variance, gain.to(mean), bias.to(mean), eps=eps)
        return y, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, gain, mean, variance = ctx.saved_tensors
        rest, entries, upstream = _but_channels(x), x.numel() // x.shape[1], gradients[0]
        inverse = (variance + ctx.eps).rsqrt()
        of_bias, of_gain = torch.zeros_like(mean), torch.zeros_like(mean)
        for given, part in _slabs(upstream, x):
            of_bias += given.sum(rest, dtype=mean.dtype)
            of_gain += (part - _across(mean, x)).mul_(given).sum(rest) * inverse
        slope = _across(of_gain / entries * inverse, x)
        offset, scale = _across(of_bias / entries, x), _across(gain.to(mean) * inverse, x)
        result = torch.empty_like(x)
        for given, part, made in _slabs(upstream, x, result):
            taken = (part - _across(mean, x)).mul_(slope).add_(offset)
            made.copy_(torch.sub(given, taken, out=taken).mul_(scale))
        return result, of_gain.to(gain), of_bias.to(gain), None


def _but_channels(x: Tensor) -> list[int]:
    return [axis for axis in range(x.ndim) if axis != 1]


def _slabs(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors (n, c, ...) of one shape in parts, so small on a CPU that what is made of them stays in its cache."""
    x = tensors[0]
    axis = next((axis for axis in _but_channels(x) if x.shape[axis] > 1), 0)
    length = x.shape[axis]
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        length = length * CPU_ENTRIES // max(1, x.numel())
    yield from zip(*(tensor.split(max(1, length), axis) for tensor in tensors), strict=True)


def _across(values: Tensor, like: Tensor) -> Tensor:
    """Values (c) to broadcast with `like` (n, c, ...)."""
    return values.reshape(-1, *[1] * (like.ndim - 2))
