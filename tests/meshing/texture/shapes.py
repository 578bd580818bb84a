"""Meshes with a closed form, and colours that any point of space has."""

import numpy as np
import trimesh
from torch import Tensor

from one2345.geometry import Mesh


def sphere(radius: float = 0.4, steps: int = 3) -> Mesh:
    """An icosphere of 20 * 4^steps faces."""
    made = trimesh.creation.icosphere(subdivisions=steps, radius=radius)
    return Mesh(made.vertices, made.faces)


def box(edge: float = 0.6, cells: int = 1) -> Mesh:
    """A cube of 12 * cells^2 faces, its vertices shared."""
    u = np.linspace(-edge / 2, edge / 2, cells + 1)
    grid = np.arange(cells + 1)
    i, j = (x.reshape(-1) for x in np.meshgrid(grid[:-1], grid[:-1], indexing="ij"))
    n = cells + 1
    quad = np.stack([i * n + j, (i + 1) * n + j, (i + 1) * n + j + 1, i * n + j + 1], -1)
    flat = np.concatenate([quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]])
    a, b = (x.reshape(-1) for x in np.meshgrid(u, u, indexing="ij"))
    vertices, faces = [], []
    for axis in range(3):
        for side in (-1, 1):
            points = np.empty((n * n, 3))
            points[:, axis] = side * edge / 2
            points[:, (axis + 1) % 3], points[:, (axis + 2) % 3] = a, b
            faces.append((flat if side > 0 else flat[:, ::-1]) + n * n * len(vertices))
            vertices.append(points)
    points, faces = np.concatenate(vertices), np.concatenate(faces)
    unique, inverse = np.unique(points.round(9), axis=0, return_inverse=True)
    return Mesh(unique, inverse.reshape(-1)[faces])


def stripes(points: Tensor, normals: Tensor) -> Tensor:
    """A smooth colour (p, 3) of world points: 0.75 waves to a tenth of a unit, no two axes alike."""
    import torch

    return 0.5 + 0.4 * torch.sin(points * torch.tensor([47.0, 31.0, 23.0]) + torch.tensor([0.0, 1.0, 2.0]))
