"""True distances to the outer surface of a shape, from dense points of its zero set and their tangents.

CSG of exact distances is only a bound. Here the surface is sampled with faces, sharp edges and corners apart: a face sample
has a tangent plane, an edge sample a tangent line, a corner sample nothing. The foot point of a query moves along
the tangents of its nearest samples and back onto the zero set, so that coarse samples give fine distances.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Tensor = torch.Tensor
# Bound (n,) and gradient (n, 3) at points (n, 3).
BoundGradient = Callable[[Tensor], tuple[Tensor, Tensor]]

# A distance whose upper and lower bound agree to this (world units) is final.
CERTAIN = 2e-4
# How far from zero (bound) a point may be that counts as on the surface.
ON_SURFACE = 1e-4
# Normals of two neighbouring samples whose cosine is below this enclose an edge.
EDGE_COSINE = 0.94
FACE_NEIGHBOURS = 3
EDGE_NEIGHBOURS = 2
# Beyond this distance the nearest sample is accurate enough as it stands.
FAR = 0.06


def onto_surface(evaluate: BoundGradient, points: Tensor, *, steps: int, limit: float) -> tuple[Tensor, Tensor]:
    """Newton steps (each at most `limit` long) towards the zero set: points (n, 3) and unit gradients before the last."""
    gradient = torch.zeros_like(points)
    for _ in range(steps):
        value, gradient = evaluate(points)
        square = (gradient * gradient).sum(dim=-1).clamp_min(1e-4)
        move = -gradient * (value / square)[:, None]
        size = move.norm(dim=-1, keepdim=True)
        points = points + move * (limit / size.clamp_min(limit))
    return points, torch.nn.functional.normalize(gradient, dim=-1)


@dataclass(frozen=True)
class SurfaceIndex:
    """Samples of the outer surface. faces: points, normals (n, 3); edges: points (m, 3) and tangents, zero at corners."""

    points: Tensor
    normals: Tensor
    edge_points: Tensor
    edge_tangents: Tensor
    spacing: float
    tree: cKDTree
    edge_tree: cKDTree | None

    def distance(self, evaluate: BoundGradient, points: Tensor, *, trust_inside: bool) -> Tensor:
        """Unsigned distance (n,) of points (n, 3) to the outer surface: to 1e-3 near it, else to the nearest sample.

        trust_inside: False where the bound inside may refer to the wall of a filled cavity.
        """
        value, gradient = evaluate(points)
        square = (gradient * gradient).sum(dim=-1).clamp_min(1e-4)
        foot = points - gradient * (value / square)[:, None]
        upper = (foot - points).norm(dim=-1)
        lower = value.abs()
        sound = (evaluate(foot)[0].abs() < ON_SURFACE) & (upper - lower < CERTAIN)
        if not trust_inside:
            sound &= value > 0.0
        result = torch.where(sound, upper, torch.full_like(upper, torch.inf))
        open_ = (~sound).nonzero()[:, 0]
        if len(open_):
            result[open_] = self._nearest(evaluate, points[open_], lower[open_])
        return result

    def nearest_point(self, points: Tensor) -> Tensor:
        """The face sample (n, 3) nearest to each of points (n, 3)."""
        _, index = self.tree.query(points.numpy())
        return self.points[torch.from_numpy(np.atleast_1d(index))]

    def _nearest(self, evaluate: BoundGradient, points: Tensor, lower: Tensor) -> Tensor:
        query = points.numpy()
        reach, near = self.tree.query(query, k=FACE_NEIGHBOURS)
        best = torch.from_numpy(np.asarray(reach[:, 0], dtype=np.float32)).clone()
        if self.edge_tree is not None:
            edge_reach, edge_near = self.edge_tree.query(query, k=EDGE_NEIGHBOURS)
            best = torch.minimum(best, torch.from_numpy(edge_reach[:, 0].astype(np.float32)))
        close = best < FAR
        for k in range(FACE_NEIGHBOURS):
            rows = (close & (best - lower > CERTAIN)).nonzero()[:, 0]
            sample = torch.from_numpy(near[rows.numpy(), k])
            self._improve(best, rows, evaluate, points[rows], self.points[sample], self.normals[sample], False)
        if self.edge_tree is not None:
            for k in range(EDGE_NEIGHBOURS):
                limit = torch.from_numpy(edge_reach[:, k].astype(np.float32)) < best + 2.0 * self.spacing
                rows = (close & limit & (best - lower > CERTAIN)).nonzero()[:, 0]
                sample = torch.from_numpy(edge_near[rows.numpy(), k])
                edge, tangent = self.edge_points[sample], self.edge_tangents[sample]
                self._improve(best, rows, evaluate, points[rows], edge, tangent, True)
        return best

    def _improve(
        self,
        best: Tensor,
        rows: Tensor,
        evaluate: BoundGradient,
        points: Tensor,
        start: Tensor,
        direction: Tensor,
        along: bool,
    ) -> None:
        """Lower best[rows] by a foot point that slides from `start` along (edges) or across (faces) `direction`."""
        if not len(rows):
            return
        limit = 2.0 * self.spacing
        foot = start
        for _ in range(1 if along else 2):
            offset = points - foot
            part = direction * (offset * direction).sum(dim=-1, keepdim=True)
            move = part if along else offset - part
            foot = foot + move * (limit / move.norm(dim=-1, keepdim=True).clamp_min(limit))
            foot, direction_new = onto_surface(evaluate, foot, steps=2, limit=limit)
            direction = direction if along else direction_new
        moved = (foot - start).norm(dim=-1)
        sound = (evaluate(foot)[0].abs() < ON_SURFACE) & (moved < 3.0 * limit)
        distance = (foot - points).norm(dim=-1)
        best[rows] = torch.where(sound, torch.minimum(best[rows], distance), best[rows])


def build_index(
    evaluate: BoundGradient, vertices: NDArray[np.float64], faces: NDArray[np.int64], *, spacing: float
) -> SurfaceIndex:
    """Index from a marching-cubes mesh of the outer surface whose cells have edge `spacing`."""
    points, normals = onto_surface(evaluate, torch.from_numpy(vertices).float(), steps=2, limit=spacing)
    corner_ids = torch.from_numpy(faces)
    sides = torch.cat([corner_ids[:, [0, 1]], corner_ids[:, [1, 2]], corner_ids[:, [2, 0]]])
    sides = sides[sides[:, 0] < sides[:, 1]]
    cosine = (normals[sides[:, 0]] * normals[sides[:, 1]]).sum(dim=-1)
    sides = sides[cosine < EDGE_COSINE]
    edges, tangents = _edges(points[sides], normals[sides])
    corners = _corners(points[corner_ids], normals[corner_ids])
    edges = torch.cat([edges, corners])
    tangents = torch.cat([tangents, torch.zeros_like(corners)])
    middle = torch.cat([points[sides].mean(dim=1), corners])
    settled, _ = onto_surface(evaluate, edges, steps=2, limit=spacing)
    sound = (evaluate(settled)[0].abs() < ON_SURFACE) & ((settled - middle).norm(dim=-1) < 3.0 * spacing)
    edges, tangents = settled[sound], tangents[sound]
    return SurfaceIndex(
        points=points,
        normals=normals,
        edge_points=edges,
        edge_tangents=tangents,
        spacing=spacing,
        tree=cKDTree(points.numpy(), balanced_tree=False, compact_nodes=False),
        edge_tree=cKDTree(edges.numpy()) if len(edges) >= EDGE_NEIGHBOURS else None,
    )


def _edges(points: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
    """Points on the lines where the tangent planes of pairs (m, 2, 3) meet, next to the pairs' middles; directions."""
    a, b = normals.unbind(1)
    middle = points.mean(dim=1)
    cosine = (a * b).sum(dim=-1)
    rise = ((points - middle[:, None]) * normals).sum(dim=-1)
    scale = 1.0 / (1.0 - cosine * cosine).clamp_min(1e-3)
    along_a = (rise[:, 0] - cosine * rise[:, 1]) * scale
    along_b = (rise[:, 1] - cosine * rise[:, 0]) * scale
    tangent = torch.nn.functional.normalize(torch.linalg.cross(a, b), dim=-1)
    return middle + along_a[:, None] * a + along_b[:, None] * b, tangent


def _corners(points: Tensor, normals: Tensor) -> Tensor:
    """Points where the tangent planes of triples (m, 3, 3) meet, for the triples that are far from coplanar."""
    steep = torch.linalg.det(normals).abs() > 0.15
    points, normals = points[steep], normals[steep]
    rise = (points * normals).sum(dim=-1)
    return torch.linalg.solve(normals, rise[..., None])[..., 0] if len(points) else points.reshape(0, 3)
