"""Mesh regularisation: the field's own surface points against the true mesh's vertices, and back."""

from __future__ import annotations

import torch
from torch import Tensor

from .reduce import masked, per_object_mean


def surface_points(points: Tensor, sdf: Tensor, gradient: Tensor, *, min_gradient: float = 0.1) -> Tensor:
    """One Newton step from points (b, p, 3) to the zero set: x - f g / |g|^2.

    Differentiable in sdf (b, p) and gradient (b, p, 3); exact for a plane.
    min_gradient: |g| counts as at least this, which bounds the step where the field is flat.
    """
    squared = gradient.square().sum(-1, keepdim=True).clamp_min(min_gradient**2)
    return points - sdf[..., None] * gradient / squared


@torch.no_grad()
def nearest(
    points: Tensor, targets: Tensor, target_mask: Tensor | None = None, *, chunk: int = 1024
) -> Tensor:
    """Index (b, p) of the target (b, q, 3) nearest to each point (b, p, 3), by plain differences in chunks.

    target_mask: (b, q) targets that may be chosen; without any, the index is 0.
    """
    best = []
    for part in points.split(chunk, 1):
        distance = torch.cdist(part, targets, compute_mode="donot_use_mm_for_euclid_dist")
        if target_mask is not None:
            distance = distance.masked_fill(~target_mask.bool()[:, None], torch.inf)
        best.append(distance.argmin(-1))
    return torch.cat(best, 1)


def mesh_regularisation(
    points: Tensor,
    sdf: Tensor,
    gradient: Tensor,
    vertices: Tensor,
    point_mask: Tensor | None = None,
    vertex_mask: Tensor | None = None,
    *,
    min_gradient: float = 0.1,
    chunk: int = 1024,
) -> Tensor:
    """`vertex_distance` of the field's own surface points.

    points (b, p, 3), with sdf (b, p) and gradient (b, p, 3) there: they should lie near the surface.
    vertices: (b, q, 3) true vertices or surface points.
    point_mask (b, p), vertex_mask (b, q): which of them are real.
    """
    predicted = surface_points(
        points, masked(sdf, point_mask), masked(gradient, point_mask), min_gradient=min_gradient
    )
    return vertex_distance(predicted, vertices, point_mask, vertex_mask, chunk=chunk)


def vertex_distance(
    predicted: Tensor,
    vertices: Tensor,
    predicted_mask: Tensor | None = None,
    vertex_mask: Tensor | None = None,
    *,
    chunk: int = 1024,
) -> Tensor:
    """Squared distance of predicted points (b, p, 3) to the nearest true vertex (b, q, 3), and back; the mean of
    both means.

    predicted_mask (b, p), vertex_mask (b, q): which of them are real.
    The pairing is constant; the gradient flows through the predicted points in both directions.
    """
    predicted, vertices = masked(predicted, predicted_mask), masked(vertices, vertex_mask)
    forth_mask, back_mask = (
        _both(predicted_mask, vertex_mask, predicted),
        _both(vertex_mask, predicted_mask, vertices),
    )
    to_vertex = nearest(predicted.detach(), vertices, vertex_mask, chunk=chunk)
    to_predicted = nearest(vertices, predicted.detach(), predicted_mask, chunk=chunk)
    forth = (predicted - _take(vertices, to_vertex)).square().sum(-1)
    back = (vertices - _take(predicted, to_predicted)).square().sum(-1)
    return 0.5 * (per_object_mean(forth, forth_mask) + per_object_mean(back, back_mask))


def _take(points: Tensor, index: Tensor) -> Tensor:
    return points.gather(1, index[..., None].expand(-1, -1, 3))


def _both(own: Tensor | None, other: Tensor | None, values: Tensor) -> Tensor:
    """Entries (b, n) that are real themselves and have at least one real partner."""
    mask = torch.ones_like(values[..., 0], dtype=torch.bool) if own is None else own.bool()
    return mask if other is None else mask & other.bool().any(1, keepdim=True)
