"""A sphere as a closed mesh of nearly equal triangles."""

from __future__ import annotations

import numpy as np

from one2345.geometry import Mesh


def icosphere(radius: float, *, subdivisions: int = 4) -> Mesh:
    """20·4^subdivisions triangles with corners at `radius` from the origin, faces outwards."""
    golden = (1 + 5**0.5) / 2
    pairs = [(a, b * golden) for a in (-1.0, 1.0) for b in (-1.0, 1.0)]
    corners = [np.roll([0.0, a, b], shift) for shift in range(3) for a, b in pairs]
    vertices = np.array(corners)
    distance = np.linalg.norm(vertices[:, None] - vertices[None], axis=-1)
    near = np.isclose(distance, 2.0)
    faces = np.array(
        [
            (i, j, k)
            for i in range(12)
            for j in range(i + 1, 12)
            for k in range(j + 1, 12)
            if near[i, j] and near[j, k] and near[k, i]
        ]
    )
    inward = np.linalg.det(vertices[faces]) < 0
    faces[inward] = faces[inward][:, ::-1]
    for _ in range(subdivisions):
        vertices, faces = _divided(vertices, faces)
    return Mesh(radius * vertices / np.linalg.norm(vertices, axis=-1, keepdims=True), faces)


def _divided(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each face into four by the middles of its edges, which neighbours share."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    unique, inverse = np.unique(edges, axis=0, return_inverse=True)
    middle = vertices[unique].mean(1)
    middle /= np.linalg.norm(middle, axis=-1, keepdims=True)
    ab, bc, ca = (len(vertices) + inverse.reshape(-1, 3)).T
    a, b, c = faces.T
    divided = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    scaled = vertices / np.linalg.norm(vertices, axis=-1, keepdims=True)
    return np.concatenate([scaled, middle]), np.concatenate([np.stack(t, -1) for t in divided])
