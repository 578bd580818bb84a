"""The pictures of a view plan, made one from another and kept as they are finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from one2345.errors import InputError
from one2345.geometry import ViewPlan, orbit_cameras
from one2345.views import PosedViews
from one2345.views.elevation import NEAR_OFFSETS
from one2345.views.images import composite, straight_rgba
from one2345.views.synthesis import ViewRequest, ViewSynthesizer

from .stages import StageRecord, Stages, content_key

STAGE = "views"
PROBE = ViewPlan(
    name="elevation",
    stage1=({"azimuth": 0, "elevation_offset": 0},),
    near=NEAR_OFFSETS,
    sources=("near",),
)
"""The views that the elevation is estimated from (One-2-3-45, arXiv 2306.16928, section 3.2); in the published
plan they are the first of each stage, so nothing is made twice."""

Pixels = NDArray[np.uint8]


class ViewStage:
    """Asks `synthesizer` for the views of plans.

    Pictures are rounded to 8 bit as they come, so that a view that was kept is the view that was made. A view is
    kept under its request, the picture it is made from, the seed, and what the synthesiser says decides it.
    group: views of one call at most; what is not finished when a run ends is lost.
    """

    def __init__(
        self,
        synthesizer: ViewSynthesizer,
        *,
        picture: Tensor,
        seed: int,
        stages: Stages,
        group: int = 8,
    ) -> None:
        self.synthesizer, self.picture, self.seed = synthesizer, picture, seed
        self.stages, self.group = stages, group
        self.decides = dict(synthesizer.describe())

    def make(self, plan: ViewPlan, elevation: float) -> PosedViews:
        """All views of `plan` for an input camera at `elevation` degrees.

        pictures that a near view is made from are those of its stage-1 view.
        """
        planned = plan.views(elevation)
        total = len(planned)
        made: dict[str, Pixels] = {}
        with self.stages.stage(STAGE, total) as record:
            for stage in (
                [v for v in planned if v.parent is None],
                [v for v in planned if v.parent is not None],
            ):
                requests = [
                    ViewRequest.of(
                        v, None if v.parent is None else planned[v.parent], input_elevation=elevation
                    )
                    for v in stage
                ]
                sources = {name: composite(torch.from_numpy(p))[0] for name, p in made.items()}
                made |= self._made(record, requests, sources, done=len(made), total=total)
        rgba = torch.from_numpy(np.stack([made[v.name] for v in planned]))
        images, masks = composite(rgba)
        size = images.shape[-1]
        return PosedViews(
            images=images,
            masks=masks,
            cameras=orbit_cameras(
                [v.azimuth for v in planned], [v.elevation for v in planned], radius=plan.radius, size=size
            ),
            names=tuple(v.name for v in planned),
            roles=tuple(v.role for v in planned),
            parents=tuple(v.parent for v in planned),
        )

    def _made(
        self,
        record: StageRecord,
        requests: Sequence[ViewRequest],
        sources: Mapping[str, Tensor],
        *,
        done: int,
        total: int,
    ) -> dict[str, Pixels]:
        """Straight RGBA (h, w, 4) of every request."""
        found: dict[str, Pixels] = {}
        missing: list[tuple[ViewRequest, Tensor, str]] = []
        self.stages.tell(STAGE, done, total)
        for request in requests:
            picture = self.picture if request.parent is None else sources[request.parent]
            key = content_key("view", self.decides, asdict(request), self.seed, picture)
            kept = self.stages.find(record, key)
            if kept is not None:
                found[request.name] = kept["rgba"]
            else:
                missing.append((request, picture, key))
        done += len(found)
        for begin in range(0, len(missing), self.group):
            part = missing[begin : begin + self.group]
            before = done + begin
            made = self.synthesizer(
                [r for r, _, _ in part],
                torch.stack([p for _, p, _ in part]),
                seed=self.seed,
                report=lambda count, before=before: self.stages.tell(STAGE, before + count, total),
            )
            _check(made.images, part[0][0])
            pixels = straight_rgba(made.images.float().cpu().clamp(0, 1), made.masks.float().cpu())
            for (request, _, key), rgba in zip(part, pixels, strict=True):
                self.stages.put(record, key, {"rgba": rgba})
                found[request.name] = rgba
        return found


def _check(images: Tensor, first: ViewRequest) -> None:
    if not images.isfinite().all():
        raise InputError(
            f"the synthesiser's pictures ({first.name} or beside it) hold NaN or infinite values; half precision "
            "may have overflowed: views.dtype=float32"
        )
