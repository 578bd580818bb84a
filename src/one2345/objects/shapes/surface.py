"""True distances to the outer surface of a shape, from dense points of its zero set and their tangents.

CSG of exact distances is only a bound. Here the surface is sampled with faces, sharp edges and corners apart:
a face sample has a tangent plane, an edge sample a tangent line, a corner sample nothing. The foot point of a
query moves along the tangents of its nearest samples and back onto the zero set, so that coarse samples give
fine distances.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree
from torch import Tensor

# Bound (n,) and gradient (n, 3) at points (n, 3).
BoundGradient = Callable[[Tensor], tuple[Tensor, Tensor]]

# A distance whose upper and lower bound agree to this (world units) is final.
CERTAIN = 2e-4
# How far from zero (bound) a point may be that counts as on the surface.
ON_SURFACE = 1e-4
# Normals of two neighbouring samples whose cosine is below this enclose an edge.
EDGE_COSINE = 0.94
# Normals of a triangle's samples that span more than this volume enclose a corner.
CORNER_VOLUME = 0.15
FACE_NEIGHBOURS = 3
EDGE_NEIGHBOURS = 4
# Beyond this distance the nearest sample is accurate enough as it stands.
FAR = 0.06


def onto_surface(
    evaluate: BoundGradient, points: Tensor, *, steps: int, limit: float
) -> tuple[Tensor, Tensor]:
    """Newton steps, each at most `limit` long, towards the zero set: points (n, 3), unit gradients (n, 3)."""
    gradient = torch.zeros_like(points)
    for _ in range(steps):
        value, gradient = evaluate(points)
        square = (gradient * gradient).sum(dim=-1).clamp_min(1e-4)
        move = -gradient * (value / square)[:, None]
        size = move.norm(dim=-1, keepdim=True)
        points = points + move * (limit / size.clamp_min(limit))
    return points, torch.nn.functional.normalize(gradient, dim=-1)


@dataclass(frozen=True, eq=False)
class SurfaceIndex:
    """Samples of the outer surface: faces (n, 3) with normals; edges (m, 3) with tangents, 0 at corners."""

    points: Tensor
    normals: Tensor
    edge_points: Tensor
    edge_tangents: Tensor
    spacing: float
    tree: KDTree
    edge_tree: KDTree | None

    def distance(self, evaluate: BoundGradient, points: Tensor, *, trusted: Tensor) -> Tensor:
        """Unsigned distance (n,) of points (n, 3) to the outer surface: to 1e-3 near it, else to a sample.

        trusted: (n,) bool, False where the bound may refer to the wall of a filled cavity instead.
        """
        value, gradient = evaluate(points)
        square = (gradient * gradient).sum(dim=-1).clamp_min(1e-4)
        foot = points - gradient * (value / square)[:, None]
        upper = (foot - points).norm(dim=-1)
        lower = value.abs()
        sound = trusted & (evaluate(foot)[0].abs() < ON_SURFACE) & (upper - lower < CERTAIN)
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
            self._improve(
                best, rows, evaluate, points[rows], self.points[sample], self.normals[sample], False
            )
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
        """Lower best[rows] by a foot point that slides from `start`, along or across `direction`."""
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
    triangles = torch.from_numpy(faces)
    sides = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    sides = sides[sides[:, 0] < sides[:, 1]]
    sides = sides[(normals[sides[:, 0]] * normals[sides[:, 1]]).sum(dim=-1) < EDGE_COSINE]
    steep = triangles[torch.linalg.det(normals[triangles]).abs() > CORNER_VOLUME]
    edges, edge_normals = _meet(evaluate, points[sides], normals[sides], spacing=spacing)
    corners, _ = _meet(evaluate, points[steep], normals[steep], spacing=spacing)
    tangents = torch.nn.functional.normalize(torch.linalg.cross(*edge_normals.unbind(1)), dim=-1)
    sharp, tangents = torch.cat([edges, corners]), torch.cat([tangents, torch.zeros_like(corners)])
    return SurfaceIndex(
        points=points,
        normals=normals,
        edge_points=sharp,
        edge_tangents=tangents,
        spacing=spacing,
        tree=KDTree(points.numpy(), balanced_tree=False, compact_nodes=False),
        edge_tree=KDTree(sharp.numpy()) if len(sharp) >= EDGE_NEIGHBOURS else None,
    )


def _meet(
    evaluate: BoundGradient, points: Tensor, normals: Tensor, *, spacing: float
) -> tuple[Tensor, Tensor]:
    """Where the surfaces next to k = 2 or 3 samples (m, k, 3) meet: points (j, 3), j <= m; normals (j, k, 3).

    Their tangent planes meet next to the samples' middle; samples nearer to that point, moved to the surface,
    give better planes, and so on. What does not end up on the surface near where it began is dropped.
    """
    middle = points.mean(dim=1)
    for shrink in (0.25, 0.25, 0.0):
        rise = ((points - middle[:, None]) * normals).sum(dim=-1)
        gram = normals @ normals.mT + 1e-4 * torch.eye(normals.shape[1])
        meeting = middle + (torch.linalg.solve(gram, rise[..., None]) * normals).sum(dim=1)
        if shrink:
            probes = meeting[:, None] + shrink * (points - meeting[:, None])
            moved, turned = onto_surface(evaluate, probes.reshape(-1, 3), steps=2, limit=spacing)
            points, normals = moved.reshape(points.shape), turned.reshape(points.shape)
    settled, _ = onto_surface(evaluate, meeting, steps=2, limit=spacing)
    near = (settled - middle).norm(dim=-1) < 6.0 * spacing
    sound = near & (evaluate(settled)[0].abs() < ON_SURFACE)
    return settled[sound], normals[sound]
