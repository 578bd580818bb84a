"""What the renderer needs to know about a field. Networks and analytic toys both satisfy it."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Field(Protocol):
    """A batch of b coloured signed distance fields in the world frame; negative inside, world units."""

    def sdf(self, points: Tensor) -> Tensor:
        """Signed distance (b, p) at points (b, p, 3)."""
        ...

    def sdf_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Signed distance (b, p) and its spatial gradient (b, p, 3) at points (b, p, 3), both differentiable
        with respect to the field's parameters."""
        ...

    def colour(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Colours (b, p, 3) in [0, 1] and the number of source views (b, p) that see each point.

        directions: (b, p, 3) unit vectors from the points to the query camera.
        """
        ...
