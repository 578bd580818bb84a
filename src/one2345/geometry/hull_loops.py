"""Visual hulls of points on a CPU: every point goes through all silhouettes once; see `geometry.visual_hull`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..loops import compiled

BLOCK = 128
"""Points that go from view to view together."""

ZERO, HALF, ONE, LEAST = np.float32(0), np.float32(0.5), np.float32(1), np.float32(1e-6)
NOWHERE, NO_NUMBER = np.float32(-np.inf), np.float32(np.nan)

Array = NDArray[Any]


@compiled()
def hulls(
    points: Array,
    maps: Array,
    masks: Array,
    matrices: Array,
    focal: Array,
    ranks: Array,
    limit: np.float32,
    start: int,
    stop: int,
    distances: Array,
    gradients: Array,
    cover: Array,
    count: Array,
) -> None:
    """Fill in rows start to stop of what is asked for; an array without entries isn't.

    points: (p, 3). maps, masks: (n, h, w), distances to the outlines, and masks. matrices: (n, 3, 4) to pixels times
    depth. focal: (n). ranks: (k), 0 the largest cone distance of a point. limit: points are left alone as soon as all
    their distances are beyond it, with what is known of them by then. Results: distances (p, k), gradients of the first
    of them (p, up to k, 3), mean mask of the views that see a point (p) and their number (p). All float32, but for
    ranks and count.
    """
    views, height, width = maps.shape
    flat, covers = maps.reshape(-1), masks.reshape(-1)
    right, below = np.uint64(width > 1), np.uint64(width if height > 1 else 0)
    last_x, last_y = np.float32(width - 1), np.float32(height - 1)
    before_x, before_y = np.int32(max(width - 2, 0)), np.int32(max(height - 2, 0))
    kept = 1
    for rank in ranks:
        kept = max(kept, rank + 1)
    largest = np.empty((kept, BLOCK), np.float32)
    cones = np.empty((views, BLOCK), np.float32)
    px, py, pz, a, b, beyond, scale, value, total, seen = np.empty((10, BLOCK), np.float32)
    pixel = np.empty(BLOCK, np.int32)
    for first in range(start, stop, BLOCK):
        block = min(BLOCK, stop - first)
        for i in range(block):
            px[i], py[i], pz[i] = points[first + i, 0], points[first + i, 1], points[first + i, 2]
        largest[:] = NOWHERE
        total[:] = ZERO
        seen[:] = ZERO
        for view in range(views):
            to = matrices[view]
            ux, uy, uz, u1 = to[0, 0], to[0, 1], to[0, 2], to[0, 3]
            vx, vy, vz, v1 = to[1, 0], to[1, 1], to[1, 2], to[1, 3]
            zx, zy, zz, z1 = to[2, 0], to[2, 1], to[2, 2], to[2, 3]
            per_focal = ONE / focal[view]
            for i in range(block):
                z = zx * px[i] + zy * py[i] + zz * pz[i] + z1
                per_depth = ONE / max(z, LEAST)
                u = (ux * px[i] + uy * py[i] + uz * pz[i] + u1) * per_depth - HALF
                v = (vx * px[i] + vy * py[i] + vz * pz[i] + v1) * per_depth - HALF
                # What is no number lands on the first pixel, so that nothing is read beside the maps.
                x, y = (u if u > ZERO else ZERO), (v if v > ZERO else ZERO)
                x, y = (x if x < last_x else last_x), (y if y < last_y else last_y)
                aside, above = u - x, v - y
                beyond[i] = np.sqrt(aside * aside + above * above)
                left, top = min(np.int32(x), before_x), min(np.int32(y), before_y)
                a[i], b[i] = x - np.float32(left), y - np.float32(top)
                pixel[i] = np.int32(top * np.int32(width) + left)
                scale[i] = z * per_focal
                value[i] = ONE if (max(abs(aside), abs(above)) <= HALF) & (z > ZERO) else ZERO
            offset = view * height * width
            if len(covers):
                for i in range(block):
                    at = np.uint64(offset + pixel[i])
                    upper = covers[at] + (covers[at + right] - covers[at]) * a[i]
                    lower = covers[at + below] + (covers[at + below + right] - covers[at + below]) * a[i]
                    total[i] += (upper + (lower - upper) * b[i]) * value[i]
                    seen[i] += value[i]
            for i in range(block):
                at = np.uint64(offset + pixel[i])
                upper = flat[at] + (flat[at + right] - flat[at]) * a[i]
                lower = flat[at + below] + (flat[at + below + right] - flat[at + below]) * a[i]
                value[i] = upper + (lower - upper) * b[i]
            for i in range(block):
                cone = (value[i] + beyond[i]) * scale[i]
                value[i] = cone if scale[i] > ZERO else NOWHERE
                cones[view, i] = value[i]
            for rank in range(min(view + 1, kept)):
                for i in range(block):
                    found, held = value[i], largest[rank, i]
                    largest[rank, i] = found if found > held else held
                    value[i] = held if found > held else found
            # More views only make the distances larger.
            least = largest[kept - 1, 0]
            for i in range(block):
                least = min(least, largest[kept - 1, i])
            if least > limit:
                break
        for i in range(block):
            for k in range(len(ranks)):
                distances[first + i, k] = largest[ranks[k], i]
            if not np.isfinite(px[i] + py[i] + pz[i]):
                distances[first + i] = NO_NUMBER
        if len(covers):
            for i in range(block):
                count[first + i] = np.int64(seen[i])
                cover[first + i] = total[i] / max(seen[i], ONE)
        if len(gradients):
            for i in range(block):
                for k in range(gradients.shape[1]):
                    if largest[kept - 1, i] > limit:
                        gradients[first + i, k] = ZERO
                        continue
                    view = 0
                    while view < views - 1 and cones[view, i] != largest[ranks[k], i]:
                        view += 1
                    if np.isfinite(px[i] + py[i] + pz[i]):
                        slope(
                            points[first + i],
                            maps[view],
                            matrices[view],
                            focal[view],
                            gradients[first + i, k],
                        )
                    else:
                        gradients[first + i, k] = NO_NUMBER


@compiled()
def slope(point: Array, distances: Array, matrix: Array, focal: np.float32, gradient: Array) -> None:
    """World gradient (3) at a point (3) of the cone distance to one view, by the chain rule."""
    height, width = distances.shape
    u, v, z = (
        matrix[0, 0] * point[0] + matrix[0, 1] * point[1] + matrix[0, 2] * point[2] + matrix[0, 3],
        matrix[1, 0] * point[0] + matrix[1, 1] * point[1] + matrix[1, 2] * point[2] + matrix[1, 3],
        matrix[2, 0] * point[0] + matrix[2, 1] * point[1] + matrix[2, 2] * point[2] + matrix[2, 3],
    )
    if z <= ZERO:
        gradient[:] = ZERO
        return
    u, v = u / max(z, LEAST), v / max(z, LEAST)
    x = min(max(u, HALF), np.float32(width) - HALF)
    y = min(max(v, HALF), np.float32(height) - HALF)
    left, top = min(int(x - HALF), max(width - 2, 0)), min(int(y - HALF), max(height - 2, 0))
    a, b = x - HALF - np.float32(left), y - HALF - np.float32(top)
    right, below = min(left + 1, width - 1), min(top + 1, height - 1)
    nw, ne = distances[top, left], distances[top, right]
    sw, se = distances[below, left], distances[below, right]
    beyond = np.sqrt((u - x) * (u - x) + (v - y) * (v - y))
    along_u = (ne - nw) * (ONE - b) + (se - sw) * b if u == x else (u - x) / beyond
    along_v = (sw - nw) * (ONE - a) + (se - ne) * a if v == y else (v - y) / beyond
    value = (nw * (ONE - a) + ne * a) * (ONE - b) + (sw * (ONE - a) + se * a) * b + beyond
    # With u = (matrix[0] point) / depth, the distance value * depth / focal has a slope without any depth in it.
    for axis in range(3):
        across = along_u * (matrix[0, axis] - u * matrix[2, axis])
        down = along_v * (matrix[1, axis] - v * matrix[2, axis])
        gradient[axis] = (across + down + value * matrix[2, axis]) / focal
