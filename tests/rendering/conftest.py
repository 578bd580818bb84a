"""Analytic fields that count how they are asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


class Spheres(nn.Module):
    """b spheres about the origin with learned radii (b); colour = learned base (b, 3) + tilt * position."""

    def __init__(self, radii: list[float], *, tilt: float = 0.3, views: int = 4) -> None:
        super().__init__()
        self.radius = nn.Parameter(torch.tensor(radii))
        self.base = nn.Parameter(torch.full((len(radii), 3), 0.4))
        self.tilt, self.views = tilt, views
        self.calls: list[tuple[str, int, bool]] = []

    def _note(self, name: str, points: Tensor) -> None:
        self.calls.append((name, points.shape[1], torch.is_grad_enabled()))

    def sdf(self, points: Tensor) -> Tensor:
        self._note("sdf", points)
        return points.norm(dim=-1) - self.radius[:, None]

    def sdf_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        self._note("sdf_and_gradient", points)
        return points.norm(dim=-1) - self.radius[:, None], nn.functional.normalize(points, dim=-1)

    def colour(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        self._note("colour", points)
        self.seen_points, self.seen_directions = points, directions
        views = torch.full(points.shape[:2], self.views, dtype=torch.long)
        return (self.base[:, None] + self.tilt * points).clamp(0, 1), views


@pytest.fixture
def spheres() -> Callable[..., Spheres]:
    return Spheres
