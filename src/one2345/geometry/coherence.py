"""Silhouette coherence: whether a hull still fills the silhouettes that it was made of.

What a hull has lost by views that err leaves gaps in the silhouettes of the others; exact views leave none (Hernandez,
Schmitt and Cipolla, Silhouette Coherence for Camera Calibration under Circular Motion, TPAMI 2007). A silhouette is
looked at in square cells, wider than the nodes of the volume lie apart, and in each of them counts the node that lies
deepest in the hull. No gradients flow through these functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..loops import as_array, looped, share_out
from .boxes import Box
from .cameras import Cameras
from .projection import in_frame, project

CELL = 1.8
"""Width of a cell in voxels at the middle of the box: more than a voxel's diagonal, so that what is solid leaves no
cell empty. There are never more cells along an image than nodes along the box."""

PAIRS = 2**19
"""Nodes times views that are worked out at once, where not by compiled loops."""


class SilhouetteGaps(NamedTuple):
    """How far k hulls are from filling the silhouettes, 0 (filled) to 1, see `silhouette_gaps`.

    local: (p, k) at points, the mean over the silhouettes that hold them, by where those cover them. overall: (k) the
    mean over all silhouettes.
    """

    local: Tensor
    overall: Tensor


@torch.no_grad()
def silhouette_gaps(
    points_world: Tensor,
    distances: Tensor,
    masks: Tensor,
    cameras: Cameras,
    box: Box,
    *,
    far: float,
) -> SilhouetteGaps:
    """How far hulls, known at nodes of a box (p, 3), are from filling silhouettes (n, h, w).

    The gap of a cell is the smallest hull distance among the nodes that appear in it: 0 if one lies inside, 1 if none
    is closer than `far`. distances: (p, k) to k hulls; nodes that are `far` from all of them can be left out.
    """
    size = (masks.shape[-2], masks.shape[-1])
    cells = _Cells.of(masks, cameras, box)
    if looped(points_world):
        local, gaps, covered = _by_loops(points_world, distances, cells, cameras, size, far)
    else:
        local, gaps, covered = _by_operations(points_world, distances, cells, cameras, size, far)
    return SilhouetteGaps(local, gaps / covered.clamp_min(1e-6))


class _Cells(NamedTuple):
    """The cells of n silhouettes. along: how many there may be along an image. widths: (n) in pixels. cover: the share
    (n, along^2 + 1) of each that the silhouette covers; the last one is for what no view sees, 0."""

    along: int
    widths: Tensor
    cover: Tensor

    @staticmethod
    def of(masks: Tensor, cameras: Cameras, box: Box) -> _Cells:
        longer, focal = max(masks.shape[-2:]), cameras.focals
        depth = project(box.pose[None, :3, 3].to(focal), cameras)[1][:, 0].clamp_min(box.voxel_size)
        widths = (CELL * box.voxel_size * focal / depth).clamp_min(longer / box.resolution).to(masks)
        return _Cells(box.resolution, widths, _cover(masks, widths, box.resolution))


Found = tuple[Tensor, Tensor, Tensor]
"""Gaps at points (p, k), and sums over all cells of the gaps (k) and of what the silhouettes cover."""


def _by_operations(
    points: Tensor, distances: Tensor, cells: _Cells, cameras: Cameras, size: tuple[int, int], far: float
) -> Found:
    (p, k), (along, widths, cover) = distances.shape, cells
    step = max(1, PAIRS // max(p, 1))
    total, weight, gap_sum = (distances.new_zeros(s) for s in ((p, k), (p, 1), (k,)))
    for first in range(0, len(cover), step):
        some = slice(first, first + step)
        pixels, depth = project(points, cameras[some])
        at = (pixels / widths[some, None, None]).floor().long().clamp(0, along - 1)
        at = torch.where(in_frame(pixels, depth, size), at[..., 1] * along + at[..., 0], along * along)
        least = distances.new_full((len(at), along * along + 1, k), far)
        least.scatter_reduce_(1, at[..., None].expand(-1, -1, k), distances.expand(len(at), -1, -1), "amin")
        gaps = least.clamp_min(0) * (cover[some, :, None] / far)
        gap_sum += gaps.sum((0, 1))
        total += gaps.gather(1, at[..., None].expand(-1, -1, k)).sum(0)
        weight += cover[some].gather(1, at).sum(0)[:, None]
    return total / weight.clamp_min(1e-6), gap_sum, cover.sum()


def _by_loops(
    points: Tensor, distances: Tensor, cells: _Cells, cameras: Cameras, size: tuple[int, int], far: float
) -> Found:
    from .coherence_loops import deepest, gathered

    in_cells: Callable[..., None] = deepest
    at_points: Callable[..., None] = gathered
    (p, k), (along, widths, cover), n = distances.shape, cells, len(cells.cover)
    at = torch.empty(n, p, dtype=torch.int32)
    least = points.new_full((n, along * along + 1, k), far)
    given = [as_array(x.to(points)) for x in (points, distances, cameras.projections, widths)]
    share_out(n, lambda start, stop: in_cells(*given, *size, along, start, stop, at.numpy(), least.numpy()))
    gaps = least.clamp_min_(0).mul_(cover[..., None] / far)
    local = torch.empty_like(distances)
    parts = [as_array(part) for part in (at, gaps, cover)]
    share_out(p, lambda start, stop: at_points(*parts, start, stop, local.numpy()))
    return local, gaps.sum((0, 1)), cover.sum()


def _cover(masks: Tensor, widths: Tensor, cells: int) -> Tensor:
    """See `_Cells.cover`, of masks (n, h, w)."""
    n, height, width = masks.shape
    down, across = (
        ((torch.arange(edge, device=masks.device) + 0.5) / widths[:, None]).long().clamp_max(cells - 1)
        for edge in (height, width)
    )
    at = (down[:, :, None] * cells + across[:, None, :]).flatten(1)
    found = masks.new_zeros(n, cells * cells + 1).scatter_add_(1, at, masks.flatten(1))
    return found / widths[:, None].square()
