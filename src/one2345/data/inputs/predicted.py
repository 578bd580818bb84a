"""Source views that a synthesiser has made and saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ...errors import InputError
from ...seeding import Part
from ...views.images import on_white_mask, read_picture

if TYPE_CHECKING:
    from ...views import ObjectRecord, PosedViews


class PredictedInputs:
    """Images root/<object id>/<view name>.png in place of the true renders, at whose poses they are taken.

    root: folder that the synthesiser wrote. RGBA files keep their alpha as mask. Files that are opaque everywhere
    are taken to be on white: the mask is where a channel lies below `white` (of 255). Files of another size than
    the views are resampled; their shape (height : width) must agree.
    """

    wants_depth = False

    def __init__(self, *, root: str | Path, white: int = 250) -> None:
        self.root = Path(root)
        self.white = white
        if not self.root.is_dir():
            raise InputError(
                f"inputs.root={self.root}: there is no such folder; it should hold "
                "<object id>/<view name>.png"
            )

    def __call__(
        self, record: ObjectRecord | None, sources: PosedViews, *, key: tuple[Part, ...]
    ) -> PosedViews:
        if record is None:
            raise InputError("predicted inputs are looked up by object id, so they need the object's record")
        folder = self.root / record.id
        if not folder.is_dir():
            raise InputError(f"{folder}: there are no predicted views of object {record.id!r}")
        read = [self._read(folder / f"{name}.png", sources.cameras.size) for name in sources.names]
        images, masks = (torch.stack(x).to(sources.images.device) for x in zip(*read, strict=True))
        return replace(sources, images=images, masks=masks, depth=None, normals=None)

    def _read(self, file: Path, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Image (3, h, w) on white and mask (h, w) of one file."""
        picture = on_white_mask(read_picture(file), white=self.white)
        rgba = torch.from_numpy(picture).movedim(-1, 0).float() / 255
        rgb, mask = rgba[:3], rgba[3:]
        height, width = rgb.shape[-2:]
        if height * size[1] != width * size[0]:
            raise InputError(
                f"{file}: is {width}x{height} px, the views are {size[1]}x{size[0]}: another shape"
            )
        # On white before resampling, so that the colours of transparent pixels don't bleed in. An opaque
        # image keeps its near-white background as white.
        whole = torch.cat([rgb * mask + (1 - mask), mask])
        if (height, width) != size:
            whole = interpolate(whole[None], size, mode="bilinear", antialias=True, align_corners=False)[
                0
            ].clamp(0, 1)
        return whole[:3], whole[3]
