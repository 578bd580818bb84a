"""Dropout of conditions, which lets one diffusion model be sampled with and without them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError


@dataclass(frozen=True, kw_only=True)
class ConditionDropout:
    """Shares of the examples that lose the token, the picture, or both; Zero123 drops 5 % each.

    Classifier-free guidance (Ho & Salimans, arXiv 2207.12598) needs examples that lose both.
    """

    token: float = 0.05
    image: float = 0.05
    both: float = 0.05

    def __post_init__(self) -> None:
        shares = (self.token, self.image, self.both)
        if min(shares) < 0 or sum(shares) > 1:
            raise InputError(f"dropout of token, image, both = {shares}: none below 0, at most 1 together")

    def kept(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Which examples keep token and picture (n, n) bool, by numbers (n) uniform in [0, 1)."""
        first, second, third = self.token, self.token + self.image, self.token + self.image + self.both
        no_token = (uniform < first) | ((uniform >= second) & (uniform < third))
        no_image = (uniform >= first) & (uniform < third)
        return torch.logical_not(no_token), torch.logical_not(no_image)
