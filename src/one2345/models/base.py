"""What a reconstruction network is to training, evaluation and the pipeline."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from torch import Tensor, nn

from ..geometry import Box, Cameras
from ..rendering import Field, Variance


class ReconstructionField(Field, Protocol):
    """A field of b objects in the world that a mesh can be made of."""

    @property
    def box(self) -> Box:
        """The cube, in the world, that holds the object."""
        ...

    def surface_colour(self, points: Tensor, normals: Tensor) -> Tensor:
        """Colours (b, p, 3) of points of the mesh (b, p, 3) with its unit normals (b, p, 3)."""
        ...

    def only(self, index: int) -> ReconstructionField:
        """The field of one object of the batch, as a batch of one."""
        ...


class ReconstructionNetwork(nn.Module, ABC):
    """Posed images to a field. variance: the learned sharpness with which its surfaces are rendered."""

    variance: Variance

    @abstractmethod
    def forward(
        self,
        images: Tensor,
        masks: Tensor,
        cameras: Cameras,
        *,
        reference: Cameras | None = None,
        hull_tolerance: float | None = None,
    ) -> ReconstructionField:
        """images (b, v, 3, h, w) on white in [0, 1], masks (b, v, h, w), cameras (b, v) -> the field of b objects.

        reference: (b, 1) cameras of the input views, for networks that work in their frames. hull_tolerance: for those
        that start from a visual hull, in place of their own.
        """
