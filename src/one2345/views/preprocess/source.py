"""Pictures of any kind as straight colour and alpha in [0, 1]: files that PIL opens, PIL images, arrays, tensors."""

from __future__ import annotations

import hashlib
import io
import warnings as python_warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from one2345.errors import InputError

from .modes import colour_and_alpha

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
"""What is opened; PIL is given this list, so that none of its rarer parsers ever sees a user's file."""

MAX_PIXELS = 100_000_000
"""Most pixels that are decoded: some 1.3 GB while a picture of this size and four channels is read."""

WORKING_EDGE = 2048
"""Longest edge that is kept: eight times the frame, so that a small object in a large photo stays sharp."""


@dataclass(frozen=True)
class SourcePicture:
    """colour: (h, w, 3) float32 straight sRGB in [0, 1]. alpha: (h, w) float32 in [0, 1], or None where the
    picture has none (or one that is opaque everywhere). size: (height, width) of the source in pixels, before
    the reduction to the working size. facts: mode, format and what was done. sha256: of the file's bytes."""

    colour: NDArray[np.float32]
    alpha: NDArray[np.float32] | None
    size: tuple[int, int]
    sha256: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def read_source(
    picture: str | Path | Image.Image | NDArray[Any] | torch.Tensor,
    *,
    max_edge: int = WORKING_EDGE,
    orient: bool = True,
) -> SourcePicture:
    """A file, PIL image, array (h, w[, c]) or tensor (c, h, w) as a SourcePicture, at most `max_edge` px long.

    Arrays hold uint8, uint16 or floats in [0, 1], with 1 to 4 channels. orient: turn by the EXIF orientation
    (photographs whose cameras were calibrated on the stored pixels must not be turned).

    Raises InputError naming the file: missing, no picture of a known format, damaged, too large, or values
    that are out of range or not finite.
    """
    if isinstance(picture, Image.Image):
        return _from_image(picture, "the picture", _hash(picture), max_edge, orient)
    if isinstance(picture, str | Path):
        return _from_file(Path(picture), max_edge, orient)
    image = _image_of_array(picture)
    return _from_image(image, "the array", _hash(image), max_edge, orient)


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture file as stored, from its header. Raises InputError as `read_source` does."""
    try:
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                return image.height, image.width
    except FileNotFoundError:
        raise InputError(f"{path}: the picture does not exist") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a readable picture: {error}") from None


def _from_file(path: Path, max_edge: int, orient: bool) -> SourcePicture:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: the picture does not exist") from None
    except OSError as error:
        raise InputError(f"{path}: the picture can't be read: {error.strerror}") from None
    try:
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `_check_size` follows
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise InputError(f"{path}: {_TOO_LARGE}") from None
    except UnidentifiedImageError:
        raise InputError(f"{path}: not a picture of a known format ({', '.join(FORMATS)})") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: the picture is damaged: {error}") from None
    with image:
        return _from_image(image, str(path), hashlib.sha256(data).hexdigest(), max_edge, orient)


_TOO_LARGE = f"the picture has more than {MAX_PIXELS / 1e6:.0f} million pixels; make it smaller first"


def _from_image(image: Image.Image, name: str, sha256: str, max_edge: int, orient: bool) -> SourcePicture:
    notes: list[str] = []
    width, height = image.size
    facts: dict[str, Any] = {"mode": image.mode, "format": image.format or "in memory"}
    if min(width, height) < 1:
        raise InputError(f"{name}: the picture is empty ({width}x{height} px)")
    image.draft(image.mode, (max_edge, max_edge))  # a JPEG is decoded at a half, a quarter or an eighth
    if image.width * image.height > MAX_PIXELS:
        raise InputError(f"{name}: {width}x{height} px: {_TOO_LARGE}")
    if getattr(image, "is_animated", False):
        notes.append("the file holds several pictures; the first one is used")
    try:
        image.load()
        turned = _turned(image, facts, notes) if orient else image
        colour, alpha = colour_and_alpha(turned, max_edge, facts, notes)
    except (OSError, SyntaxError, ValueError, MemoryError) as error:
        raise InputError(f"{name}: the picture is truncated or damaged: {error}") from None
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    if facts.get("exif_orientation", 1) >= 5:
        width, height = height, width
    return SourcePicture(
        colour=colour, alpha=alpha, size=(height, width), sha256=sha256, facts=facts, warnings=tuple(notes)
    )


def _turned(image: Image.Image, facts: dict[str, Any], notes: list[str]) -> Image.Image:
    try:
        orientation = image.getexif().get(0x0112, 1)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, AttributeError):
        orientation = None
    if not isinstance(orientation, int) or orientation not in range(1, 9):
        notes.append("the EXIF orientation is unreadable: the picture is taken as it is stored")
        return image
    if orientation == 1:
        return image
    facts["exif_orientation"] = orientation
    turned = image.transpose(_TURNS[orientation])
    turned.info = {k: v for k, v in image.info.items() if k != "exif"}
    return turned


# What undoes each EXIF orientation (TIFF 6.0 tag 274), as PIL names it.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _image_of_array(array: NDArray[Any] | torch.Tensor) -> Image.Image:
    """A PIL image that holds what an array does: 8 bits per channel, or 16 and floats of one channel."""
    if isinstance(array, torch.Tensor):
        array = (array.movedim(0, -1) if array.ndim == 3 else array).detach().cpu().numpy()
    values = np.asarray(array)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if (
        values.ndim not in (2, 3)
        or (values.ndim == 3 and values.shape[2] not in (2, 3, 4))
        or not values.size
    ):
        raise InputError(
            f"the array has shape {values.shape}; give (h, w), (h, w, 1 to 4), or a tensor (1 to 4, h, w)"
        )
    if values.shape[0] * values.shape[1] > MAX_PIXELS:
        raise InputError(_TOO_LARGE)
    if values.dtype == np.uint16:
        values = values / np.float32(65535)
    if np.issubdtype(values.dtype, np.floating):
        if not np.isfinite(values).all() or values.min() < -1e-4 or values.max() > 1 + 1e-4:
            raise InputError(
                f"the array holds floats in [{values.min():g}, {values.max():g}]; they must lie in [0, 1]"
            )
        if values.ndim == 2:
            return Image.fromarray(values.astype(np.float32))
        values = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * 255
    if values.dtype != np.uint8:
        raise InputError(f"the array holds {values.dtype}; give uint8, uint16 or floats in [0, 1]")
    return Image.fromarray(np.ascontiguousarray(values))


def _hash(image: Image.Image) -> str:
    """Of mode, size and pixels: what stands for the file's bytes of a picture in memory."""
    return hashlib.sha256(f"{image.mode} {image.size}".encode() + image.tobytes()).hexdigest()
