"""The picture of a texture: the colour field's colours, and where given pictures see the surface, theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from one2345.geometry import Mesh
from one2345.objects.texture import sample_texture

from ..colour import ColourFn, field_colours
from .dilate import dilate
from .normals import smooth_normals
from .pictures import Pictures, own_pixels
from .rasterise import Texels, rasterise

NEAR = 2
"""Texels around a lookup that hold colours: its four neighbours, and what those are filled from beyond a chart."""


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
            uv = np.stack([texels.column + 0.5, size - texels.row - 0.5], -1)[asked] / size
            # A lookup repeats the texture; what lies at its other end is another chart.
            uv = uv.clip(0.5 / field_size, 1 - 0.5 / field_size)
            small = _field_texture(mesh, field_size, uv, colour, chunk=chunk, device=device)
            field = sample_texture(small, uv)
        else:
            field = field_colours(points[asked], normals[asked], colour, chunk=chunk, device=device)
        share = own.share[asked, None]
        colours[asked] = share * own.colours[asked] + (1 - share) * field
    return Baked(
        texture=_picture(texels, colours),
        texels=len(texels),
        own=float(own.share.mean()) if len(texels) else 0.0,
        overlap=own.overlap,
    )


def _field_texture(
    mesh: Mesh,
    size: int,
    uv: NDArray[np.floating],
    colour: ColourFn,
    *,
    chunk: int,
    device: torch.device | str,
) -> NDArray[np.uint8]:
    """The field's colours in a texture that holds where it is looked up at uv (p, 2); elsewhere it is not asked."""
    texels = rasterise(mesh, size)
    wanted = np.zeros((size, size), bool)
    column, row = np.clip(np.floor([uv[:, 0] * size, (1 - uv[:, 1]) * size]).astype(int), 0, size - 1)
    wanted[row, column] = True
    wanted = ndimage.binary_dilation(wanted, np.ones((3, 3), bool), iterations=NEAR)
    texels = texels.part(np.flatnonzero(wanted[texels.row, texels.column]))
    points, normals = _surface(mesh, texels)
    return _picture(texels, field_colours(points, normals, colour, chunk=chunk, device=device))


def _picture(texels: Texels, colours: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The texture (s, s, 3) with colours (t, 3) at texels, and around them what is nearest."""
    picture = np.zeros((texels.size, texels.size, 3), np.float32)
    filled = np.zeros((texels.size, texels.size), bool)
    picture[texels.row, texels.column] = colours
    filled[texels.row, texels.column] = True
    return np.rint(dilate(picture, filled).clip(0, 1) * 255).astype(np.uint8)


def _surface(mesh: Mesh, texels: Texels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (t, 3) and unit normals (t, 3) of the surface at texels."""
    normals = texels.interpolate(mesh, smooth_normals(mesh))
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    return texels.interpolate(mesh, mesh.vertices), normals
