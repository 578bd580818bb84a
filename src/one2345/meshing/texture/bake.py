"""The picture of a texture: the colour field's colours, and where given pictures see the surface, theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from one2345.geometry import Mesh

from ..colour import ColourFn, field_colours
from .dilate import dilate
from .normals import smooth_normals
from .pictures import Pictures, own_pixels
from .rasterise import rasterise


@dataclass(frozen=True)
class Baked:
    """texture: (s, s, 3) uint8 sRGB. texels: that show the surface. own: share of them that comes from the pictures.
    overlap: see `OwnPixels`."""

    texture: NDArray[np.uint8]
    texels: int
    own: float
    overlap: tuple[float, ...]


def bake(
    mesh: Mesh,
    size: int,
    colour: ColourFn,
    pictures: Sequence[Pictures] = (),
    *,
    chunk: int = 16384,
    device: torch.device | str = "cpu",
) -> Baked:
    """A texture for `mesh`, which has uv. The field is asked at most `chunk` points at a time, and only where the
    pictures don't decide alone. Raises InputError when it returns something else than finite colours."""
    texels = rasterise(mesh, size)
    points = texels.interpolate(mesh, mesh.vertices)
    normals = texels.interpolate(mesh, smooth_normals(mesh))
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    own = own_pixels(points, normals, mesh, pictures)
    colours = own.colours.copy()
    asked = np.flatnonzero(own.share < 1)
    field = field_colours(points[asked], normals[asked], colour, chunk=chunk, device=device)
    share = own.share[asked, None]
    colours[asked] = share * own.colours[asked] + (1 - share) * field
    picture = np.zeros((size, size, 3), np.float32)
    filled = np.zeros((size, size), bool)
    picture[texels.row, texels.column] = colours
    filled[texels.row, texels.column] = True
    picture = dilate(picture, filled)
    return Baked(
        texture=np.rint(picture.clip(0, 1) * 255).astype(np.uint8),
        texels=len(texels),
        own=float(own.share.mean()) if len(texels) else 0.0,
        overlap=own.overlap,
    )
