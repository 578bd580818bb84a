"""How large a texture may be, asked of its header before anything is decoded."""

from __future__ import annotations

import io
import warnings

from PIL import Image, UnidentifiedImageError

from one2345.errors import InputError

# 8192 x 8192, or 16384 x 4096: 200 MB as RGB.
MOST_PIXELS = 1 << 26
LONGEST_EDGE = 1 << 14
# Others that Pillow knows are no textures; one of them (EPS) would have a PostScript interpreter run.
TYPES = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "TGA", "TIFF", "GIF", "DDS", "PPM")


def check_image(data: bytes, name: str) -> None:
    """Refuse (InputError) an image that is too large, or of a type that is no texture.

    What no decoder recognises passes: it is a missing texture, of which the loader warns.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                (width, height), kind = image.size, image.format
    except Image.DecompressionBombError as error:
        raise InputError(f"image {name}: {error}; at most {_limit()} are read") from error
    except UnidentifiedImageError:
        return
    except (OSError, ValueError, SyntaxError, EOFError, TypeError):
        return
    if max(width, height) > LONGEST_EDGE or width * height > MOST_PIXELS:
        raise InputError(f"image {name} has {width} x {height} pixels; at most {_limit()} are read")
    if kind not in TYPES:
        raise InputError(f"image {name} is of type {kind}; textures are {', '.join(TYPES)}")


def _limit() -> str:
    return f"{LONGEST_EDGE} on an edge and {MOST_PIXELS} altogether"
