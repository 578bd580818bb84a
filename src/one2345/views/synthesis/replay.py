"""Views that were made before: by another program, or by an earlier run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from one2345.errors import InputError
from one2345.views.images import composite
from one2345.views.reader import only_object

from .base import Report, Synthesised, ViewRequest


class Replay:
    """The pictures of a folder, by the names of the views.

    root: a folder of the views format with one object (or that object's own folder), as every run writes it, or a
    plain folder of <view name>.png, RGBA or on white. elevation: of the input camera in degrees, for a plain
    folder whose pictures have a known one. white: grey level from which the background of a picture without alpha
    counts as such.

    Raises InputError naming what is missing.
    """

    def __init__(self, *, root: str | Path | None, elevation: float | None = None, white: int = 250) -> None:
        if root is None:
            raise InputError(
                "views=replay needs the folder of the pictures: views.root=DIR (RUN/views of a run)"
            )
        self.root = Path(root).expanduser()
        self.white = white
        if not self.root.is_dir():
            raise InputError(f"views.root={root}: no such folder")
        self.record = only_object(self.root)
        stored = None if self.record is None else self.record.provenance.get("elevation")
        known = stored if elevation is None or isinstance(elevation, str) else elevation
        self.elevation = float(known) if isinstance(known, int | float) else None
        self.size = self._first_size()
        self.consistent = self.record is not None and self.record.provenance.get("consistent") is True

    def picture(self) -> Synthesised | None:
        """The first view of the record, which shows the object from the input camera; None for a plain folder."""
        if self.record is None:
            return None
        views = self.record.views([self.record.names[0]])
        return Synthesised(views.images, views.masks)

    def describe(self) -> Mapping[str, Any]:
        digest = hashlib.sha256()
        for file in sorted(self._folder().glob("*.png")):
            digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
        return {"kind": "replay", "pictures": digest.hexdigest(), "elevation": self.elevation}

    def __call__(
        self, requests: Sequence[ViewRequest], pictures: Tensor, *, seed: int, report: Report | None = None
    ) -> Synthesised:
        read = [self._read(request.name) for request in requests]
        if report is not None:
            report(len(requests))
        return Synthesised(*(torch.stack(x) for x in zip(*read, strict=True)))

    def _folder(self) -> Path:
        return self.root if self.record is None else self.record.folder / "images"

    def _first_size(self) -> int:
        first = next(iter(sorted(self._folder().glob("*.png"))), None)
        if first is None:
            raise InputError(f"{self.root}: holds no pictures (<view name>.png, or the views format)")
        return int(self._pixels(first).shape[0])

    def _read(self, name: str) -> tuple[Tensor, Tensor]:
        if self.record is not None:
            views = self.record.views([name])
            return views.images[0], views.masks[0]
        file = self.root / f"{name}.png"
        pixels = self._pixels(file)
        if pixels.shape[:2] != (self.size, self.size):
            raise InputError(
                f"{file}: is {pixels.shape[1]}x{pixels.shape[0]} px, the first picture is {self.size} px square"
            )
        image, mask = composite(torch.from_numpy(pixels))
        if (pixels[..., 3] == 255).all():
            mask = (image.amin(0) < self.white / 255).float()
        return image, mask

    def _pixels(self, file: Path) -> np.ndarray:
        try:
            with Image.open(file, formats=["PNG"]) as image:
                pixels = np.array(image.convert("RGBA"))
        except FileNotFoundError:
            raise InputError(
                f"{file}: the view is missing; the plan needs it (plan=ring8 needs fewer)"
            ) from None
        except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
            raise InputError(f"{file}: not a readable PNG (truncated or damaged): {error}") from error
        if pixels.shape[0] != pixels.shape[1]:
            raise InputError(
                f"{file}: is {pixels.shape[1]}x{pixels.shape[0]} px; the pictures must be square"
            )
        return pixels
