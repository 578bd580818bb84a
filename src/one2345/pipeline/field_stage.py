"""From posed views to the mesh: the reconstruction network, the extraction of its field, and the texture."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from one2345.array_cache import Arrays
from one2345.geometry import Cameras, Mesh
from one2345.meshing import Extractor
from one2345.meshing.texture import Pictures, Textured, Texturer
from one2345.models import ReconstructionField, ReconstructionNetwork
from one2345.views import PosedViews

from .mesh import ReconstructedMesh
from .stages import Stages, content_key

NETWORK, EXTRACTION, TEXTURE = "network", "mesh", "texture"


@dataclass(frozen=True)
class FieldMesh:
    """mesh: finished, with texture where one was wanted. surface: as it was extracted, without any decimation; the same
    mesh where no texture was wanted. texture: facts of it, or None. warnings: sentences."""

    mesh: ReconstructedMesh
    surface: ReconstructedMesh
    texture: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = field(default=())


@dataclass(frozen=True, kw_only=True)
class FieldStage:
    """model: the network, in evaluation mode, on `device`. digest: of its weights. pixels: edge of the pictures
    that it was trained on, to which views are brought; None takes them as they are. texturer: None leaves vertex
    colours."""

    model: ReconstructionNetwork
    digest: str
    extractor: Extractor
    device: torch.device
    pixels: int | None = None
    texturer: Texturer | None = None

    @torch.no_grad()
    def mesh(
        self,
        views: PosedViews,
        stages: Stages,
        *,
        hull_tolerance: float | None = None,
        given: Sequence[Pictures] = (),
    ) -> FieldMesh:
        """The mesh of the source views, in the world frame. hull_tolerance: see `Reconstructor.forward`. given:
        pictures that the user gave, for the texture.

        What is kept of an earlier run is not computed again, the network only if something needs it.
        Raises EmptySurfaceError where the field has no surface.
        """
        pictures = self._pictures(views, given)
        views = views if self.pixels is None else resized(views, self.pixels)
        key = content_key(
            "mesh", self.digest, repr(self.extractor), self.device.type, hull_tolerance, self.texturer is None,
            views.images, views.masks, views.cameras.K, views.cameras.c2w, views.reference_camera.c2w,
        )  # fmt: skip
        texture_key = None if self.texturer is None else _texture_key(key, self.texturer, pictures)

        @cache
        def field() -> ReconstructionField:
            moved = views.to(self.device)
            return self.model(
                moved.images[None],
                moved.masks[None],
                Cameras.stack([moved.cameras]),
                reference=Cameras.stack([moved.reference_camera]),
                hull_tolerance=hull_tolerance,
            )

        with stages.stage(NETWORK) as record:
            surface = stages.find(record, key)
            textured = None if texture_key is None else stages.find(record, texture_key)
            if surface is None or (texture_key is not None and textured is None):
                field()
        if surface is None:
            with stages.stage(EXTRACTION) as record:
                made = field_mesh(field(), self.extractor, device=self.device, coloured=self.texturer is None)
                surface = _arrays(made)
                stages.put(record, key, surface)
        plain = _mesh(surface)
        if self.texturer is None or texture_key is None:
            return FieldMesh(plain, plain)
        if textured is None:
            with stages.stage(TEXTURE) as record:
                made = self.texturer(plain, surface_colours(field()), pictures, device=self.device)
                textured = _kept(made)
                if made.fell_back:  # with more time, it need not
                    record.made += 1
                else:
                    stages.put(record, texture_key, textured)
        notes = json.loads(str(textured["notes"]))
        return FieldMesh(_mesh(textured), plain, notes["facts"], tuple(notes["warnings"]))

    def _pictures(self, views: PosedViews, given: Sequence[Pictures]) -> list[Pictures]:
        """Pictures whose own pixels go into the texture."""
        if self.texturer is None or self.texturer.own_pixels == "none":
            return []
        made = [Pictures(views.images, views.masks, views.cameras)]
        return [*given, *made] if self.texturer.own_pixels == "all" else list(given)


def field_mesh(
    field: ReconstructionField, extractor: Extractor, *, device: torch.device, coloured: bool = True
) -> Mesh:
    """The mesh of the first object of `field`, with vertex colours. Raises EmptySurfaceError where there is none."""
    return extractor(
        lambda points: field.sdf(points[None])[0],
        field.box,
        surface_colours(field) if coloured else None,
        device=device,
    )


def surface_colours(
    field: ReconstructionField,
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Colours (p, 3) of the first object of `field` at points (p, 3) with normals (p, 3)."""
    return lambda points, normals: field.surface_colour(points[None], normals[None])[0]


def _texture_key(mesh_key: str, texturer: Texturer, pictures: Sequence[Pictures]) -> str:
    shown = [x for p in pictures for x in (p.images, p.masks, p.cameras.K, p.cameras.c2w)]
    return content_key("texture", mesh_key, repr(replace(texturer, seconds=1.0)), *shown)


def _arrays(mesh: Mesh) -> Arrays:
    parts = {name: getattr(mesh, name) for name in ("vertices", "faces", "colours", "uv", "texture")}
    return {name: value for name, value in parts.items() if value is not None}


def _kept(made: Textured) -> Arrays:
    notes = json.dumps({"facts": dict(made.facts), "warnings": made.warnings})
    return {**_arrays(made.mesh), "notes": np.array(notes)}


def _mesh(arrays: Arrays) -> ReconstructedMesh:
    return ReconstructedMesh(**{name: value for name, value in arrays.items() if name != "notes"})


def resized(views: PosedViews, size: int) -> PosedViews:
    """Square views at another size; colours are averaged on white, cameras follow."""
    if views.cameras.size == (size, size):
        return views
    stacked = torch.cat([views.images, views.masks[:, None]], 1)
    small = F.interpolate(stacked, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return replace(
        views,
        images=small[:, :3].clamp(0, 1),
        masks=small[:, 3].clamp(0, 1),
        cameras=views.cameras.resized((size, size)),
        reference=views.reference_camera.resized((size, size)),
        depth=None,
        normals=None,
    )
