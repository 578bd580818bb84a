"""Colours of vertices and other points from a colour field, in bounded chunks."""

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
    """The mesh with the colour of each vertex, see `field_colours`."""
    return replace(
        mesh, colours=field_colours(mesh.vertices, vertex_normals(mesh), colour, chunk=chunk, device=device)
    )


def field_colours(
    points: NDArray[np.float64],
    normals: NDArray[np.float64],
    colour: ColourFn,
    *,
    chunk: int = 16384,
    device: torch.device | str = "cpu",
) -> NDArray[np.float32]:
    """Colours (p, 3), clipped to [0, 1], of points (p, 3) with normals (p, 3); at most `chunk` points per call.

    Raises InputError when the colours have a wrong shape or are not finite.
    """
    where, facing = (torch.from_numpy(x.astype(np.float32)) for x in (points, normals))
    pieces = []
    for start in range(0, len(where), chunk):
        p, n = (x[start : start + chunk].to(device) for x in (where, facing))
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
            f"the colour field is not finite at {bad} of {len(colours)} points; check the weights"
        )
    return np.clip(colours, 0.0, 1.0)


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
