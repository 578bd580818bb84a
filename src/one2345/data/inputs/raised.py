"""Source views whose cameras are thought to stand higher or lower than they do: a wrong elevation estimate."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ...geometry import raised
from ...seeding import Part
from .base import ExactInputs, Inputs

if TYPE_CHECKING:
    from ...views import ObjectRecord, PosedViews


class RaisedInputs:
    """Source views of `inputs` (default: exact) whose cameras are off by `degrees` of elevation.

    What comes of an elevation of the input picture that is off by so much: every pose that the network is given is, the
    reference's too, the pictures are not (One-2-3-45, arXiv 2306.16928, ablation of the elevation estimate).
    """

    def __init__(self, *, degrees: float, inputs: Inputs | None = None) -> None:
        self.degrees = float(degrees)
        self.inputs = inputs if inputs is not None else ExactInputs()
        self.wants_depth = self.inputs.wants_depth

    def __call__(
        self, record: ObjectRecord | None, sources: PosedViews, *, key: tuple[Part, ...]
    ) -> PosedViews:
        views = self.inputs(record, sources, key=key)
        return replace(
            views,
            cameras=raised(views.cameras, self.degrees),
            reference=raised(views.reference_camera, self.degrees),
            depth=None,
            normals=None,
        )
