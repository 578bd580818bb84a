"""The picture of a texture: the colour field's colours, and where given pictures see the surface, theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from one2345.geometry import Mesh
from one2345.objects.texture import sample_texture

from ..colour import ColourFn, field_colours
from .dilate import dilate
from .normals import smooth_normals
from .pictures import Pictures, own_pixels
from .rasterise import Texels, rasterise


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
    field_size: int | None = None,
    chunk: int = 16384,
    device: torch.device | str = "cpu",
) -> Baked:
    """A texture for `mesh`, which has uv. The field is asked at most `chunk` points at a time, and where the pictures
    decide alone, not at all. field_size: edge of a smaller texture of the field's colours, which is enlarged: a field
    knows no more detail than its network saw, and asking is what takes the time.

    Raises InputError when the field returns something else than finite colours.
    """
    texels = rasterise(mesh, size)
    points, normals = _surface(mesh, texels)
    own = own_pixels(points, normals, mesh, pictures)
    colours = own.colours.copy()
    asked = np.flatnonzero(own.share < 1)
    if len(asked):
        if field_size is not None and field_size < size:
            small = bake(mesh, field_size, colour, chunk=chunk, device=device).texture
            uv = np.stack([texels.column + 0.5, size - texels.row - 0.5], -1)[asked] / size
            field = sample_texture(small, uv)
        else:
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


def _surface(mesh: Mesh, texels: Texels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (t, 3) and unit normals (t, 3) of the surface at texels."""
    normals = texels.interpolate(mesh, smooth_normals(mesh))
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    return texels.interpolate(mesh, mesh.vertices), normals
