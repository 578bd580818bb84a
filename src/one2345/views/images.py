"""PNG files of the views format: RGBA colour, 16-bit depth, 8-bit normals. Same pixels, same bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from one2345.errors import InputError

DEPTH_SCALE = 20000.0
"""Stored depth = round(z * DEPTH_SCALE) as uint16; 0 means that there is nothing."""

MAX_DEPTH = 65535 / DEPTH_SCALE

_COMPRESSION = 6
_MODES = {"RGBA": "RGBA", "I;16": "16-bit grey", "RGB": "RGB"}


def straight_rgba(images: Tensor, masks: Tensor) -> NDArray[np.uint8]:
    """White-composited images (v, 3, h, w) and alpha (v, h, w) in [0, 1] to straight-alpha RGBA (v, h, w, 4).

    Colour is divided by the alpha *as stored*, so that compositing gives the image back to half a grey
    level; a pixel without alpha is stored white.
    """
    alpha = (masks.clamp(0, 1) * 255).round()
    a = (alpha / 255)[:, None]
    colour = ((images - (1 - a)) / a.clamp_min(1 / 255)).clamp(0, 1)
    colour = torch.where(a > 0, (colour * 255).round(), torch.full_like(colour, 255))
    return torch.cat([colour, alpha[:, None]], 1).permute(0, 2, 3, 1).to(torch.uint8).contiguous().numpy()


def composite(rgba: Tensor) -> tuple[Tensor, Tensor]:
    """Straight-alpha RGBA (..., h, w, 4) uint8 to images on white (..., 3, h, w) and alpha (..., h, w)."""
    values = rgba.movedim(-1, -3).to(torch.float32) / 255
    alpha = values[..., 3:, :, :]
    return values[..., :3, :, :] * alpha + (1 - alpha), alpha[..., 0, :, :]


def encode_depth(depth: Tensor) -> NDArray[np.uint16]:
    """z-depth (..., h, w) in world units to uint16. Raises InputError where a depth doesn't fit."""
    stored = (depth.double() * DEPTH_SCALE).round()
    if not stored.isfinite().all() or float(stored.min()) < 0 or float(stored.max()) > 65535:
        raise InputError(
            f"depth lies in [{float(depth.min()):g}, {float(depth.max()):g}], the format holds finite values "
            f"in [0, {MAX_DEPTH:g}] world units"
        )
    return stored.numpy().astype(np.uint16)


def decode_depth(stored: NDArray[np.uint16]) -> Tensor:
    """uint16 (..., h, w) to z-depth float32 in world units."""
    return torch.from_numpy(stored.astype(np.float32)) / DEPTH_SCALE


def encode_normals(normals: Tensor) -> NDArray[np.uint8]:
    """World normals (v, 3, h, w) to RGB (v, h, w, 3): round((n + 1) / 2 * 255); none is 128, 128, 128."""
    return ((normals.movedim(1, -1) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()


def decode_normals(stored: NDArray[np.uint8]) -> Tensor:
    """Inverse of `encode_normals`, renormalised; shorter than one half means no normal."""
    normals = torch.from_numpy(stored.astype(np.float32)).movedim(-1, 1) / 127.5 - 1
    length = normals.norm(dim=1, keepdim=True)
    return torch.where(length > 0.5, normals / length.clamp_min(1e-6), torch.zeros_like(normals))


def write_png(path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Write (h, w, 4) or (h, w, 3) uint8, or (h, w) uint16, with fixed encoder settings and no metadata."""
    path.write_bytes(encode_png(pixels))


def encode_png(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """The bytes of `write_png`."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=_COMPRESSION)
    return buffer.getvalue()


def read_picture(path: Path, *, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """RGBA (h, w, 4) of a PNG of any mode; without alpha of its own it is opaque.

    Raises InputError naming the file when it is missing, damaged, or not of `size` (h, w).
    """
    try:
        with Image.open(path, formats=["PNG"]) as image:
            pixels = np.array(image.convert("RGBA"))
    except FileNotFoundError:
        raise InputError(f"{path}: the picture is missing") from None
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a readable PNG (truncated or damaged): {error}") from error
    if size is not None and pixels.shape[:2] != tuple(size):
        found = pixels.shape
        raise InputError(f"{path}: is {found[1]}x{found[0]} px, expected {size[1]}x{size[0]}")
    return pixels


def on_white_mask(rgba: NDArray[np.uint8], *, white: int = 250) -> NDArray[np.uint8]:
    """`rgba` (h, w, 4); where it is opaque everywhere, as on a white background: the alpha is 255 where a channel
    lies below `white`, else 0."""
    if (rgba[..., 3] < 255).any():
        return rgba
    alpha = (rgba[..., :3].min(-1) < white).astype(np.uint8) * 255
    return np.concatenate([rgba[..., :3], alpha[..., None]], -1)


def encode_webp(rgba: NDArray[np.uint8]) -> bytes:
    """Lossless WebP of (h, w, 4) uint8: the same pixels, under alpha 0 too. `read_png` reads it."""
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, format="WEBP", lossless=True, exact=True, quality=50, method=2)
    return buffer.getvalue()


def read_png(
    path: Path, *, mode: str, size: tuple[int, int], data: bytes | memoryview | None = None
) -> NDArray[Any]:
    """uint8 or uint16 pixels of a PNG that must have `mode` ('RGBA', 'I;16', 'RGB') and `size` (h, w).

    data: the file's content, where it is packed with others; `path` then only names it, and RGBA may be lossless WebP.
    Raises InputError naming the file when it is missing, damaged, truncated, or of another mode or size.
    """
    packed = data is not None and mode == "RGBA"
    try:
        with Image.open(
            path if data is None else io.BytesIO(data), formats=["PNG", "WEBP"] if packed else ["PNG"]
        ) as image:
            image.load()
            if image.format == "WEBP":
                image = image.convert("RGBA")  # opaque pictures come without alpha
            found_mode, found_size = image.mode, (image.height, image.width)
            pixels = np.array(image)
    except FileNotFoundError:
        raise InputError(f"{path}: the file is missing, but object.json lists it") from None
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a readable PNG (truncated or damaged): {error}") from error
    if found_mode != mode:
        raise InputError(f"{path}: expected a {_MODES[mode]} PNG, found mode {found_mode}")
    if found_size != tuple(size):
        raise InputError(
            f"{path}: is {found_size[1]}x{found_size[0]} px, but object.json says {size[1]}x{size[0]}"
        )
    return pixels
