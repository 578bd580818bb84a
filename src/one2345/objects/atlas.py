"""Several textured parts become one mesh with one texture; bilinear REPEAT lookups keep their value."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from one2345.geometry import Mesh
from one2345.objects.quality import MeshWarning

# Largest side of one texture after its repeats have been laid out side by side.
MAX_TILE = 4096


@dataclass(frozen=True)
class Part:
    """A piece of a scene with one material.

    vertices (n, 3) float64; faces (m, 3) int64; uv (n, 2), v up, or None; image (h, w, 3) uint8 sRGB or None;
    colours (n, 3) sRGB in [0, 1] or None; tint (3,) sRGB factor or None for a part without any colour.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    uv: NDArray[np.floating] | None = None
    image: NDArray[np.uint8] | None = None
    colours: NDArray[np.floating] | None = None
    tint: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class _Textured:
    """A part that surely has uv (n, 2) and an image; colours multiply it."""

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    uv: NDArray[np.floating]
    image: NDArray[np.uint8]
    colours: NDArray[np.floating] | None


def join(parts: Sequence[Part]) -> Mesh:
    """One mesh of all parts (at least one), in order.

    Without images the colours are per vertex (None if no part has any). With images there is one texture;
    several are packed. Where vertex colours and a texture occur together, both are kept and the colour of a
    surface point is their product, as in glTF.
    """
    if all(part.image is None for part in parts):
        return _concatenate(parts, _vertex_colours(parts), None, None)
    textured = [_with_image(part) for part in parts]
    texture = textured[0].image
    if any(not np.array_equal(part.image, texture) for part in textured):
        textured, texture = _pack(textured)
    products = None
    if any(part.colours is not None for part in textured):
        products = np.concatenate([_or_white(part) for part in textured])
    return _concatenate(textured, products, np.concatenate([part.uv for part in textured]), texture)


def _concatenate(
    parts: Sequence[Part] | Sequence[_Textured],
    colours: NDArray[np.floating] | None,
    uv: NDArray[np.floating] | None,
    texture: NDArray[np.uint8] | None,
) -> Mesh:
    offsets = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
    return Mesh(
        vertices=np.concatenate([part.vertices for part in parts]),
        faces=np.concatenate([part.faces + offset for part, offset in zip(parts, offsets, strict=True)]),
        colours=colours,
        uv=uv,
        texture=texture,
    )


def _or_white(part: Part | _Textured) -> NDArray[np.floating]:
    return np.ones((len(part.vertices), 3)) if part.colours is None else part.colours


def _vertex_colours(parts: Sequence[Part]) -> NDArray[np.floating] | None:
    if all(part.colours is None and part.tint is None for part in parts):
        return None
    return np.concatenate([_or_white(part) * np.asarray(part.tint or (1.0, 1.0, 1.0)) for part in parts])


def _with_image(part: Part) -> _Textured:
    """The part with an image: one white texel where it had none, the tint multiplied in."""
    count = len(part.vertices)
    tint = np.asarray(part.tint or (1.0, 1.0, 1.0))
    if part.image is None or part.uv is None:
        image = np.full((1, 1, 3), np.rint(tint * 255), dtype=np.uint8)
        return _Textured(part.vertices, part.faces, np.full((count, 2), 0.5), image, part.colours)
    image = part.image if np.all(tint == 1.0) else np.rint(part.image * tint).astype(np.uint8)
    return _Textured(part.vertices, part.faces, part.uv, image, part.colours)


def _pack(parts: Sequence[_Textured]) -> tuple[list[_Textured], NDArray[np.uint8]]:
    """Parts with uv into one atlas, and the atlas (h, w, 3).

    Each part's texture is laid out as often as its coordinates repeat it, with a border of one wrapped texel,
    so that every bilinear lookup inside it reads the same four texels as before.
    """
    tiles: list[NDArray[np.uint8]] = []
    # Each part with its pixel coordinates (x right, y down) in its tile.
    local: list[tuple[_Textured, NDArray[np.float64]]] = []
    for part in parts:
        part = _shifted(part)
        image, repeats = _fitted(part.image, np.maximum(np.ceil(part.uv.max(0) - 1e-6), 1).astype(int))
        height, width = image.shape[:2]
        tiled = np.pad(np.tile(image, (repeats[1], repeats[0], 1)), ((1, 1), (1, 1), (0, 0)), mode="wrap")
        pixels = np.stack([part.uv[:, 0] * width + 1, (repeats[1] - part.uv[:, 1]) * height + 1], -1)
        tiles.append(tiled)
        local.append((part, pixels))
    corners, size = _shelves([tile.shape[:2] for tile in tiles])
    atlas = np.zeros((*size, 3), dtype=np.uint8)
    placed = []
    for tile, (part, pixels), (row, column) in zip(tiles, local, corners, strict=True):
        atlas[row : row + tile.shape[0], column : column + tile.shape[1]] = tile
        x, y = (pixels + np.array([column, row])).T
        placed.append(replace(part, uv=np.stack([x / size[1], 1 - y / size[0]], -1), image=atlas))
    return placed, atlas


def _shifted(part: _Textured) -> _Textured:
    """uv moved by whole repeats to start in [0, 1); face by face, splitting vertices, if it spans several."""
    uv = np.asarray(part.uv, dtype=np.float64)
    used = np.unique(part.faces)
    moved = uv - np.floor(uv[used].min(0))
    moved[np.setdiff1d(np.arange(len(uv)), used)] = 0.0
    if (moved <= 1.0 + 1e-6).all():
        return replace(part, uv=moved)
    corners = part.faces.reshape(-1)
    per_face = uv[part.faces]
    # A face that ends exactly on a whole number must not start a new repeat.
    per_face = per_face - np.floor(per_face.min(1, keepdims=True) + 1e-6)
    return replace(
        part,
        vertices=part.vertices[corners],
        faces=np.arange(len(corners), dtype=np.int64).reshape(-1, 3),
        uv=np.maximum(per_face.reshape(-1, 2), 0.0),
        colours=None if part.colours is None else part.colours[corners],
    )


def _fitted(
    image: NDArray[np.uint8], repeats: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The image small enough for its repeats (x, y) to fit in MAX_TILE."""
    size = np.array([image.shape[1], image.shape[0]])
    if (repeats > MAX_TILE).any():
        warnings.warn(
            f"a texture repeats {repeats.max()} times on one face; cut to {MAX_TILE}",
            MeshWarning,
            stacklevel=2,
        )
        repeats = np.minimum(repeats, MAX_TILE)
    fitting = np.minimum(size, np.maximum(MAX_TILE // repeats, 1))
    if (fitting < size).any():
        warnings.warn(f"a texture that repeats {repeats} times is reduced from {size} to {fitting} texels",
                      MeshWarning, stacklevel=2)  # fmt: skip
        image = np.asarray(
            Image.fromarray(image).resize((int(fitting[0]), int(fitting[1])), Image.Resampling.BOX)
        )
    return image, repeats


def _shelves(sizes: Sequence[tuple[int, int]]) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Corners (row, column) that place rectangles (height, width) without overlap, and the whole size."""
    limit = max(max(w for _, w in sizes), math.isqrt(sum(h * w for h, w in sizes)) + 1)
    corners = [(0, 0)] * len(sizes)
    row = column = shelf = right = 0
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i][0], -sizes[i][1], i)):
        height, width = sizes[index]
        if column + width > limit:
            row, column, shelf = row + shelf, 0, 0
        corners[index] = (row, column)
        column, shelf, right = column + width, max(shelf, height), max(right, column + width)
    return corners, (row + shelf, right)
