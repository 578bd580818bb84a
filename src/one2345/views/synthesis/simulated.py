"""The views of a known object as a diffusion model would err: drift handed down from view to view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from one2345.geometry import Cameras
from one2345.views.posed_views import PosedViews
from one2345.views.simulation import SimulatedInputs

from .base import Report, Synthesised, ViewRequest
from .oracle import Oracle, open_oracle

_INPUT = ViewRequest(name="the input", parent=None, azimuth=0.0, elevation=0.0)


class Simulated:
    """The oracle's views, perturbed by `errors` with the drift of a parent handed down to what is made from it."""

    consistent = False

    def __init__(self, *, oracle: Oracle, errors: SimulatedInputs | None = None) -> None:
        self.oracle = oracle
        self.errors = errors if errors is not None else SimulatedInputs(chain=True)
        self.size = oracle.size
        self.elevation = oracle.elevation

    def picture(self) -> Synthesised:
        """The render from the input camera: true, as a photograph is."""
        return self.oracle.picture()

    def describe(self) -> Mapping[str, Any]:
        settings = {k: v for k, v in vars(self.errors).items() if isinstance(v, int | float)}
        amplitudes = dict(vars(self.errors.amplitudes))
        return {**self.oracle.describe(), "kind": "simulated", **settings, "amplitudes": amplitudes}

    def __call__(
        self, requests: Sequence[ViewRequest], pictures: Tensor, *, seed: int, report: Report | None = None
    ) -> Synthesised:
        # Every view is perturbed beside the one it was made from and the input, which say how far it is from them.
        parents = {r.parent: _parent(r) for r in requests if r.parent is not None}
        wanted = {r.name for r in requests}
        around = [_INPUT, *(p for name, p in parents.items() if name not in wanted)]
        together = [*around, *requests]
        cameras = self.oracle.cameras(together)
        seen = self.oracle.object.render(cameras)
        names = tuple(r.name for r in together)
        exact = PosedViews(
            images=seen.rgb,
            masks=seen.mask,
            cameras=Cameras(K=cameras.K, c2w=cameras.c2w, size=cameras.size),
            names=names,
            roles=tuple("stage1" if r.parent is None else "near" for r in together),
            parents=tuple(None if r.parent is None else names.index(r.parent) for r in together),
            depth=seen.depth,
        )
        drifted = self.errors(None, exact, key=(seed, self.oracle.object.id))
        if report is not None:
            report(len(requests))
        kept = torch.arange(len(around), len(together))
        return Synthesised(drifted.images[kept], drifted.masks[kept])


def open_simulated(
    *,
    object: str | Path | None,
    elevation: float | None,
    size: int = 256,
    up: str = "auto",
    errors: SimulatedInputs | None = None,
) -> Simulated:
    """The simulated views of a mesh file, see `open_oracle`."""
    return Simulated(oracle=open_oracle(object=object, elevation=elevation, size=size, up=up), errors=errors)


def _parent(request: ViewRequest) -> ViewRequest:
    """The stage-1 view that `request` is made from, as it was asked for itself."""
    assert request.parent is not None
    return ViewRequest(
        name=request.parent,
        parent=None,
        azimuth=request.parent_azimuth,
        elevation=request.parent_elevation,
    )
