"""Visual hull: posed silhouettes to a signed distance, hard or soft, and to an occupancy.

The distance of a point to the cone of one silhouette is the signed pixel distance to the silhouette's
outline at the point's projection, times depth / focal. The hull is the intersection of all cones
(Laurentini 1994), so its field is the largest of these; with `tolerance` > 0 the largest few are
ignored, a vote that keeps views which disagree with the others from carving the object away.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from .cameras import Cameras
from .projection import hold_in_frame, in_frame, project, sample_views


def mask_distance(masks: Tensor) -> Tensor:
    """Signed distance (n, h, w) in pixels to the 0.5 outline of masks (n, h, w), negative inside.

    Exact Euclidean distance between pixel centres, less the half pixel to the outline between them. An
    image without any foreground is far outside everywhere, one without background far inside.
    """
    height, width = masks.shape[-2:]
    far = float(np.hypot(height, width))
    inside = (masks > 0.5).cpu().numpy()
    result = np.empty(inside.shape, np.float32)
    for index, mask in enumerate(inside):
        if not mask.any():
            result[index] = far
        elif mask.all():
            result[index] = -far
        else:
            outer = np.asarray(distance_transform_edt(~mask))
            inner = np.asarray(distance_transform_edt(mask))
            result[index] = np.where(mask, 0.5 - inner, outer - 0.5)
    return torch.from_numpy(result).to(masks)


def cone_distances(points_world: Tensor, distances: Tensor, cameras: Cameras) -> Tensor:
    """Signed distance (n, p), world units, of points (p, 3) to the silhouette cone of each of n views.

    distances: (n, h, w) from `mask_distance`, at the cameras' image size. Beyond the frame the border
    value plus the way to the frame counts; behind a camera nothing is known and the value is -inf.
    """
    pixels, depth = project(points_world.expand(len(cameras), -1, -1), cameras)
    held, outside = hold_in_frame(pixels, (distances.shape[-2], distances.shape[-1]))
    sampled = sample_views(distances[:, None], held)[:, 0]
    focal = (cameras.K[:, 0, 0] + cameras.K[:, 1, 1])[:, None] / 2
    world = (sampled + outside) * depth / focal
    return torch.where(depth > 0, world, torch.full_like(world, -torch.inf))


def hull_sdf(points_world: Tensor, distances: Tensor, cameras: Cameras, *, tolerance: float = 0.0) -> Tensor:
    """Signed distance (p) in world units to the visual hull of n views, negative inside.

    tolerance: fraction of the views that may place a point outside without carving it; 0 is the
    exact hull. Outside, the field stays below the true distance (up to the pixel size and the perspective of
    one pixel distance), as every intersection of distances does.
    """
    cones = cone_distances(points_world, distances, cameras)
    ignored = min(int(tolerance * len(cameras)), len(cameras) - 1)
    return cones.amax(0) if ignored == 0 else torch.topk(cones, ignored + 1, dim=0).values[-1]


def hull_occupancy(points_world: Tensor, masks: Tensor, cameras: Cameras) -> Tensor:
    """Whether points (p, 3) lie inside the hull: bilinear mask (n, h, w) above 0.5 in every view that sees them."""
    pixels, depth = project(points_world.expand(len(cameras), -1, -1), cameras)
    value = sample_views(masks[:, None], pixels)[:, 0]
    seen = in_frame(pixels, depth, (masks.shape[-2], masks.shape[-1]))
    return ((value > 0.5) | ~seen).all(0) & seen.any(0)
