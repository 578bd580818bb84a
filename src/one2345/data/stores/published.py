"""The published One-2-3-45 training set as it is released: 147 GB of PNG files, and one pose file for all of them.

    ROOT/One2345_training_pose.json, ROOT/lvis_split_cc_by.json
    ROOT/zero12345_narrow/<folder>/<uid>/view_{0..7}.png              true, RGBA
    ROOT/zero12345_narrow/<folder>/<uid>/view_{0..7}_depth_mm.png     z-depth in thousandths of a world unit
    ROOT/zero12345_narrow/<folder>/<uid>/view_{i}_{0..3}_10.png       Zero123's prediction from view i, on white

A network is given the 32 predictions and compared with the eight true views (arXiv 2306.16928, section 3.2). There are
no labels of the shape. What `prepare.py stage=predict layout=published` writes is read alike.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from one2345.errors import InputError
from one2345.geometry import Cameras
from one2345.views import ObjectRecord, check_id
from one2345.views.images import DEPTH_SCALE, on_white_mask, read_picture, read_png
from one2345.views.layouts.published import POSES, PoseFile, read_poses

from ..split_file import read_split_file

NARROW = "zero12345_narrow"
SPLIT = "lvis_split_cc_by.json"
PREDICTED = ("near",)


@dataclass(frozen=True)
class PublishedRecord(ObjectRecord):
    """An object of the published set; its near views are predictions, and only its true views have depth."""

    def rgba(self, view: int) -> NDArray[np.uint8]:
        file = self.folder / f"{self.names[view]}.png"
        pixels = read_picture(file, size=self.size)
        return on_white_mask(pixels) if self.roles[view] in PREDICTED else pixels

    def stored_depth(self, view: int) -> NDArray[np.uint16]:
        if self.roles[view] in PREDICTED:
            raise InputError(f"{self.folder}: predicted views such as {self.names[view]} have no depth")
        file = self.folder / f"{self.names[view]}_depth_mm.png"
        stored = read_png(file, mode="I;16", size=self.size).astype(np.uint32) * round(DEPTH_SCALE / 1000)
        if stored.max() > 65535:
            raise InputError(f"{file}: holds depths beyond {65535 / DEPTH_SCALE:.2f} world units")
        return stored.astype(np.uint16)


class PublishedStore:
    """The set under `root`, which holds zero12345_narrow, or is it.

    Splits are those of lvis_split_cc_by.json where it is there. Raises InputError where there is no such layout.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.narrow = self.root if self.root.name == NARROW else self.root / NARROW
        if not self.narrow.is_dir():
            raise InputError(f"{self.root}: holds no {NARROW}, so it isn't the published training set")
        self._poses: dict[Path, PoseFile] = {}

    @staticmethod
    def at(root: Path) -> bool:
        """Whether the published layout lies at `root`."""
        return root.name == NARROW or (root / NARROW).is_dir()

    @cached_property
    def _folders(self) -> dict[str, Path]:
        """uid -> folder, of what is there."""
        found: dict[str, Path] = {}
        for folder in (f for outer in _folders_in(self.narrow) for f in _folders_in(outer)):
            if folder.name in found:
                raise InputError(f"{folder}: the object is in {found[folder.name]} too; delete one")
            found[folder.name] = folder
        return found

    @cached_property
    def _splits(self) -> dict[str, str]:
        file = next((p / SPLIT for p in (self.root, self.narrow.parent) if (p / SPLIT).is_file()), None)
        return {} if file is None else read_split_file(file)

    def ids(self) -> list[str]:
        return sorted(self._folders)

    def split(self, id: str) -> str | None:
        return self._splits.get(id)

    def groups(self, ids: Sequence[str]) -> list[int] | None:
        return None

    def record(self, id: str) -> PublishedRecord:
        folder = self._folders.get(check_id(id))
        if folder is None:
            raise InputError(f"{self.narrow}: has no object {id!r}")
        poses = self._poses_of(folder)
        return PublishedRecord(
            folder=folder,
            id=id,
            names=poses.names,
            roles=poses.roles,
            parents=poses.parents,
            cameras=Cameras(
                K=poses.K.expand(len(poses.names), 3, 3).clone(), c2w=poses.c2w, size=_size(folder, poses)
            ),
            sources=PREDICTED,
            has_depth=(folder / f"{poses.names[0]}_depth_mm.png").is_file(),
            has_normals=False,
            sample_counts=None,
            split=self.split(id),
            recipe=None,
            flags={"predicted": list(PREDICTED)},
            provenance={"source": "One-2-3-45 training set", "uid": id},
        )

    def _poses_of(self, folder: Path) -> PoseFile:
        """The pose file of an object: its own, or the one of all, beside or above zero12345_narrow."""
        places = (folder, folder.parent, self.narrow, self.narrow.parent)
        file = next((p / POSES for p in places if (p / POSES).is_file()), None)
        if file is None:
            raise InputError(f"{self.root}: {POSES} is missing; it comes with the training set")
        if file not in self._poses:
            poses = read_poses(file)
            if "near" not in poses.roles or "stage1" not in poses.roles:
                raise InputError(f"{file}: names no view_{{i}} or no view_{{i}}_{{j}}_10")
            if file.parent == folder:
                return poses
            self._poses[file] = poses
        return self._poses[file]


def _folders_in(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(
            Path(e.path) for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith(".")
        )


def _size(folder: Path, poses: PoseFile) -> tuple[int, int]:
    """Height and width of the first view; they must fit the intrinsics."""
    file = folder / f"{poses.names[0]}.png"
    try:
        with Image.open(file, formats=["PNG"]) as image:
            height, width = image.height, image.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{file}: not a readable PNG: {error}") from error
    poses.check_size(height, width)
    return height, width
