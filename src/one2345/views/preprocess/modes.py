"""Every mode of PIL to straight colour and alpha: palettes, CMYK, 1, 16 and 32 bits, colour profiles."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from one2345.errors import InputError

USABLE_ALPHA = 0.5
"""An alpha that never falls below this marks no background, so the picture counts as one without."""

_RESAMPLING = Image.Resampling.LANCZOS
_COLOUR = ("RGB", "CMYK", "YCbCr", "LAB", "HSV")
_DEEP = {"I;16": 65535, "I;16L": 65535, "I;16B": 65535, "I;16N": 65535, "I": 65535, "F": 1}


def colour_and_alpha(
    image: Image.Image, max_edge: int, facts: dict[str, Any], notes: list[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Straight colour (h, w, 3) and alpha (h, w) or None, both float32 in [0, 1], at most `max_edge` long.

    What was done is added to facts and notes. Raises InputError for values out of range and unknown modes.
    """
    if image.mode in _DEEP:
        grey = _reduced(_deep_grey(image, notes), max_edge)
        return np.repeat(_array(grey, 1)[..., None], 3, -1).clip(0, 1), None
    if image.has_transparency_data or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        return _with_alpha(image, max_edge, facts, notes)
    if image.mode in ("1", "L", "P"):
        image = image.convert("RGB")
    if image.mode not in _COLOUR:
        raise InputError(f"pictures of mode {image.mode} are not known; save it as an RGB or RGBA PNG")
    return _array(_srgb(_reduced(image, max_edge), facts, notes), 255), None


def _with_alpha(
    image: Image.Image, max_edge: int, facts: dict[str, Any], notes: list[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    associated = image.mode in ("RGBa", "La")
    profile = image.info.get("icc_profile")
    rgba = image.convert("RGBa" if associated else "RGBA")
    if associated:
        rgba = rgba.convert("RGBA")
    low = rgba.getchannel("A").getextrema()[0]
    assert isinstance(low, int | float)
    if low >= USABLE_ALPHA * 255:
        rgba = rgba.convert("RGB")
    # PIL premultiplies RGBA by itself when it resizes, so transparent pixels don't bleed into the outline.
    rgba = _reduced(rgba, max_edge)
    colour = rgba.convert("RGB")
    colour.info["icc_profile"] = profile
    colour = _srgb(colour, facts, notes)
    if low >= USABLE_ALPHA * 255:
        facts["alpha"] = "opaque"
        if low < 255:
            notes.append(
                f"the alpha never falls below {low / 255:.0%}: it marks no background and is ignored"
            )
        return _array(colour, 255), None
    facts["alpha"] = "used"
    colours, alpha = _array(colour, 255), _array(rgba.getchannel("A"), 255)
    if _looks_premultiplied(colours, alpha):
        facts["alpha"] = "premultiplied"
        notes.append("the colours look multiplied by the alpha already: they were divided by it")
        colours = (colours / np.maximum(alpha, 1 / 255)[..., None]).clip(0, 1)
    return np.ascontiguousarray(colours), np.ascontiguousarray(alpha)


def _looks_premultiplied(colour: NDArray[np.float32], alpha: NDArray[np.float32]) -> bool:
    """Whether no colour exceeds its alpha along the soft outline of an object that is bright enough to tell."""
    soft = (alpha > 0.1) & (alpha < 0.9)
    solid = alpha > 0.99
    if soft.sum() < 32 or not solid.any():
        return False
    bright = float(np.median(colour[solid].max(-1)))
    return bright > 0.25 and bool((colour[soft].max(-1) <= alpha[soft] + 2 / 255).mean() > 0.998)


def _deep_grey(image: Image.Image, notes: list[str]) -> Image.Image:
    values = np.asarray(image, dtype=np.float32)
    top = _DEEP[image.mode]
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)) or low < 0 or high > top:
        raise InputError(
            f"grey values in [{low:g}, {high:g}]: mode {image.mode} is read as 0 to {top}; save it with 8 bits"
        )
    if high < top / 16:
        notes.append(f"the brightest of the grey values 0 to {top} is {high:g}: the picture is nearly black")
    return Image.fromarray(values / np.float32(top))


def _srgb(image: Image.Image, facts: dict[str, Any], notes: list[str]) -> Image.Image:
    """RGB in sRGB: by the embedded colour profile where there is one (cameras' wide gamuts, printers' CMYK)."""
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "CMYK"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            notes.append("the colour profile is unreadable: colours are taken as sRGB")
        else:
            assert converted is not None
            facts["colour_profile"] = (ImageCms.getProfileDescription(source) or "unnamed").strip()
            return converted
    return image.convert("RGB")


def _reduced(image: Image.Image, max_edge: int) -> Image.Image:
    scale = max_edge / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    smaller = image.resize(size, _RESAMPLING, reducing_gap=3.0 if image.mode != "F" else None)
    smaller.info = dict(image.info)
    return smaller


def _array(image: Image.Image, top: int) -> NDArray[np.float32]:
    return np.asarray(image, dtype=np.float32) / np.float32(top)
