"""Visual hull: posed silhouettes to a signed distance, hard or soft, and to an occupancy.

The distance of a point to the cone of one silhouette is the signed pixel distance to the silhouette's
outline at the point's projection, times depth / focal. The hull is the intersection of all cones
(Laurentini 1994), so its field is the largest of these; with `tolerance` > 0 the largest few are
ignored, a vote that keeps views which disagree with the others from carving the object away.
No gradients flow through these functions; `hull_distances_and_gradients` gives them in closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn import functional as F

from ..loops import as_array, looped, share_out
from .cameras import Cameras
from .projection import in_frame, project, sample_views

POINTS = 2**16
"""Points that all views have a look at together, where not by compiled loops."""


def mask_distance(masks: Tensor) -> Tensor:
    """Signed distance (n, h, w) in pixels to the 0.5 outline of masks (n, h, w), negative inside.

    Exact Euclidean distance between pixel centres, less the half pixel to the outline between them. An
    image without any foreground is far outside everywhere, one without background far inside.
    """
    return torch.ops.one2345.mask_distance(masks)


# An operator of its own, so that torch.compile need not look inside.
@torch.library.custom_op("one2345::mask_distance", mutates_args=())
def _mask_distance(masks: Tensor) -> Tensor:
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
            # OpenCV's transform is faster, but its last digits depend on where the arrays lie.
            result[index] = np.asarray(distance_transform_edt(~mask)) - 0.5
            around = _around(mask)
            inner = np.asarray(distance_transform_edt(mask[around]))
            result[index][around] = np.where(mask[around], 0.5 - inner, result[index][around])
    return torch.from_numpy(result).to(masks)


def _around(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of a mask's foreground and one more to each side, if there are more: among them are the pixels
    of the background that lie nearest to it."""
    found = [np.flatnonzero(mask.any(axis)) for axis in (1, 0)]
    rows, columns = (slice(max(0, int(at[0]) - 1), int(at[-1]) + 2) for at in found)
    return rows, columns


@_mask_distance.register_fake
def _(masks: Tensor) -> Tensor:
    return torch.empty_like(masks, memory_format=torch.contiguous_format)


def cone_distances(points_world: Tensor, distances: Tensor, cameras: Cameras) -> Tensor:
    """Signed distance (n, p), world units, of points (p, 3) to the silhouette cone of each of n views.

    distances: (n, h, w) from `mask_distance`, at the cameras' image size. Beyond the frame the border
    value plus the way to the frame counts; behind a camera nothing is known and the value is -inf.
    """
    return _look(points_world, distances[:, None], cameras).cones


def hull_sdf(points_world: Tensor, distances: Tensor, cameras: Cameras, *, tolerance: float = 0.0) -> Tensor:
    """Signed distance (p) in world units to the visual hull of n views, negative inside.

    tolerance: fraction of the views that may place a point outside without carving it; 0 is the
    exact hull. Outside, the field stays below the true distance (up to the pixel size and the perspective of
    one pixel distance), as every intersection of distances does.
    """
    return hull_distances(points_world, distances, cameras, tolerances=[tolerance])[:, 0]


def hull_distances(
    points_world: Tensor, distances: Tensor, cameras: Cameras, *, tolerances: Sequence[float]
) -> Tensor:
    """`hull_sdf` of points (p, 3) at each of k tolerances: (p, k)."""
    if looped(points_world):
        return _hulls(points_world, distances, None, cameras, tolerances, slopes=0).distances
    pieces = points_world.split(POINTS)
    return torch.cat([_vote(cone_distances(piece, distances, cameras), tolerances) for piece in pieces])


@torch.no_grad()
def hull_distances_and_gradients(
    points_world: Tensor, distances: Tensor, cameras: Cameras, *, tolerances: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """`hull_distances` (p, k) and their gradients (p, k, 3) in the world, those of the view that decides.

    A map is bilinear between pixel centres, so its slope jumps there. Where all views lie behind, the gradient is zero.
    """
    if looped(points_world):
        found = _hulls(points_world, distances, None, cameras, tolerances, slopes=len(tolerances))
        return found.distances, found.gradients
    projections, values, gradients = _projections(cameras, points_world), [], []
    for piece in points_world.split(POINTS):
        cones = cone_distances(piece, distances, cameras)
        found = _vote(cones, tolerances)
        values.append(found)
        gradients.append(_cone_gradients(piece, distances, *projections, _deciding(cones, found)))
    return torch.cat(values), torch.cat(gradients)


class HullEvidence(NamedTuple):
    """What the silhouettes of n views tell of p points, see `hull_evidence`.

    distances: (p, k) `hull_sdf` at each of k tolerances. mask: (p) the mean over the views that see a point, 0 without
    any. viewers: (p) their number. gradients: (p, 3) of the first distance, in the world.
    """

    distances: Tensor
    mask: Tensor
    viewers: Tensor
    gradients: Tensor


@torch.no_grad()
def hull_evidence(
    points_world: Tensor,
    distances: Tensor,
    masks: Tensor,
    cameras: Cameras,
    *,
    tolerances: Sequence[float] = (0.0,),
    limit: float = torch.inf,
) -> HullEvidence:
    """All that the silhouettes tell of points (p, 3).

    distances, masks: (n, h, w), of the same size; bilinear between pixel centres, the border value beyond them. limit:
    where all the distances are beyond it, they may be any that are, and the rest that of some of the views, or 0.
    """
    if looped(points_world):
        found = _hulls(points_world, distances, masks, cameras, tolerances, slopes=1, limit=limit)
        return HullEvidence(found.distances, found.cover, found.viewers, found.gradients[:, 0])
    maps = torch.stack([distances, masks], 1)
    projections, found = _projections(cameras, points_world), []
    for piece in points_world.split(POINTS):
        look = _look(piece, maps, cameras)
        seen = (look.depth > 0) & (look.across.abs() <= 1) & (look.down.abs() <= 1)
        count = seen.sum(0)
        mean = (look.sampled[:, 1] * seen).sum(0) / count.clamp_min(1)
        sdf = _vote(look.cones, tolerances)
        deciding = _deciding(look.cones, sdf[:, :1])
        gradients = _cone_gradients(piece, distances, *projections, deciding)[:, 0]
        found.append((sdf, mean, count, gradients))
    return HullEvidence(*(torch.cat(parts) for parts in zip(*found, strict=True)))


class _Hulls(NamedTuple):
    """See `hull_loops.hulls`. Without entries where not asked for."""

    distances: Tensor
    gradients: Tensor
    cover: Tensor
    viewers: Tensor


def _hulls(
    points: Tensor,
    distances: Tensor,
    masks: Tensor | None,
    cameras: Cameras,
    tolerances: Sequence[float],
    *,
    slopes: int,
    limit: float = torch.inf,
) -> _Hulls:
    """By compiled loops, with the gradients of the first `slopes` distances."""
    from .hull_loops import hulls

    fill: Callable[..., None] = hulls
    ranks = _ignored(tolerances, len(cameras))
    found = _Hulls(
        points.new_empty(len(points), len(ranks)),
        points.new_empty(len(points) if slopes else 0, slopes, 3),
        points.new_empty(0 if masks is None else len(points)),
        torch.empty(0 if masks is None else len(points), dtype=torch.int64),
    )
    maps = distances.to(points), points.new_empty(0, 0, 0) if masks is None else masks.to(points)
    given = [as_array(part) for part in (points, *maps, *_projections(cameras, points), torch.tensor(ranks))]
    made = [part.numpy() for part in found]
    far = np.float32(limit)
    share_out(len(points), lambda start, stop: fill(*given, far, start, stop, *made))
    return found


class _Look(NamedTuple):
    """Points as n views have them: `cones` (n, p), see `cone_distances`; all channels of the maps there, `sampled`
    (n, c, p); `across` and `down` (n, p), -1 to 1 from border to border; `depth` (n, p)."""

    cones: Tensor
    sampled: Tensor
    across: Tensor
    down: Tensor
    depth: Tensor


@torch.no_grad()
def _look(points_world: Tensor, maps: Tensor, cameras: Cameras) -> _Look:
    """Points (p, 3) as the views have them; the first channel of maps (n, c, h, w) is the distance."""
    height, width = maps.shape[-2:]
    matrices, focal = _projections(cameras, points_world)
    places = matrices[:, :, :3] @ points_world.T + matrices[:, :, 3:]
    depth = places[:, 2]
    per_depth = depth.masked_fill(depth.abs() < 1e-6, 1e-6).reciprocal()
    across = places[:, 0] * per_depth * (2 / width) - 1
    down = places[:, 1] * per_depth * (2 / height) - 1
    grid = torch.stack([across, down], -1)[:, None]
    sampled = F.grid_sample(maps, grid, padding_mode="border", align_corners=False)[:, :, 0]
    aside = (across.abs() - (1 - 1 / width)).clamp_min(0) * (width / 2)
    above = (down.abs() - (1 - 1 / height)).clamp_min(0) * (height / 2)
    cones = (sampled[:, 0] + torch.sqrt(aside.square() + above.square())) * depth / focal[:, None]
    return _Look(cones.masked_fill(depth <= 0, -torch.inf), sampled, across, down, depth)


def _projections(cameras: Cameras, like: Tensor) -> tuple[Tensor, Tensor]:
    """`Cameras.projections` (n, 3, 4) and `Cameras.focals` (n)."""
    return cameras.projections.to(like), cameras.focals.to(like)


def _cone_gradients(
    points: Tensor, distances: Tensor, matrices: Tensor, focal: Tensor, view: Tensor
) -> Tensor:
    """World gradients (p, k, 3) at points (p, 3) of the cone distances to views (p, k), by the chain rule."""
    height, width = distances.shape[-2:]
    to_u, to_v, to_depth = matrices[view].unbind(-2)
    u, v, depth = ((row[..., :3] * points[:, None]).sum(-1) + row[..., 3] for row in (to_u, to_v, to_depth))
    safe = depth.masked_fill(depth.abs() < 1e-6, 1e-6)
    u, v = u / safe, v / safe
    x, y = u.clamp(0.5, width - 0.5), v.clamp(0.5, height - 0.5)
    left, top = (x - 0.5).floor().clamp(0, width - 2), (y - 0.5).floor().clamp(0, height - 2)
    a, b = x - 0.5 - left, y - 0.5 - top
    first = (view * height + top.long()) * width + left.long()
    flat = distances.reshape(-1)
    nw, ne, sw, se = (flat[first + step] for step in (0, 1, width, width + 1))
    beyond = torch.hypot(u - x, v - y)
    away = beyond.clamp_min(1e-12)
    along_u = torch.where(u == x, (ne - nw) * (1 - b) + (se - sw) * b, (u - x) / away)
    along_v = torch.where(v == y, (sw - nw) * (1 - a) + (se - ne) * a, (v - y) / away)
    value = (nw * (1 - a) + ne * a) * (1 - b) + (sw * (1 - a) + se * a) * b + beyond
    # With u = (to_u x) / depth, the distance value * depth / focal has a slope without any depth in it.
    slope = (
        along_u[..., None] * (to_u[..., :3] - u[..., None] * to_depth[..., :3])
        + along_v[..., None] * (to_v[..., :3] - v[..., None] * to_depth[..., :3])
        + value[..., None] * to_depth[..., :3]
    )
    return (slope / focal[view][..., None]).masked_fill((depth <= 0)[..., None], 0)


def _vote(cones: Tensor, tolerances: Sequence[float]) -> Tensor:
    """The largest (p, k) of cones (n, p), but for the shares that are ignored."""
    ranks = _ignored(tolerances, len(cones))
    return torch.topk(cones, max(ranks) + 1, dim=0).values[ranks].T


def _deciding(cones: Tensor, found: Tensor) -> Tensor:
    """The first of n views whose cones (n, p) have the values found (p, k): (p, k)."""
    return torch.stack([(cones == value).to(torch.uint8).argmax(0) for value in found.unbind(1)], 1)


def _ignored(tolerances: Sequence[float], views: int) -> list[int]:
    """How many views each tolerance lets be outvoted."""
    return [min(int(tolerance * views), views - 1) for tolerance in tolerances]


def hull_occupancy(points_world: Tensor, masks: Tensor, cameras: Cameras) -> Tensor:
    """Whether points (p, 3) lie inside the hull: bilinear mask (n, h, w) above 0.5 in every view that sees them."""
    pixels, depth = project(points_world.expand(len(cameras), -1, -1), cameras)
    value = sample_views(masks[:, None], pixels)[:, 0]
    seen = in_frame(pixels, depth, (masks.shape[-2], masks.shape[-1]))
    return ((value > 0.5) | ~seen).all(0) & seen.any(0)
