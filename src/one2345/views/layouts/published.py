"""One object of the published One-2-3-45 training data: view_*.png beside One2345_training_pose.json.

Its world is ours (z up, longest edge 0.8, azimuth 0 at -y), its cameras have Blender's axes, its depth is in
thousandths of a world unit (arXiv 2306.16928; the release's own files).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from one2345.errors import InputError
from one2345.geometry import Cameras, opencv_from_opengl

from ..posed_views import PosedViews
from ..preprocess import cut_plain_background, read_source
from .shots import inside, read_json, rigid

POSES = "One2345_training_pose.json"
_VIEW = re.compile(r"view_(\d+)(?:_(\d+)_10)?")


@dataclass(frozen=True)
class PoseFile:
    """A pose file. names: v views in its order. c2w: (v, 4, 4) with OpenCV axes. K: (3, 3) of all of them."""

    file: Path
    names: tuple[str, ...]
    K: torch.Tensor
    c2w: torch.Tensor

    @property
    def roles(self) -> tuple[str, ...]:
        """stage1 (true) or near (predicted) of each view."""
        return tuple("stage1" if parent is None else "near" for parent in self.parents)

    @property
    def parents(self) -> tuple[str | None, ...]:
        """The view that each view was predicted from."""
        return tuple(_parent(name) for name in self.names)

    def check_size(self, height: int, width: int) -> None:
        """Raise InputError unless pictures of that size fit the intrinsics."""
        x, y = float(self.K[0, 2]), float(self.K[1, 2])
        if abs(2 * x - width) > 0.1 * width or abs(2 * y - height) > 0.1 * height:
            raise InputError(
                f"{self.file}: intrinsics with centre {x:g}, {y:g} don't fit pictures of {width}x{height} px"
            )


def read_poses(file: Path) -> PoseFile:
    """The cameras that a pose file names. Raises InputError naming the file and the camera that isn't one."""
    document = read_json(file)
    c2ws = document.get("c2ws")
    K = _intrinsics(document.get("intrinsics"), file).float()
    names = tuple(n for n in c2ws if _VIEW.fullmatch(n)) if isinstance(c2ws, dict) else ()
    if not isinstance(c2ws, dict) or not names:
        raise InputError(f"{file}: c2ws must name the cameras")
    c2w = np.stack([rigid(c2ws[name], f"{file}: c2ws.{name}") for name in names])
    return PoseFile(file, names, K, opencv_from_opengl(torch.from_numpy(c2w)).float())


def find_poses(folder: Path) -> Path | None:
    """The pose file that belongs to an object's folder: in it, or in one of the three above."""
    if not any(folder.glob("view_*.png")):
        return None
    folder = folder.resolve()
    places = (folder, *folder.parents[:3])
    return next((place / POSES for place in places if (place / POSES).is_file()), None)


def read_published(folder: Path, poses: Path) -> tuple[PosedViews, dict[str, object]]:
    """The object's views that exist, in the file's order, and facts. Depth is returned where all views have it.

    Raises InputError naming file and view: no views, cameras that aren't, pictures of different sizes.
    """
    cameras = read_poses(poses)
    there = [i for i, n in enumerate(cameras.names) if (folder / f"{n}.png").exists()]
    names = [cameras.names[i] for i in there]
    if not names:
        raise InputError(f"{folder}: none of the views that {poses.name} names is here as <name>.png")
    images, masks, depth = [], [], []
    for name in names:
        image, mask = _picture(folder, name)
        if images and image.shape != images[0].shape:
            raise InputError(
                f"{folder}/{name}.png: is {image.shape[2]}x{image.shape[1]} px, but {names[0]}.png is "
                f"{images[0].shape[2]}x{images[0].shape[1]}"
            )
        images.append(image)
        masks.append(mask)
        depth.append(_depth(folder, name, mask.shape))
    height, width = masks[0].shape
    cameras.check_size(height, width)
    parents = [_parent(name) for name in names]
    complete = all(d is not None for d in depth)
    views = PosedViews(
        images=torch.stack(images),
        masks=torch.stack(masks),
        cameras=Cameras(
            K=cameras.K.expand(len(names), 3, 3).clone(),
            c2w=cameras.c2w[there],
            size=(height, width),
        ),
        names=tuple(names),
        roles=tuple("stage1" if p is None else "near" for p in parents),
        parents=tuple(names.index(p) if p in names else None for p in parents),
        depth=torch.stack([d for d in depth if d is not None]) if complete else None,
    )
    return views, {"views_with_depth": sum(d is not None for d in depth)}


def _parent(name: str) -> str | None:
    match = _VIEW.fullmatch(name)
    assert match is not None
    return None if match[2] is None else f"view_{match[1]}"


def _intrinsics(value: object, poses: Path) -> torch.Tensor:
    try:
        K = torch.tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        K = torch.zeros(0)
    if K.shape != (3, 3) or not K.isfinite().all() or not (K[0, 0] > 0 and K[1, 1] > 0):
        raise InputError(f"{poses}: intrinsics must be 3x3 finite numbers with positive focal lengths")
    return K


def _picture(folder: Path, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    file = inside(folder, f"{name}.png", f"{folder}: {name}")
    source = read_source(file, orient=False)
    colour, alpha = source.colour, source.alpha
    if alpha is None:
        cut = cut_plain_background(colour)
        if cut is None:
            raise InputError(f"{file}: has no alpha, and its background is not plain")
        colour, alpha = cut.colour, cut.alpha
    a = torch.from_numpy(alpha)
    return torch.from_numpy(colour).permute(2, 0, 1) * a + (1 - a), a


def _depth(folder: Path, name: str, size: tuple[int, ...]) -> torch.Tensor | None:
    file = inside(folder, f"{name}_depth_mm.png", f"{folder}: {name}")
    if not file.is_file():
        return None
    try:
        with Image.open(file, formats=["PNG"]) as image:
            if image.mode != "I;16" or (image.height, image.width) != tuple(size):
                raise InputError(f"{file}: expected a 16-bit PNG of {size[1]}x{size[0]} px")
            return torch.from_numpy(np.asarray(image).astype(np.float32)) / 1000
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{file}: not a readable PNG: {error}") from None
