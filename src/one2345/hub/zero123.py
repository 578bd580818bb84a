"""Where weights of Zero123 lie: a folder, a checkpoint, or a repository of the hub."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from one2345.errors import CheckpointError

from .files import WeightsUnavailable, sha256, stated_sha256
from .layouts import Choose, choose_diffusers, list_files, part_files
from .models import hub_folder, is_hub_name

OWN = "one2345.json"
"""File that marks a folder of our own layout, and says what the parts' configurations don't."""
PROJECTIONS = ("cc_projection", "clip_camera_projection")
"""Folder of the projection in the hub's layouts: kxic's, and that of ashawkey and bennyguo."""
PARTS: tuple[str | Sequence[str], ...] = ("unet", "vae", "image_encoder", PROJECTIONS)
SIZE_GB = 5.0
"""Of the published model in float32: 1.25e9 parameters (tests count them); half of that in float16."""

Pose = Literal["delta", "polar"]
"""What the fourth entry of the pose vector is: the change of distance (Zero123), or the polar angle of the given
picture's camera in radians (Stable Zero123; spelled rad(90 + elevation) in its port, whose elevation goes down)."""


@dataclass(frozen=True)
class Source:
    """weights: as the user named them. path: the folder or file. layout: `folder` (the hub's), `own` or `original`."""

    weights: str
    path: Path
    layout: Literal["folder", "own", "original"]
    variant: str | None = None

    def part(self, name: str) -> list[Path]:
        """config.json and weights of a part of a folder; nothing where it isn't there."""
        variant = None if self.layout == "own" else self.variant
        found = part_files(list_files(self.path), name, variant=variant)
        return [self.path / file for file in found]

    def files(self) -> list[Path]:
        """Every file that decides the pictures."""
        if self.layout == "original":
            return [self.path]
        parts = [file for name in ("unet", "vae", "image_encoder", *PROJECTIONS) for file in self.part(name)]
        more = [
            self.path / name for name in (OWN, "projection.safetensors", "scheduler/scheduler_config.json")
        ]
        return [*parts, *(file for file in more if file.is_file())]

    def hashes(self) -> dict[str, str]:
        """SHA-256 by name. Files of the hub's cache were checked when they came and are named by theirs."""
        base = self.path if self.path.is_dir() else self.path.parent
        return {f.relative_to(base).as_posix(): stated_sha256(f) or _hashed(f) for f in self.files()}

    def pose(self) -> Pose:
        """What a folder of our own says; else by the name of the weights, since no file of Stable Zero123's says that
        its fourth entry is another one."""
        if self.layout == "own":
            try:
                said = json.loads((self.path / OWN).read_text(encoding="utf-8"))["pose"]
            except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
                raise CheckpointError(f"{self.path / OWN}: does not say its pose ({error})") from error
            return "polar" if said == "polar" else "delta"
        return "polar" if re.search(r"stable[-_]?zero123", self.weights.lower()) else "delta"


def find_weights(
    weights: str | Path,
    *,
    revision: str | None = None,
    variant: str | None = None,
    download: bool = True,
    choices: str = "",
    probe: bool = False,
) -> Source:
    """The source that `weights` means: a folder, a checkpoint, `organisation/name` or `organisation/name@revision`.

    revision: of the hub, where the name has none. variant: of the file names, as in `fp16`. choices, probe: see
    `hub_folder`. Raises WeightsUnavailable where they are not here, CheckpointError where the folder holds
    something else.
    """
    name = str(weights)
    path = Path(name).expanduser()
    if path.is_file():
        return Source(name, path, "original")
    if not path.is_dir():
        then = f"; {choices}" if choices else ""
        if not is_hub_name(name) or path.suffix in (".ckpt", ".safetensors", ".pt", ".pth"):
            raise WeightsUnavailable(f"weights of Zero123 are not here: no folder or file {name}{then}")
        path = hub_folder(
            name if revision is None or "@" in name else f"{name}@{revision}",
            choose=_choose(variant),
            anchor="unet/config.json",
            download=download,
            what=f"UNet, autoencoder, image encoder, projection: about {_gigabytes(variant):g} GB",
            choices=choices,
            probe=probe,
        )
    elif _choose(variant)(list_files(path)) is None:
        raise CheckpointError(
            f"{path}: no weights of Zero123: not all of {_said(PARTS)} with config.json and weights"
            + (f" of variant {variant}" if variant else "")
            + "; an original checkpoint is named by its file"
        )
    return Source(name, path, "own" if (path / OWN).is_file() else "folder", variant)


def _gigabytes(variant: str | None) -> float:
    return SIZE_GB / 2 if variant == "fp16" else SIZE_GB


def _choose(variant: str | None) -> Choose:
    """The files of our own layout, where autoencoder and projection are not folders, or of the hub's."""

    def choose(names: Sequence[str]) -> list[str] | None:
        if OWN not in names:
            return choose_diffusers(PARTS, variant=variant)(names)
        parts = choose_diffusers(("unet", "image_encoder"))(names)
        if parts is None or "projection.safetensors" not in names:
            return None
        return [OWN, *parts, "projection.safetensors", *part_files(names, "vae")]

    return choose


def _said(parts: Sequence[str | Sequence[str]]) -> str:
    return ", ".join(
        f"{part}/" if isinstance(part, str) else " or ".join(f"{p}/" for p in part) for part in parts
    )


_KNOWN: dict[tuple[str, int, int], str] = {}


def _hashed(file: Path) -> str:
    """Remembered as long as the file looks the same, since the weights are large."""
    state = file.stat()
    key = (str(file.resolve()), state.st_size, state.st_mtime_ns)
    if key not in _KNOWN:
        _KNOWN[key] = sha256(file)
    return _KNOWN[key]
