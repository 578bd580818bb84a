"""Iterative closest points: placements of one cloud on another refined together, by robust similarity steps."""

from __future__ import annotations

from typing import Literal

import numpy as np

from .correspondence import Correspondence, Matches, moved, scale_of, similarities
from .surface import Floats

Freedom = Literal["similarity", "rigid", "shift"]
# Of a turn (3), a shift (3) and growth.
FREE = {"similarity": slice(0, 7), "rigid": slice(0, 6), "shift": slice(3, 6)}
# Distances beyond this many medians lose their vote.
REACH = 3.0
# Eigenvalues of the normal equations below this share of the largest belong to motions that the surface does
# not resist (the turn of a ball, a slide along a plane): no step is taken there. Measured: at most 2e-4 for balls
# and cylinders of facets, 3e-4 for a scanned plate, at least 8e-3 for other scans (experiments/alignment).
RESISTANCE = 1e-3
# Added to all eigenvalues, as a share of the largest.
DAMPING = 1e-4
# No single step is larger (radians, lengths per radius of gyration), and a placement that grows or shrinks by
# more than this factor is on its way to nowhere.
LARGEST_STEP = 0.3
LARGEST_GROWTH = 2.0


def refine(
    pair: Correspondence,
    matrices: Floats,
    *,
    iterations: int,
    window: float,
    cap: float,
    freedom: Freedom = "similarity",
    tolerance: float = 1e-5,
) -> tuple[Floats, Floats]:
    """Placements (k, 4, 4), prediction → truth, brought closer by at most `iterations` steps: the best that
    each passed through and its residual (k,), the mean distance of both ways with distances cut off at `cap`.

    A step is the similarity, motion (rigid) or shift that minimises the squared distances of matched points, both
    ways, to the truth's tangent planes (Chen and Medioni 1992), linearised, by a damped minimum-norm solution.
    Matches both ways keep it from shrinking the prediction; Tukey's weights leave out what has no counterpart:
    their radius is three medians of the better way, no less than `window`. A placement stops once its step
    (radians, lengths per radius of gyration) is below `tolerance`, or its size is no longer like that at the
    start. Mirroring placements keep mirroring.
    """
    current, best = matrices.copy(), matrices.copy()
    least = np.full(len(matrices), np.inf)
    active = np.arange(len(matrices))
    for iteration in range(iterations + 1):
        found = pair.match(current[active])
        cost = found.residual(cap)
        better = cost < least[active]
        least[active[better]] = cost[better]
        best[active[better]] = current[active[better]]
        if iteration == iterations:
            break
        steps, size = _steps(pair, current[active], found, window, freedom)
        current[active] = steps @ current[active]
        growth = np.abs(np.log(scale_of(current[active]) / scale_of(matrices[active])))
        active = active[(size > tolerance) & (growth < np.log(LARGEST_GROWTH))]
        if len(active) == 0:
            break
    return best, least


def _steps(
    pair: Correspondence, matrices: Floats, found: Matches, window: float, freedom: Freedom
) -> tuple[Floats, Floats]:
    """(k, 4, 4) to be multiplied from the left, and their sizes (k,)."""
    normal, right, centre, radius = normal_equations(pair, matrices, found, window)
    free = FREE[freedom]
    step = np.zeros_like(right)
    step[:, free] = _damped_minimum_norm(normal[:, free, free], right[:, free])
    size = np.linalg.norm(step, axis=1)
    step *= np.minimum(1, LARGEST_STEP / size.clip(1e-300))[:, None]
    linear = np.exp(step[:, 6])[:, None, None] * _rotations(step[:, :3])
    offset = centre + radius * step[:, 3:6] - (linear @ centre[..., None])[..., 0]
    return similarities(linear, offset), size


def normal_equations(
    pair: Correspondence, matrices: Floats, found: Matches, window: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """Of the least squares for a turn (3), a shift (3) and growth: the matrices (k, 7, 7) and right sides (k, 7),
    with lengths as shares of the radius of gyration, which makes the three comparable. Besides the centre (k, 3)
    of turn and growth, and that radius (k, 1)."""
    forward = moved(pair.predicted, matrices)
    backward = moved(pair.predicted_targets[found.backward_index], matrices)
    points = np.concatenate([forward, backward], 1)
    true = np.broadcast_to(pair.true, backward.shape)
    targets = np.concatenate([pair.true_targets[found.forward_index], true], 1)
    true = np.broadcast_to(pair.true_normals, backward.shape)
    normals = np.concatenate([pair.true_target_normals[found.forward_index], true], 1)

    weights = _weights(found, window)
    centre = np.einsum("km,kmi->ki", weights, points)
    x = points - centre[:, None]
    radius = np.sqrt(np.einsum("km,kmi,kmi->k", weights, x, x)).clip(1e-300)[:, None]
    x /= radius[..., None]
    gap = np.einsum("kmi,kmi->km", targets - points, normals) / radius
    growing = np.einsum("kmi,kmi->km", x, normals)[..., None]
    jacobian = np.concatenate([np.cross(x, normals), normals, growing], -1)
    weighted = (jacobian * weights[..., None]).transpose(0, 2, 1)
    return weighted @ jacobian, (weighted @ gap[..., None])[..., 0], centre, radius


def _weights(found: Matches, window: float) -> Floats:
    """(k, m + n) Tukey's biweight of the distances, with sum 1."""
    distance = np.concatenate([found.forward, found.backward], 1)
    median = np.minimum(np.median(found.forward, 1), np.median(found.backward, 1))
    radius = np.maximum(REACH * median, window)[:, None]
    weights = np.clip(1 - (distance / radius) ** 2, 0, None) ** 2
    return weights / weights.sum(1, keepdims=True)


def _damped_minimum_norm(normal: Floats, right: Floats) -> Floats:
    """Solutions (k, c) of normal (k, c, c) · step = right (k, c), without what the surface doesn't resist."""
    values, vectors = np.linalg.eigh(normal)
    largest = values[:, -1:]
    gain = np.where(values > RESISTANCE * largest, 1 / (values + DAMPING * largest).clip(1e-300), 0)
    return (vectors @ (gain[..., None] * (vectors.transpose(0, 2, 1) @ right[..., None])))[..., 0]


def _rotations(vector: Floats) -> Floats:
    """(k, 3, 3) from rotation vectors (k, 3), by Rodrigues' formula."""
    angle = np.linalg.norm(vector, axis=1)
    x, y, z = (vector / angle.clip(1e-300)[:, None]).T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    sine, versine = np.sin(angle)[:, None, None], (1 - np.cos(angle))[:, None, None]
    return np.eye(3) + sine * cross + versine * (cross @ cross)
