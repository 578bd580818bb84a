"""From a program to a shape of the world: turned, centred and scaled by the bounding box of its zero set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from one2345.geometry import OBJECT_EDGE
from one2345.objects.shapes.grid import Bound, ShapeGrid, sample_grid
from one2345.objects.shapes.parts import Part
from one2345.objects.shapes.program import Placement, Programs
from one2345.objects.shapes.shape import AnalyticShape

# Cells along the longest edge of the grid that finds cavities and seeds the surface samples, and of the one
# before.
CELLS, COARSE_CELLS = 80, 40


def place(
    parts: Sequence[Part], *, id: str, rotation: NDArray[np.float64] | None = None, edge: float = OBJECT_EDGE
) -> AnalyticShape | None:
    """Turn, centre and scale a program: its tight bounding box gets longest edge `edge`; None if empty."""
    turn = np.eye(3) if rotation is None else rotation
    raw = Programs([parts], [Placement(rotation=turn)])

    solid = [p for p in parts if p.operation != "subtraction"]
    reach = max(float(np.linalg.norm(p.position)) + p.reach + p.blend for p in solid)
    centres = np.array([turn @ np.asarray(p.position) for p in solid])
    extents = np.array([p.reach + p.blend for p in solid])[:, None]
    folded = any(any(p.fold) for p in solid)
    lower = np.full(3, -reach) if folded else (centres - extents).min(axis=0)
    upper = np.full(3, reach) if folded else (centres + extents).max(axis=0)
    for _ in range(2):
        spacing = float((upper - lower).max()) / COARSE_CELLS
        grid = sample_grid(raw.at, lower, upper, spacing, fill=False)
        # Every point of the solid is this near to a node, thin as it may be.
        near = np.argwhere(grid.values <= spacing * 3.0**0.5 / 2.0)
        if not len(near):
            return None
        lower = np.maximum(lower, grid.origin + spacing * (near.min(axis=0) - 0.5))
        upper = np.minimum(upper, grid.origin + spacing * (near.max(axis=0) + 0.5))
    grid = sample_grid(raw.at, lower, upper, float((upper - lower).max()) / CELLS)
    if grid.is_empty:
        return None
    vertices, _ = grid.surface()
    lower, upper = _extremes(raw.at, vertices, grid.spacing)
    scale = edge / float((upper - lower).max())
    centre = (lower + upper) / 2.0
    world = ShapeGrid(
        origin=(grid.origin - centre) * scale,
        spacing=grid.spacing * scale,
        values=grid.values * np.float32(scale),
        cavity=grid.cavity,
    )
    placement = Placement(rotation=turn, centre=_triple(centre), scale=scale)
    half = _triple((upper - lower) / 2.0 * scale)
    return AnalyticShape(id=id, parts=tuple(parts), placement=placement, half=half, grid=world)


def _triple(vector: NDArray[np.float64]) -> tuple[float, float, float]:
    return (float(vector[0]), float(vector[1]), float(vector[2]))


def _extremes(
    bound: Bound, vertices: NDArray[np.float64], spacing: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper corner of the solid to about spacing / 100: small grids climb from outer vertices."""
    lower, upper = vertices.min(axis=0), vertices.max(axis=0)
    ticks = np.linspace(-1.0, 1.0, 7)
    patch = torch.from_numpy(
        np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), -1).reshape(-1, 3)
    ).float()
    for axis in range(3):
        for sign, corner in ((1.0, upper), (-1.0, lower)):
            height = sign * vertices[:, axis]
            near = vertices[height > height.max() - spacing]
            _, distinct = np.unique(np.round(near / (2.0 * spacing)), axis=0, return_index=True)
            outermost = np.argsort(-sign * near[distinct, axis], kind="stable")[:10]
            at = torch.from_numpy(near[distinct][outermost]).float()
            best = sign * corner[axis]
            size = spacing
            for _ in range(5):
                points = at[:, None] + patch * size
                solid = bound(points.reshape(-1, 3)).reshape(points.shape[:2]) <= 0.0
                score = torch.where(solid, sign * points[..., axis], -torch.inf)
                top, where = score.max(dim=1)
                moved = points[torch.arange(len(at)), where]
                at = torch.where(torch.isfinite(top)[:, None], moved, at)
                best = max(best, float(top.max()))
                size /= 3.0
            # Around a point inside, a ball as large as the bound is inside too.
            best = max(best, float((sign * at[:, axis] + (-bound(at)).clamp_min(0.0)).max()))
            corner[axis] = sign * best
    return lower, upper
