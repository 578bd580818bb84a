"""FlexiCubes: a surface out of values on a grid, differentiable in the values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from one2345.errors import InputError

from .library import require, status


def flexicubes(values: Tensor) -> tuple[Tensor, Tensor]:
    """Vertices (n, 3) and faces (m, 3) of the zero level of values (x, y, z) at the nodes of a grid.

    Vertices are in units of the nodes' indices (node i lies at i) and differentiable in `values`; faces are
    counter-clockwise seen from the positive side; without a zero crossing both are empty. A surface that
    leaves the grid stays open there, but its vertices are given. Flexible Isosurface Extraction for
    Gradient-Based Mesh Optimization (Shen et al. 2023, arXiv 2308.05371), its weights at their neutral
    values: each cube's vertex is the mean of the crossings on its edges.

    Up to release 0.17 kaolin's FlexiCubes is under NVIDIA's non-commercial licence, from 0.18 on under Apache 2.0.
    Raises InputError where kaolin is not usable or is older than 0.15, which has no FlexiCubes.
    """
    extractor = _extractor()(device=values.device)
    shape = values.shape
    axes = [torch.arange(n, device=values.device) for n in shape]
    nodes = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    # kaolin's own construct_voxel_grid gives the same, at ten times the memory and up to rounding to 1e-5.
    corners = extractor.cube_corners.to(torch.int64)
    first = torch.stack(torch.meshgrid(*(a[:-1] for a in axes), indexing="ij"), -1).reshape(-1, 1, 3)
    stride = torch.tensor([shape[1] * shape[2], shape[2], 1], device=values.device)
    cubes = ((first + corners) * stride).sum(-1)
    vertices, faces, _ = extractor(nodes.float(), values.reshape(-1).float(), cubes, [n - 1 for n in shape])
    return vertices, faces


def _extractor() -> Any:
    """The class, where this release has it."""
    kaolin = require()
    if hasattr(kaolin.ops, "conversions") and hasattr(kaolin.ops.conversions, "FlexiCubes"):
        return kaolin.ops.conversions.FlexiCubes
    try:
        import kaolin.non_commercial as former  # pyright: ignore[reportMissingImports]

        return former.FlexiCubes
    except ImportError as error:
        raise InputError(
            f"kaolin {status().version or ''} has no FlexiCubes, which came with 0.15; install a later one"
        ) from error
