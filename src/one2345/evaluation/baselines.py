"""The bars that every method must clear: the visual hull of the same views, and the bounding sphere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from one2345.errors import EmptySurfaceError
from one2345.geometry import OBJECT_EDGE, Box, Mesh, hold_in_frame, mask_distance, project, sample_views
from one2345.meshing import Extractor, colour_vertices
from one2345.views import PosedViews

from .icosphere import icosphere
from .prediction import Case, Prediction, Predictor
from .protocol import EvaluationProtocol

HULL_RESOLUTIONS = (64, 128, 256)
HULL_SLOPE = 2.0
Inputs = Callable[[Case], PosedViews]
"""The views that a reconstruction of an object is given."""


def exact_inputs(case: Case) -> PosedViews:
    """The object's stored source views. Raises InputError where it has none."""
    record = case.views()
    return record.views(record.source_indices())


def visual_hull_mesh(views: PosedViews, *, resolution: int, box: Box | None = None) -> Mesh:
    """Surface of the visual hull of v views on a lattice of `resolution`^3 nodes, painted by the views.

    A node is inside when the bilinear mask exceeds 0.5 in every view. Beyond the frame a mask goes on with
    its border value, so that nothing is left standing where a view of the whole object does not look. The
    surface lies between the nodes where the signed distance to the silhouettes' cones says. Pieces are not
    cleaned away. Raises EmptySurfaceError when the silhouettes have no common point.
    """
    cameras = views.cameras
    maps = torch.stack([views.masks, mask_distance(views.masks)], 1)
    scale = 1 / cameras.focals

    def field(points: Tensor) -> Tensor:
        pixels, depth = project(points.expand(len(cameras), -1, -1), cameras)
        held, outside = hold_in_frame(pixels, cameras.size)
        mask, distance = sample_views(maps, held).unbind(1)
        size = ((distance + outside) * depth * scale[:, None]).amax(0).abs().clamp_min(1e-6)
        return torch.where((mask > 0.5).all(0), -size, size)

    # Slopes of a distance, plus a jump below a pixel at the outline where the mask decides the sign.
    extractor = Extractor(resolution=resolution, min_area_fraction=0.0, lipschitz=HULL_SLOPE, chunk=32768)
    mesh = extractor(field, box or Box())
    return colour_vertices(mesh, lambda p, n: paint(p, n, views))


def paint(points: Tensor, normals: Tensor, views: PosedViews, *, sharpness: float = 4.0) -> Tensor:
    """Colour (p, 3) of surface points: mean of the views, weighted by (cosine to the normal)^sharpness.

    Occlusion is ignored, except that views from behind and pixels outside the mask do not count; a point
    that no view colours gets the mean colour of the object.
    """
    pixels, depth = project(points.expand(len(views), -1, -1), views.cameras)
    maps = torch.cat([views.images * views.masks[:, None], views.masks[:, None]], 1)
    sampled = sample_views(maps, pixels)
    direction = torch.nn.functional.normalize(views.cameras.centres[:, None] - points, dim=-1)
    weight = (direction * normals).sum(-1).clamp_min(1e-3) ** sharpness * (depth > 0)
    overall = maps.sum((0, 2, 3))
    total = 1e-12 * overall / overall[3].clamp_min(1e-9) + (sampled * weight[:, None]).sum(0).T * (1 - 1e-12)
    return (total[:, :3] / total[:, 3:].clamp_min(1e-20)).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class VisualHull:
    """Predictor: the visual hull at one resolution, from the views that `inputs` gives."""

    resolution: int
    inputs: Inputs = exact_inputs

    def __call__(self, case: Case) -> Prediction:
        views = self.inputs(case)
        views = replace(views, depth=None, normals=None).to("cpu")
        try:
            mesh = visual_hull_mesh(views, resolution=self.resolution)
        except EmptySurfaceError as error:
            raise EmptySurfaceError(
                f"the silhouettes of {len(views)} views have no common point: {error}"
            ) from error
        return Prediction(mesh=mesh, inputs=views.images, note=f"{len(views)} views, {self.resolution}^3")


def visual_hulls(
    *,
    inputs: Inputs = exact_inputs,
    name: str = "visual hull",
    resolutions: tuple[int, ...] = HULL_RESOLUTIONS,
) -> tuple[dict[str, Predictor], dict[str, tuple[str, ...]]]:
    """Predictors for every resolution, and the group `name` for `evaluate(best_of=...)`."""
    predictors: dict[str, Predictor] = {
        f"{name} {r}": VisualHull(resolution=r, inputs=inputs) for r in resolutions
    }
    return predictors, {name: tuple(predictors)}


def bounding_sphere(case: Case) -> Prediction:
    """Predictor: the sphere around the centre of the truth's box through the surface's farthest point."""
    protocol = EvaluationProtocol(name="bounding sphere", edge=OBJECT_EDGE, points=20_000)
    radius = float(np.linalg.norm(case.truth.cloud(protocol).points, axis=-1).max())
    return Prediction(mesh=icosphere(radius), note=f"radius {radius / OBJECT_EDGE:.3f} edges")
