"""Closed meshes with known answers."""

import numpy as np

from one2345.evaluation.icosphere import icosphere
from one2345.geometry import Mesh


def sphere(radius, centre=(0.0, 0, 0), subdivisions=5):
    mesh = icosphere(radius, subdivisions=subdivisions)
    return Mesh(mesh.vertices + np.asarray(centre), mesh.faces)


def box(half, centre=(0.0, 0, 0)):
    """Axis-aligned, half edges (3,), two triangles a side."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half + centre
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    return Mesh(corners, np.array([[q[0], q[i], q[i + 1]] for q in quads for i in (1, 2)]))


def join(*meshes):
    start = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.faces + s for m, s in zip(meshes, start)]),
    )


def chair():
    """No symmetry: seat, back, four legs of different thickness, an arm rest on one side."""
    parts = [
        box([0.25, 0.25, 0.03]), box([0.25, 0.03, 0.3], (0, 0.22, 0.3)), box([0.03, 0.2, 0.1], (0.22, 0, 0.13)),
        box([0.03, 0.03, 0.2], (-0.2, -0.2, -0.2)), box([0.04, 0.04, 0.2], (0.2, -0.2, -0.2)),
        box([0.025, 0.05, 0.2], (-0.2, 0.2, -0.2)), box([0.05, 0.025, 0.2], (0.2, 0.2, -0.2)),
    ]  # fmt: skip
    return join(*parts)


def affine(scale=1.0, yaw=0.0, shift=(0.0, 0, 0)):
    """(4, 4) similarity: yaw in degrees about +z, then scale, then shift."""
    a = np.deg2rad(yaw)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    matrix[:3, :3] *= scale
    matrix[:3, 3] = shift
    return matrix
