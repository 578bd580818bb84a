"""Optimiser and schedule: Adam with a warm-up and a cosine to a floor (spec of One-2-3-45's released training)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class AdamCosine:
    """lr(t) = lr * min(1, (t + 1) / (warmup + 1)) * (floor + (1 - floor) * (1 + cos(pi t / T)) / 2), per step.

    The released One-2-3-45 uses lr 2e-4, floor 0.1, no warm-up, no weight decay.
    """

    lr: float = 2e-4
    floor: float = 0.1
    warmup: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0

    def factor(self, step: int, total_steps: int) -> float:
        """Share of `lr` at an optimiser step (0-based); the floor holds beyond `total_steps`."""
        progress = min(step / max(total_steps, 1), 1.0)
        rise = min(1.0, (step + 1) / (self.warmup + 1))
        return rise * (self.floor + (1 - self.floor) * (1 + math.cos(math.pi * progress)) / 2)

    def __call__(
        self, parameters: Iterable[nn.Parameter] | Iterable[Mapping[str, Any]], total_steps: int
    ) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        """Optimiser and schedule of parameters, or of groups as torch has them, each with a rate `lr` of its own."""
        first, second = self.betas
        optimizer = torch.optim.AdamW(
            list(parameters),  # type: ignore[arg-type]
            lr=self.lr,
            betas=(first, second),
            weight_decay=self.weight_decay,
        )
        return optimizer, torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: self.factor(step, total_steps)
        )


def schedule_of(schedule: torch.optim.lr_scheduler.LRScheduler) -> dict[str, Any]:
    """As Lightning takes it: once a step. The rate is logged under this name."""
    return {"scheduler": schedule, "interval": "step", "name": "train/learning_rate"}
