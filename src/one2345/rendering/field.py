"""What the renderer needs to know about a field. Networks and analytic toys both satisfy it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from one2345.geometry import Box, Rays


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


@dataclass(frozen=True, kw_only=True)
class RayRules:
    """How rays treat the samples of a `BoundedField` that lie outside.

    free_coarse: the coarse samples are placed as if there were no outside. count_outside: in means over samples those
    outside count as empty space; else they are left out.
    """

    free_coarse: bool = False
    count_outside: bool = False


@runtime_checkable
class BoundedField(Field, Protocol):
    """A field that holds in a region only, and says between which planes rays are worth following.

    What lies outside is empty space: no opacity, no gradient, a distance of `OUTSIDE`.
    """

    rules: RayRules

    def inside(self, points: Tensor) -> Tensor:
        """Whether the field holds (b, p) at points (b, p, 3)."""
        ...

    def ray_interval(self, rays: Rays) -> tuple[Tensor, Tensor, Tensor]:
        """near, far and whether there is anything between them, as `Box.ray_interval`."""
        ...

    def rays_seen(self, points: Tensor) -> Tensor | None:
        """Whether rays (b, r) with samples at points (b, r, s, 3) are seen well enough for their colour to be
        judged; None leaves it to `RenderSettings.min_views`."""
        ...


OUTSIDE = 100.0


def ray_interval(field: Field, box: Box, rays: Rays) -> tuple[Tensor, Tensor, Tensor]:
    """Between which distances rays (b, ...) through `field` are sampled: its own planes, or its box's."""
    return field.ray_interval(rays) if isinstance(field, BoundedField) else box.ray_interval(rays)
