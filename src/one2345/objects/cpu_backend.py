"""Ray casting (Embree), closest points and winding numbers (libigl) of one mesh on the CPU.

The calls are the same as those of `warp_backend.WarpBackend`: arrays in, arrays out, batched, float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import igl
import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Embree works in float32: the mesh is brought to about this size around the origin for it.
_EMBREE_EDGE = 100.0
# A point is inside where the winding number exceeds this.
INSIDE = 0.5
# Accuracy of the hierarchical winding number: clusters further away than this many radii are approximated.
_WINDING_ACCURACY = 2.0


@dataclass(frozen=True)
class Hits:
    """First hit of each of r rays. face: (r,) int64, -1 for none; weights: (r, 3) barycentric, 0 for none."""

    face: Ints
    weights: Floats


class Backend(Protocol):
    """The queries that a mesh object needs; points (p, 3) and rays (r, 3) float64, unit directions."""

    def cast(self, origins: Floats, directions: Floats) -> Hits: ...

    def closest(self, points: Floats) -> tuple[Floats, Ints, Floats]:
        """Distance (p,), face (p,) and closest point (p, 3)."""
        ...

    def inside(self, points: Floats) -> NDArray[np.bool_]:
        """Whether the generalised winding number exceeds 0.5, (p,)."""
        ...


class CpuBackend:
    """Embree and libigl. Acceleration structures are built on first use and are not pickled."""

    def __init__(self, vertices: Floats, faces: Ints) -> None:
        self.vertices = np.ascontiguousarray(vertices, dtype=np.float64)
        self.faces = np.ascontiguousarray(faces, dtype=np.int64)
        self._built: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"vertices": self.vertices, "faces": self.faces, "_built": {}}

    def cast(self, origins: Floats, directions: Floats) -> Hits:
        """Embree finds the face in float32; where on it the ray lands is then computed in float64."""
        scene, centre, scale = self._scene()
        origins32 = np.ascontiguousarray((origins - centre) * scale, dtype=np.float32)
        face = scene.run(origins32, np.ascontiguousarray(directions, dtype=np.float32)).astype(np.int64)
        weights = np.zeros((len(face), 3))
        hit = face >= 0
        weights[hit] = ray_weights(self.vertices[self.faces[face[hit]]], origins[hit], directions[hit])
        return Hits(face, weights)

    def closest(self, points: Floats) -> tuple[Floats, Ints, Floats]:
        """Distance (p,), face (p,) and closest point (p, 3), in float64."""
        if "tree" not in self._built:
            tree = igl.AABB()
            tree.init(self.vertices, self.faces)
            self._built["tree"] = tree
        found = self._built["tree"].squared_distance(self.vertices, self.faces, _points(points))
        squared, face, closest = (np.asarray(x) for x in found)
        return np.sqrt(squared), face, closest

    def inside(self, points: Floats) -> NDArray[np.bool_]:
        return self.winding(points) > INSIDE

    def winding(self, points: Floats) -> Floats:
        """Generalised winding number (p,), to about 2e-3."""
        if "winding" not in self._built:
            hierarchy = igl.FastWindingNumberBVH()
            hierarchy.init(self.vertices, self.faces, 2)
            self._built["winding"] = hierarchy
        return np.asarray(self._built["winding"].winding_number(_points(points), _WINDING_ACCURACY))

    def _scene(self) -> tuple[EmbreeScene, Floats, float]:
        if "scene" not in self._built:
            used = self.vertices[self.faces.reshape(-1)]
            lower, upper = used.min(0), used.max(0)
            centre, scale = (lower + upper) / 2, _EMBREE_EDGE / float((upper - lower).max())
            scene = EmbreeScene(robust=True)
            TriangleMesh(
                scene=scene,
                vertices=((self.vertices - centre) * scale).astype(np.float32),
                indices=self.faces.astype(np.int32),
            )
            self._built["scene"] = (scene, centre, scale)
        return self._built["scene"]


def ray_weights(corners: Floats, origins: Floats, directions: Floats) -> Floats:
    """Barycentric weights (r, 3) of where rays meet triangles (r, 3, 3), clipped to the triangles."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    across = np.cross(directions, second)
    determinant = np.einsum("ri,ri->r", first, across)
    determinant = np.where(np.abs(determinant) < 1e-300, 1e-300, determinant)
    offset = origins - corners[:, 0]
    u = np.einsum("ri,ri->r", offset, across) / determinant
    v = np.einsum("ri,ri->r", directions, np.cross(offset, first)) / determinant
    weights = np.clip(np.stack([1 - u - v, u, v], -1), 0.0, 1.0)
    return weights / weights.sum(-1, keepdims=True)


def point_weights(corners: Floats, points: Floats) -> Floats:
    """Barycentric weights (p, 3) of points (p, 3) on triangles (p, 3, 3); 1/3 each where there is no area."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    offset = points - corners[:, 0]
    aa, ab, bb = (np.einsum("pi,pi->p", x, y) for x, y in ((first, first), (first, second), (second, second)))
    ao, bo = np.einsum("pi,pi->p", first, offset), np.einsum("pi,pi->p", second, offset)
    determinant = aa * bb - ab * ab
    flat = determinant <= 1e-24 * aa * bb
    safe = np.where(flat, 1.0, determinant)
    u, v = (bb * ao - ab * bo) / safe, (aa * bo - ab * ao) / safe
    weights = np.clip(np.stack([1 - u - v, u, v], -1), 0.0, 1.0)
    weights /= weights.sum(-1, keepdims=True)
    return np.where(flat[:, None], 1 / 3, weights)


def _points(points: Floats) -> Floats:
    return np.ascontiguousarray(points, dtype=np.float64)
