"""From posed views to the mesh: the reconstruction network, and the extraction of its field."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch.nn import functional as F

from one2345.geometry import Cameras, Mesh
from one2345.meshing import Extractor
from one2345.models import ReconstructionField, ReconstructionNetwork
from one2345.views import PosedViews

from .mesh import ReconstructedMesh
from .stages import Stages, content_key

NETWORK, EXTRACTION = "network", "mesh"


@dataclass(frozen=True, kw_only=True)
class FieldStage:
    """model: the network, in evaluation mode, on `device`. digest: of its weights. pixels: edge of the pictures
    that it was trained on, to which views are brought; None takes them as they are."""

    model: ReconstructionNetwork
    digest: str
    extractor: Extractor
    device: torch.device
    pixels: int | None = None

    @torch.no_grad()
    def mesh(
        self, views: PosedViews, stages: Stages, *, hull_tolerance: float | None = None
    ) -> ReconstructedMesh:
        """The mesh of the source views, in the world frame. hull_tolerance: see `Reconstructor.forward`.

        Raises EmptySurfaceError where the field has no surface.
        """
        views = views if self.pixels is None else resized(views, self.pixels)
        key = content_key(
            "mesh", self.digest, repr(self.extractor), self.device.type, hull_tolerance,
            views.images, views.masks, views.cameras.K, views.cameras.c2w, views.reference_camera.c2w,
        )  # fmt: skip
        with stages.stage(NETWORK) as record:
            kept = stages.find(record, key)
            if kept is not None:
                return ReconstructedMesh(kept["vertices"], kept["faces"], kept.get("colours"))
            moved = views.to(self.device)
            field = self.model(
                moved.images[None],
                moved.masks[None],
                Cameras.stack([moved.cameras]),
                reference=Cameras.stack([moved.reference_camera]),
                hull_tolerance=hull_tolerance,
            )
        with stages.stage(EXTRACTION) as record:
            mesh = field_mesh(field, self.extractor, device=self.device)
            arrays = {"vertices": mesh.vertices, "faces": mesh.faces}
            stages.put(record, key, arrays if mesh.colours is None else {**arrays, "colours": mesh.colours})
        return ReconstructedMesh(mesh.vertices, mesh.faces, mesh.colours)


def field_mesh(field: ReconstructionField, extractor: Extractor, *, device: torch.device) -> Mesh:
    """The coloured mesh of the first object of `field`. Raises EmptySurfaceError where it has no surface."""
    return extractor(
        lambda points: field.sdf(points[None])[0],
        field.box,
        lambda points, normals: field.surface_colour(points[None], normals[None])[0],
        device=device,
    )


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
