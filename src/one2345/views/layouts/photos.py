"""The pixels of posed photographs: read, masked, freed of distortion, cropped like standard views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from one2345.errors import InputError
from one2345.geometry import FOCAL_256, RADIUS

from ..preprocess import crop_on_white, cut_plain_background, read_source
from .shots import Shot, inside

WORKING_EDGE = 1024
MARGIN = 0.04
"""Least room around an object in a crop, as a share of the frame."""


@dataclass(frozen=True)
class Photo:
    """A shot's pixels at working size. rgba: (h, w, 4) uint8 straight. K: (3, 3) at that size, no distortion.
    mask_from: alpha, mask file or plain background. box: left, top, right, bottom of the mask in pixels."""

    rgba: NDArray[np.uint8]
    K: NDArray[np.float64]
    mask_from: str
    box: tuple[int, int, int, int]

    @property
    def mask(self) -> torch.Tensor:
        """(h, w) float32 alpha."""
        return torch.from_numpy(self.rgba[..., 3].astype(np.float32) / 255)


def load_photo(shot: Shot, root: Path) -> Photo:
    """Pixels and mask of a shot: by alpha, else its mask file, else masks/ beside its pictures, else a plain
    background. Raises InputError naming the picture where none of these is there, or the mask is empty."""
    source = read_source(shot.file, max_edge=WORKING_EDGE, orient=False)
    colour, alpha, origin = source.colour, source.alpha, "alpha"
    if alpha is None:
        file = shot.mask or _sibling_mask(shot.file, root)
        if file is not None:
            alpha, origin = _mask(file, shot, colour.shape[:2]), "mask file"
        elif (cut := cut_plain_background(colour)) is not None:
            colour, alpha, origin = cut.colour, cut.alpha, "plain background"
        else:
            raise InputError(
                f"{shot.file}: what is the object? The picture has no alpha, there is no "
                f"masks/{shot.file.stem}.png beside its folder, and its background is not plain"
            )
    reduction = np.array([alpha.shape[1] / shot.size[1], alpha.shape[0] / shot.size[0], 1.0])
    K = shot.K * reduction[:, None]
    if shot.distortion:
        colour, alpha = undistort(colour, alpha, K, shot.distortion)
    rows, columns = np.flatnonzero((alpha > 0.5).any(1)), np.flatnonzero((alpha > 0.5).any(0))
    if not len(rows):
        raise InputError(f"{shot.file}: the mask ({origin}) is empty; remove the frame or give a mask")
    rgba = np.rint(np.concatenate([colour, alpha[..., None]], -1).clip(0, 1) * 255).astype(np.uint8)
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return Photo(rgba=rgba, K=K, mask_from=origin, box=box)


def undistort(
    colour: NDArray[np.float32],
    alpha: NDArray[np.float32],
    K: NDArray[np.float64],
    distortion: Sequence[float],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Straight colour (h, w, 3) and alpha (h, w) as a pinhole camera with the same K sees them.

    OpenCV counts pixel centres at whole numbers, hence the half pixel. Nothing is known beyond the frame.
    """
    import cv2

    matrix = K - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    size = (alpha.shape[1], alpha.shape[0])
    map_x, map_y = cv2.initUndistortRectifyMap(
        matrix, np.array(distortion), np.eye(3), matrix, size, cv2.CV_32FC1
    )
    layers = np.concatenate([colour * alpha[..., None], alpha[..., None]], -1)
    flat = cv2.remap(layers, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    mask = flat[..., 3]
    return (flat[..., :3] / np.maximum(mask, 1 / 255)[..., None]).clip(0, 1), mask.clip(0, 1)


def crop_like_standard(
    photo: Photo, origin_pixel: NDArray[np.float64], depth: float, size: int
) -> tuple[torch.Tensor, torch.Tensor, NDArray[np.float64]]:
    """Image (3, size, size), mask (size, size) and K (3, 3) of the crop in which the object appears as large as
    in a standard view, its origin in the middle.

    origin_pixel: (2) where the world's origin is seen, at `depth` world units. A standard view has focal
    length 280/256 of its width at distance 1.2, so the crop's is in the ratio of the distances. An object that
    would stick out (a camera that is near) gets a wider crop.
    """
    focal = FOCAL_256 * size / 256 * depth / RADIUS
    left, top, right, bottom = photo.box
    half = np.array(
        [
            max(origin_pixel[0] - left, right - origin_pixel[0]),
            max(origin_pixel[1] - top, bottom - origin_pixel[1]),
        ]
    )
    scale = focal / np.array([photo.K[0, 0], photo.K[1, 1]])
    scale *= min(1.0, size * (0.5 - MARGIN) / float((half * scale).max()))
    corner = origin_pixel - size / 2 / scale
    frame = (*corner, *(corner + size / scale))
    values = photo.rgba.astype(np.float32) / np.float32(255)
    image, mask = crop_on_white(values[..., :3], values[..., 3], frame=frame, size=size)
    K = photo.K.copy()
    K[:2, 2] -= corner
    K[:2] *= scale[:, None]
    return torch.from_numpy(image), torch.from_numpy(mask), K


def _sibling_mask(file: Path, root: Path) -> Path | None:
    """masks/<path> for images/<path>: as .png, with the picture's own extension, or with .png after it."""
    for folder in (file.parent, *file.parent.parents):
        beside = folder.parent / "masks"
        below = file.relative_to(folder)
        for name in (below.with_suffix(".png"), below, below.with_name(f"{below.name}.png")):
            if beside.is_dir() and (beside / name).is_file():
                return inside(beside, name.as_posix(), f"{beside}: the mask of {file.name}")
        if folder.resolve() == root.resolve():
            break
    return None


def _mask(file: Path, shot: Shot, size: tuple[int, ...]) -> NDArray[np.float32]:
    source = read_source(file, max_edge=WORKING_EDGE, orient=False)
    if source.size != shot.size:
        raise InputError(
            f"{file}: the mask is {source.size[1]}x{source.size[0]} px, but {shot.file.name} is "
            f"{shot.size[1]}x{shot.size[0]}"
        )
    values = source.colour.mean(-1) if source.alpha is None else source.alpha
    assert values.shape == tuple(size)
    return values
