"""Where the published network looks in its source views, and what it makes of what it finds there."""

from __future__ import annotations

import torch
from torch import Tensor

from one2345.geometry import Cameras, in_frame

from ..cost_volume import Lifting, lift_rows
from .quirks import Quirks


def view_positions(
    points: Tensor, cameras: Cameras, quirks: Quirks, *, nearest: float | None = None
) -> tuple[Tensor, Tensor]:
    """Positions (v, p, 2) of points (p, 3) for `grid_sample`, and whether the views see them (v, p).

    In the cube frame, as the cameras (v). nearest: depths below it are raised to it, as colours want; None: only those
    between 0 and 1e-6 are, so that what lies behind the camera is projected through it. A point that is not seen has
    some position of no meaning.
    """
    height, width = cameras.size
    grid = points.new_empty(len(cameras), len(points), 2)
    seen = torch.empty(grid.shape[:2], dtype=torch.bool, device=points.device)
    matrices = cameras.projections.to(points)
    for view, matrix in enumerate(matrices):  # one at a time: the intermediate results are larger than these
        image = points @ matrix[:, :3].T + matrix[:, 3]
        depth = image[:, 2]
        if nearest is None:
            divisor = torch.where((depth >= 0) & (depth < 1e-6), torch.full_like(depth, 1e-6), depth)
        else:
            divisor = depth.clamp_min(nearest)
        pixels = image[:, :2] / divisor[:, None]
        if quirks.integer_pixels:
            grid[view] = pixels * pixels.new_tensor([2 / (width - 1), 2 / (height - 1)]) - 1
            reach = grid[view].abs().amax(-1)
            # Colours exclude the outermost pixel centres themselves, the cost volume includes them.
            seen[view] = (reach <= 1) & (depth > 0) if nearest is None else reach < 1
        else:
            grid[view] = pixels * pixels.new_tensor([2 / width, 2 / height]) - 1
            seen[view] = in_frame(pixels, depth, cameras.size)
    return grid, seen


def lift(features: Tensor, points: Tensor, cameras: Cameras, quirks: Quirks) -> tuple[Tensor, Tensor]:
    """Cost volume rows (2 c, p), variance before mean over the views, and the number of views that see a point (p).

    features: (v, c, h, w). points: (p, 3) and cameras (v) in the cube frame. Points seen by a single view, of several,
    or by none get zeros: there is nothing to compare. In memory a point's values lie side by side.
    """
    rules = Lifting(
        integer_pixels=quirks.integer_pixels,
        leaking=quirks.leaking_views,
        signed_variance=quirks.signed_variance,
        fewest=min(2, len(cameras)),
    )
    rows, count = lift_rows(features, points, cameras, rules)
    return rows.T, count
