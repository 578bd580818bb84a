"""The queries of `cpu_backend.CpuBackend` on CUDA through Warp (the `cuda` extra), imported on demand.

Warp also runs on the CPU (device="cpu"), but serially: there it serves tests, nothing else.
"""

# pyright: reportInvalidTypeForm=false, reportMissingImports=false
# No `from __future__ import annotations` here: Warp reads the annotations of its kernels.
from typing import Any

import numpy as np
import warp as wp

from one2345.errors import InputError
from one2345.objects.cpu_backend import Floats, Hits, Ints, ray_weights

# Beyond every distance that occurs between points and an object of the world's size.
_FAR = 1.0e6


@wp.kernel
def _cast(
    mesh: wp.uint64,
    origins: wp.array(dtype=wp.vec3),
    directions: wp.array(dtype=wp.vec3),
    face: wp.array(dtype=wp.int32),
):
    ray = wp.tid()
    query = wp.mesh_query_ray(mesh, origins[ray], directions[ray], 1.0e6)
    face[ray] = -1
    if query.result:
        face[ray] = query.face


@wp.kernel
def _closest(
    mesh: wp.uint64,
    points: wp.array(dtype=wp.vec3),
    face: wp.array(dtype=wp.int32),
    closest: wp.array(dtype=wp.vec3),
):
    index = wp.tid()
    query = wp.mesh_query_point_no_sign(mesh, points[index], 1.0e6)
    face[index] = -1
    if query.result:
        face[index] = query.face
        closest[index] = wp.mesh_eval_position(mesh, query.face, query.u, query.v)


@wp.kernel
def _inside(mesh: wp.uint64, points: wp.array(dtype=wp.vec3), inside: wp.array(dtype=wp.int32)):
    index = wp.tid()
    query = wp.mesh_query_point_sign_winding_number(mesh, points[index], 1.0e6, 2.0, 0.5)
    inside[index] = 0
    if query.sign < 0.0:
        inside[index] = 1


class WarpBackend:
    """Warp's mesh queries in float32; the same calls and, to rounding, the same answers as `CpuBackend`."""

    def __init__(self, vertices: Floats, faces: Ints, *, device: str = "cuda") -> None:
        wp.config.quiet = True
        wp.init()
        if device.startswith("cuda") and not wp.is_cuda_available():
            raise InputError("backend='warp' needs a CUDA device and none is visible; use backend='cpu'")
        self.vertices, self.faces, self.device = vertices, faces, device
        self._mesh = wp.Mesh(
            points=wp.array(vertices.astype(np.float32), dtype=wp.vec3, device=device),
            indices=wp.array(faces.astype(np.int32).reshape(-1), dtype=wp.int32, device=device),
            support_winding_number=True,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.vertices, self.faces, self.device)

    def cast(self, origins: Floats, directions: Floats) -> Hits:
        """First hits; where on the face the ray lands is computed in float64."""
        found = wp.empty(len(origins), dtype=wp.int32, device=self.device)
        inputs = [self._mesh.id, self._vectors(origins), self._vectors(directions), found]
        wp.launch(_cast, dim=len(origins), inputs=inputs, device=self.device)
        face = found.numpy().astype(np.int64)
        weights = np.zeros((len(face), 3))
        hit = face >= 0
        weights[hit] = ray_weights(self.vertices[self.faces[face[hit]]], origins[hit], directions[hit])
        return Hits(face, weights)

    def closest(self, points: Floats) -> tuple[Floats, Ints, Floats]:
        """Distance (p,), face (p,) and closest point (p, 3)."""
        found = wp.empty(len(points), dtype=wp.int32, device=self.device)
        places = wp.zeros(len(points), dtype=wp.vec3, device=self.device)
        inputs = [self._mesh.id, self._vectors(points), found, places]
        wp.launch(_closest, dim=len(points), inputs=inputs, device=self.device)
        face, closest = found.numpy().astype(np.int64), places.numpy().astype(np.float64)
        if (face < 0).any():
            raise InputError(f"{int((face < 0).sum())} points are not finite or further than {_FAR:g} away")
        return np.linalg.norm(points - closest, axis=-1), face, closest

    def inside(self, points: Floats) -> np.ndarray:
        """(p,) whether the winding number exceeds 0.5."""
        found = wp.empty(len(points), dtype=wp.int32, device=self.device)
        inputs = [self._mesh.id, self._vectors(points), found]
        wp.launch(_inside, dim=len(points), inputs=inputs, device=self.device)
        return found.numpy() > 0

    def _vectors(self, values: Floats) -> wp.array:
        return wp.array(np.ascontiguousarray(values, dtype=np.float32), dtype=wp.vec3, device=self.device)


def _rebuild(vertices: Floats, faces: Ints, device: str) -> WarpBackend:
    return WarpBackend(vertices, faces, device=device)
