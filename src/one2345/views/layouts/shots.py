"""One posed photograph as a layout describes it, and the checks that all layouts share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from one2345.errors import InputError

MAX_SHOTS = 500
ROTATION_TOLERANCE = 5e-3
_MAX_TEXT = 64_000_000
_EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".PNG", ".JPG", ".JPEG")


@dataclass(frozen=True)
class Shot:
    """name: unique. file: picture. K: (3, 3) px, pixel centres at +0.5. c2w: (4, 4) in the layout's world, OpenCV
    camera axes. size: (height, width) of the stored picture. distortion: OpenCV's k1 k2 p1 p2 k3 (or k1 k2 p1 p2
    k3 k4 k5 k6), empty for a pinhole. mask: file of the mask that the layout names, or None."""

    name: str
    file: Path
    K: NDArray[np.float64]
    c2w: NDArray[np.float64]
    size: tuple[int, int]
    distortion: tuple[float, ...] = ()
    mask: Path | None = None


def inside(folder: Path, text: object, where: str) -> Path:
    """`folder / text`, which may not lie elsewhere: not absolute, no way up, no link that leads out.

    Raises InputError naming `where` (the file and frame that said so).
    """
    if not isinstance(text, str) or not text or "\x00" in text:
        raise InputError(f"{where}: {text!r} is no file name")
    path = Path(text)
    if not path.name or path.is_absolute() or ".." in path.parts or "\\" in text or ":" in path.parts[0]:
        raise InputError(
            f"{where}: {text!r} leads out of the folder; paths must be relative to it, without .."
        )
    try:
        escapes = not (folder / path).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{where}: {text!r} can't be followed: {error}") from None
    if escapes:
        raise InputError(f"{where}: {text!r} is a link that leads out of the folder; copy the file into it")
    return folder / path


def picture_file(folder: Path, text: object, where: str) -> Path:
    """The picture that `text` names, with or without its extension. Raises InputError where there is none."""
    path = inside(folder, text, where)
    try:
        if path.is_file():
            return path
        for extension in _EXTENSIONS:
            longer = path.with_name(path.name + extension)
            if longer.is_file():
                return inside(folder, f"{text}{extension}", where)
    except (OSError, ValueError) as error:
        raise InputError(f"{where}: {str(text)[:80]!r} is no usable file name: {error}") from None
    raise InputError(f"{where}: the picture {str(text)[:200]!r} does not exist in {folder}")


def read_text(file: Path) -> str:
    """A text file of bounded size. Raises InputError naming it."""
    try:
        if file.stat().st_size > _MAX_TEXT:
            raise InputError(f"{file}: larger than {_MAX_TEXT // 1_000_000} MB, no file of cameras")
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{file}: the file does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not readable text: {error}") from None


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object. Raises InputError naming the file."""
    try:
        value = json.loads(read_text(file))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{file}: not readable JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{file}: expected a JSON object at the top")
    return value


def number(value: object, where: str, *, positive: bool = False) -> float:
    """A finite float. Raises InputError naming `where`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where}: {value!r} is no number")
    try:
        result = float(value)
    except OverflowError:
        result = float("inf")
    if not np.isfinite(result) or (positive and result <= 0):
        raise InputError(f"{where}: {value!r} must be {'positive and ' if positive else ''}finite")
    return result


def rigid(matrix: object, where: str) -> NDArray[np.float64]:
    """A pose (4, 4) from rows of numbers (4x4, or 3x4), its rotation made exact.

    Raises InputError naming `where`: another shape, not finite, scaled, sheared or mirrored.
    """
    try:
        pose = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        pose = np.zeros(0)
    if pose.shape == (3, 4):
        pose = np.concatenate([pose, [[0, 0, 0, 1]]])
    if pose.shape != (4, 4):
        raise InputError(f"{where}: the camera's matrix must be 4x4 numbers")
    if not np.isfinite(pose).all():
        raise InputError(f"{where}: the camera's matrix holds NaN or infinite numbers")
    rotation = pose[:3, :3]
    off = float(np.abs(rotation.T @ rotation - np.eye(3)).max())
    det = float(np.linalg.det(rotation))
    if off > ROTATION_TOLERANCE or det < 0:
        raise InputError(
            f"{where}: the upper left 3x3 of the camera's matrix is no rotation "
            f"(determinant {det:.4g}, off orthonormal by {off:.2g})"
        )
    if not np.allclose(pose[3], [0, 0, 0, 1], atol=1e-6):
        raise InputError(f"{where}: the last row of the camera's matrix must be 0 0 0 1")
    u, _, vt = np.linalg.svd(rotation)
    pose[:3, :3] = u @ vt
    return pose


def check_count(shots: list[Shot], file: Path) -> list[Shot]:
    """`shots` where their number can be used. Raises InputError naming `file`."""
    if len(shots) < 2:
        raise InputError(f"{file}: {len(shots)} posed pictures; at least 2 are needed")
    if len(shots) > MAX_SHOTS:
        raise InputError(f"{file}: {len(shots)} posed pictures; thin them out to at most {MAX_SHOTS}")
    return shots


def unique_names(texts: list[str]) -> list[str]:
    """Short names that differ: the file's stem, or its whole path where stems repeat."""
    stems = [Path(t).stem for t in texts]
    names = [s if stems.count(s) == 1 else t.replace("/", "_").lstrip("._") for s, t in zip(stems, texts)]
    return [n if names.count(n) == 1 else f"{n}_{i}" for i, n in enumerate(names)]
