"""COLMAP's text model: cameras.txt and images.txt, with the pictures found beside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from one2345.errors import InputError
from one2345.geometry import c2w_from_colmap

from ..preprocess import picture_size
from .shots import Shot, check_count, picture_file, read_text, rigid, unique_names

_PLACES = (".", "sparse/0", "sparse", "colmap/sparse/0", "text", "model")
# Parameters in COLMAP's order (src/colmap/sensor/models.h).
_MODELS = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
}


def find_model(folder: Path) -> Path | None:
    """The folder with cameras.txt and images.txt in or under `folder`. Raises InputError for a binary model."""
    for place in _PLACES:
        if (folder / place / "cameras.txt").is_file() and (folder / place / "images.txt").is_file():
            return folder / place
    for place in _PLACES:
        if (folder / place / "cameras.bin").is_file():
            raise InputError(
                f"{folder / place}: COLMAP's binary model is not read; convert it: colmap model_converter "
                "--input_path DIR --output_path DIR --output_type TXT"
            )
    return None


def read_colmap(model: Path, root: Path) -> list[Shot]:
    """The registered images of a text model. root: the folder that the user named; pictures are looked for in
    images/ beside the model or up to two folders above it, else in root.

    Raises InputError naming file and line (see `shots`), for other camera models and sizes that disagree.
    """
    cameras = _cameras(model / "cameras.txt")
    pictures = _pictures(model, root)
    file = model / "images.txt"
    rows = _image_rows(file)
    names = unique_names([row[-1] for _, row in rows])
    shots = [_shot(file, line, row, name, cameras, pictures) for (line, row), name in zip(rows, names)]
    return check_count(shots, file)


Camera = tuple[NDArray[np.float64], tuple[int, int], tuple[float, ...]]


def _cameras(file: Path) -> dict[str, Camera]:
    cameras: dict[str, Camera] = {}
    for line, text in enumerate(read_text(file).splitlines(), 1):
        words = text.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{file}: line {line}"
        if len(words) < 5 or words[1] not in _MODELS:
            model = words[1] if len(words) > 1 else text[:80]
            raise InputError(f"{where}: camera model {model!r} is not read; known: {', '.join(_MODELS)}")
        names = _MODELS[words[1]]
        width, height, *parameters = _numbers(words[2:], where)
        if len(parameters) != len(names) or width < 1 or height < 1:
            raise InputError(
                f"{where}: {words[1]} needs a size and {len(names)} parameters ({', '.join(names)})"
            )
        p = dict(zip(names, parameters))
        fx, fy = p.get("fx", p.get("f", 0.0)), p.get("fy", p.get("f", 0.0))
        if fx <= 0 or fy <= 0:
            raise InputError(f"{where}: the focal length must be positive, not {min(fx, fy):g}")
        K = np.array([[fx, 0, p["cx"]], [0, fy, p["cy"]], [0, 0, 1.0]])
        distortion = tuple(p.get(k, 0.0) for k in ("k1", "k2", "p1", "p2", "k3"))
        cameras[words[0]] = (K, (int(height), int(width)), distortion if any(distortion) else ())
    return cameras


def _image_rows(file: Path) -> list[tuple[int, list[str]]]:
    """Line numbers and the ten words of each image; a line of key points, which may be empty, follows each."""
    rows: list[tuple[int, list[str]]] = []
    lines = iter(enumerate(read_text(file).splitlines(), 1))
    for line, text in lines:
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        words = text.split(maxsplit=9)
        if len(words) != 10:
            raise InputError(f"{file}: line {line}: expected ID QW QX QY QZ TX TY TZ CAMERA_ID NAME")
        rows.append((line, [*words[:9], words[9].strip()]))
        next(lines, None)
    return rows


def _shot(
    file: Path, line: int, row: list[str], name: str, cameras: dict[str, Camera], pictures: Path
) -> Shot:
    where = f"{file}: line {line} ({row[9][:80]})"
    if row[8] not in cameras:
        raise InputError(f"{where}: camera {row[8]!r} is not in cameras.txt")
    K, size, distortion = cameras[row[8]]
    values = torch.tensor(_numbers(row[1:8], where), dtype=torch.float64)
    length = float(values[:4].norm())
    if abs(length - 1) > 1e-2:
        raise InputError(f"{where}: the quaternion has length {length:.4g}, so it is no rotation")
    picture = picture_file(pictures, row[9], where)
    found = picture_size(picture)
    if found != size:
        raise InputError(
            f"{where}: the picture is {found[1]}x{found[0]} px, but cameras.txt says {size[1]}x{size[0]}"
        )
    c2w = rigid(c2w_from_colmap(values[:4], values[4:]).numpy(), where)
    return Shot(name=name, file=picture, K=K, c2w=c2w, size=size, distortion=distortion)


def _numbers(words: list[str], where: str) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise InputError(f"{where}: expected numbers, found {' '.join(words)[:80]!r}") from None
    if not np.isfinite(values).all():
        raise InputError(f"{where}: holds NaN or infinite numbers")
    return values


def _pictures(model: Path, root: Path) -> Path:
    model = model.resolve()
    for folder in (root, model, model.parent, model.parent.parent):
        if (folder / "images").is_dir():
            return folder / "images"
    return root
