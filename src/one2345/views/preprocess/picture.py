"""Any picture to the input of a view synthesiser: cut out, centred, on white (One-2-3-45, arXiv 2306.16928)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from one2345.errors import InputError

from .framing import bounding_box, outline_warnings, place_in_frame
from .plain_background import cut_plain_background
from .rembg_model import CHOICES, cut_with_rembg, missing_part
from .source import SourcePicture, read_source

Segment = Literal["auto", "none", "rembg"]
UPSCALED = 1.5
UNSURE = 0.6
FINE_EDGE = 1024


@dataclass(frozen=True)
class InputPicture:
    """image: (3, s, s) float32 sRGB in [0, 1] on white. mask: (s, s) float32 alpha. facts: source_size
    (height, width) in px, mode, format, foreground (alpha, uniform background, rembg, none) with its
    confidence where known, box (left, top, right, bottom; px of the source), scale (frame px per source px).
    warnings: sentences. sha256: of the file's bytes, or of mode, size and pixels of a picture in memory. fine: image
    and mask (4, f, f) of the same frame at the source's own resolution, at most FINE_EDGE; None where none is finer."""

    image: torch.Tensor
    mask: torch.Tensor
    facts: Mapping[str, Any]
    warnings: tuple[str, ...]
    sha256: str
    fine: torch.Tensor | None = None


def prepare_picture(
    picture: str | Path | Image.Image | NDArray[Any] | torch.Tensor,
    *,
    segment: Segment = "auto",
    size: int = 256,
    fill: float = 0.75,
    download: bool = False,
) -> InputPicture:
    """Read, cut out and centre: the longer edge of the object's bounding box spans `fill` of the frame.

    A usable alpha is always taken. Else segment=auto cuts a plain background without a model and asks rembg
    about others, segment=rembg always asks rembg, and segment=none takes the whole picture as the object.
    download: whether rembg may fetch its model file.

    Raises InputError naming the picture: unreadable (see `read_source`), an empty foreground, a background
    that can't be cut here (with the choices left), or a bad argument.
    """
    if segment not in get_args(Segment):
        raise InputError(f"segment={segment!r}: known are {', '.join(get_args(Segment))}")
    if size < 8 or not 0.05 <= fill <= 1:
        raise InputError(f"size={size}, fill={fill}: a frame needs at least 8 px, filled from 0.05 to 1")
    source = read_source(picture)
    name = str(picture) if isinstance(picture, str | Path) else "the picture"
    notes = list(source.warnings)
    facts: dict[str, Any] = {"source_size": source.size, **source.facts}
    try:
        colour, alpha = _cut(source, segment, download, facts, notes)
        box = bounding_box(alpha)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    if facts["foreground"] != "none":
        notes += outline_warnings(alpha)
    image, mask = place_in_frame(colour, alpha, box=box, size=size, fill=fill)
    reduction = source.size[1] / alpha.shape[1]
    extent = max(box[2] - box[0], box[3] - box[1]) * reduction
    facts["box"] = tuple(round(x * reduction) for x in box)
    facts["scale"] = fill * size / extent
    if facts["scale"] > UPSCALED:
        notes.append(
            f"the object is only {extent:.0f} px long: enlarged {facts['scale']:.1f}-fold, it will look blurred"
        )
    return InputPicture(
        image=torch.from_numpy(image),
        mask=torch.from_numpy(mask),
        facts=facts,
        warnings=tuple(notes),
        sha256=source.sha256,
        fine=_fine(colour, alpha, box, size, fill),
    )


def _fine(
    colour: NDArray[np.float32],
    alpha: NDArray[np.float32],
    box: tuple[int, int, int, int],
    size: int,
    fill: float,
) -> torch.Tensor | None:
    own = round(max(box[2] - box[0], box[3] - box[1]) / fill)
    if own <= size:
        return None
    image, mask = place_in_frame(colour, alpha, box=box, size=min(own, FINE_EDGE), fill=fill)
    return torch.from_numpy(np.concatenate([image, mask[None]]))


def _cut(
    source: SourcePicture, segment: Segment, download: bool, facts: dict[str, Any], notes: list[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colour (h, w, 3) and alpha (h, w); facts["foreground"] says what cut it."""
    if source.alpha is not None:
        facts["foreground"] = "alpha"
        if segment == "rembg":
            notes.append("the picture has an alpha: it is used, rembg was not asked")
        return source.colour, source.alpha
    if segment == "none":
        facts["foreground"] = "none"
        notes.append("segment=none: the whole picture is taken as the object")
        return source.colour, np.ones(source.colour.shape[:2], np.float32)
    if segment == "auto":
        plain = cut_plain_background(source.colour)
        if plain is not None:
            facts |= {
                "foreground": "uniform background",
                "confidence": round(plain.confidence, 3),
                "background": tuple(round(x, 3) for x in plain.background),
                "holes": round(plain.holes, 4),
                "specks": plain.specks,
            }
            if plain.confidence < UNSURE:
                notes.append(
                    f"the cut from the plain background is unsure (confidence {plain.confidence:.2f}): "
                    "look at the input, or give alpha"
                )
            if plain.enclosed > 0.05:
                notes.append(
                    f"{plain.enclosed:.0%} of the object is as white as the background and enclosed by it: "
                    "taken as part of it (where it is a hole, give alpha)"
                )
            return plain.colour, plain.alpha
        missing = missing_part()
        if missing is not None and not (download and "model file" in missing):
            raise InputError(
                f"the background is not plain, and {missing}, which segment=rembg needs; else {CHOICES}"
            )
    facts["foreground"] = "rembg"
    return source.colour, cut_with_rembg(source.colour, download=download)
