"""The weighted sum of the terms, with weights that may change over the steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from one2345.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """A weight that goes linearly from `start` at step `begin` to `end` at step `until`.

    It is constant before and after. begin = until jumps: `start` before that step, `end` from it on.
    """

    end: float
    start: float = 0.0
    begin: int = 0
    until: int

    def __post_init__(self) -> None:
        if self.until < self.begin:
            raise InputError(f"loss ramp: until={self.until} lies before begin={self.begin}")

    def __call__(self, step: int) -> float:
        if step >= self.until:
            return self.end
        if step <= self.begin:
            return self.start
        return self.start + (self.end - self.start) * (step - self.begin) / (self.until - self.begin)


class WeightedLosses:
    """Sum of terms by name; a weight is a number or a `Ramp`, and a term of weight 0 isn't computed.

    >>> losses = WeightedLosses(colour=1.0, mask=Ramp(end=0.1, begin=50_000, until=50_000))
    >>> losses.active(0)
    ('colour',)
    """

    def __init__(
        self,
        *,
        colour: float | Ramp = 0.0,
        mask: float | Ramp = 0.0,
        depth: float | Ramp = 0.0,
        eikonal: float | Ramp = 0.0,
        sparsity: float | Ramp = 0.0,
        sdf: float | Ramp = 0.0,
        view_consistency: float | Ramp = 0.0,
        texture_consistency: float | Ramp = 0.0,
        mesh_regularisation: float | Ramp = 0.0,
    ) -> None:
        self.weights: dict[str, float | Ramp] = {
            "colour": colour,
            "mask": mask,
            "depth": depth,
            "eikonal": eikonal,
            "sparsity": sparsity,
            "sdf": sdf,
            "view_consistency": view_consistency,
            "texture_consistency": texture_consistency,
            "mesh_regularisation": mesh_regularisation,
        }
        for name, weight in self.weights.items():
            ends = (weight.start, weight.end) if isinstance(weight, Ramp) else (weight,)
            if not all(isfinite(x) and x >= 0 for x in ends):
                raise InputError(f"loss weight {name}={weight} has to be finite and not negative")
        if not self.ever_active:
            raise InputError(f"no loss has a weight above 0; set one of {', '.join(self.weights)}")

    @property
    def ever_active(self) -> tuple[str, ...]:
        """Names of the terms that have a weight at some step."""
        return tuple(
            name
            for name, w in self.weights.items()
            if (max(w.start, w.end) if isinstance(w, Ramp) else w) > 0
        )

    def weight(self, name: str, step: int) -> float:
        """Weight of a term at a training step."""
        weight = self.weights[name]
        return weight(step) if isinstance(weight, Ramp) else float(weight)

    def active(self, step: int) -> tuple[str, ...]:
        """Names of the terms computed at a training step."""
        return tuple(name for name in self.weights if self.weight(name, step) > 0)

    def __call__(
        self, terms: Mapping[str, Callable[[], Tensor]], step: int = 0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Total () and the unweighted terms that were computed, detached.

        terms: functions without arguments, by name; those of weight 0 aren't called.
        """
        active = self.active(step)
        if not active:
            raise InputError(f"no loss has a weight above 0 at step {step}")
        missing = [name for name in active if name not in terms]
        if missing:
            raise InputError(
                f"the loss {missing[0]} has a weight, but this training offers only {', '.join(terms)}"
            )
        values = {name: terms[name]() for name in active}
        total = torch.stack([self.weight(name, step) * value for name, value in values.items()]).sum()
        return total, {name: value.detach() for name, value in values.items()}
