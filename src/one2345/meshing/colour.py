"""Vertex colours from a colour field, in bounded chunks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from one2345.errors import InputError
from one2345.geometry import Mesh

ColourFn = Callable[[Tensor, Tensor], Tensor]
"""sRGB (p, 3) of world points (p, 3) with unit outward normals (p, 3)."""


def colour_vertices(
    mesh: Mesh, colour: ColourFn, *, chunk: int = 16384, device: torch.device | str = "cpu"
) -> Mesh:
    """The mesh with the colour of each vertex, clipped to [0, 1]; at most `chunk` points per call.

    Raises InputError when the colours have a wrong shape or are not finite.
    """
    points = torch.from_numpy(mesh.vertices.astype(np.float32))
    normals = torch.from_numpy(vertex_normals(mesh).astype(np.float32))
    pieces = []
    for start in range(0, len(points), chunk):
        p, n = (x[start : start + chunk].to(device) for x in (points, normals))
        with torch.no_grad():
            rgb = colour(p, n)
        if rgb.shape != p.shape:
            raise InputError(
                f"the colour field returned {tuple(rgb.shape)} for {len(p)} points, expected ({len(p)}, 3)"
            )
        pieces.append(rgb.float().cpu())
    colours = torch.cat(pieces).numpy() if pieces else np.zeros((0, 3), np.float32)
    if not np.isfinite(colours).all():
        bad = int((~np.isfinite(colours).all(1)).sum())
        raise InputError(
            f"the colour field is not finite at {bad} of {len(colours)} vertices; check the weights"
        )
    return replace(mesh, colours=np.clip(colours, 0.0, 1.0))


def vertex_normals(mesh: Mesh) -> NDArray[np.float64]:
    """(n, 3) unit normals: area-weighted mean over the faces of each vertex; zero for unused vertices."""
    cross = mesh.cross_products()
    total = np.stack(
        [
            sum(np.bincount(mesh.faces[:, c], cross[:, axis], len(mesh.vertices)) for c in range(3))
            for axis in range(3)
        ],
        -1,
    )
    return total / np.maximum(np.linalg.norm(total, axis=-1, keepdims=True), 1e-300)
