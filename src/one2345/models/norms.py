"""Batch normalisation that says which statistics it uses when nothing is trained."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Statistics = Literal["batch", "running"]


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
        own = self.training or self.statistics == "batch"
        if self.training:
            self.num_batches_tracked.add_(1)
        keep = self.training or not own
        return F.batch_norm(
            x,
            self.running_mean if keep else None,
            self.running_var if keep else None,
            gain,
            self.bias,
            training=own,
            momentum=self.momentum,
            eps=self.eps,
        )
