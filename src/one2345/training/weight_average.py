"""Exponential moving average of weights: what diffusion models are sampled with, and noisy training is smoothed by."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """average <- d average + (1 - d) weights after every step, d = min(decay, (1 + n) / (10 + n)) at the n-th.

    The warm-up of d (as in the training of latent diffusion, Rombach et al., arXiv 2112.10752) forgets the first
    weights soon. named: the parameters that are averaged, in float32; all others stay as they are.
    """

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]], *, decay: float = 0.9999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay}: must lie in [0, 1)")
        self.decay = decay
        self._weights = dict(named)
        self.restart()

    def factor(self) -> float:
        """d of the step that comes next."""
        return min(self.decay, (1 + self.steps) / (10 + self.steps))

    def restart(self) -> None:
        """Begin anew from the weights as they are."""
        self.steps = 0
        self._average = {name: p.detach().float().clone() for name, p in self._weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Called after a step of the optimiser."""
        factor = self.factor()
        for name, weight in self._weights.items():
            average = self._average[name]
            if average.device != weight.device:
                average = self._average[name] = average.to(weight.device)
            average.lerp_(weight.float(), 1 - factor)
        self.steps += 1

    @contextmanager
    @torch.no_grad()
    def in_use(self) -> Generator[None]:
        """The averages in the place of the weights, until left."""
        kept = {name: weight.detach().clone() for name, weight in self._weights.items()}
        for name, weight in self._weights.items():
            weight.copy_(self._average[name])
        try:
            yield
        finally:
            for name, weight in self._weights.items():
                weight.copy_(kept[name])

    def state_dict(self) -> dict[str, object]:
        return {"steps": self.steps, "average": dict(self._average)}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Raises ValueError for the averages of other weights."""
        stored = state["average"]
        assert isinstance(stored, Mapping)
        if stored.keys() != self._average.keys():
            raise ValueError("the stored average is of other weights")
        steps = state["steps"]
        assert isinstance(steps, int)
        self.steps = steps
        tensors: dict[str, Tensor] = dict(stored)
        self._average = {name: tensors[name].float().clone() for name in self._average}
