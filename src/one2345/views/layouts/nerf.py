"""transforms.json of NeRF's Blender scenes, instant-ngp and nerfstudio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from one2345.errors import InputError
from one2345.geometry import intrinsics_from_nerf, opencv_from_opengl

from ..preprocess import picture_size
from .shots import Shot, check_count, inside, number, picture_file, read_json, rigid, unique_names

FILES = ("transforms.json", "transforms_train.json")
_PINHOLE = ("PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")


def read_nerf(file: Path) -> list[Shot]:
    """The frames of a transforms file. camera_angle_x, or fl_x, fl_y, cx, cy, w, h, and k1 k2 k3 k4 p1 p2 stand in
    the file or in a frame, which goes first; c2w has OpenGL axes; paths are relative to the file.

    Raises InputError naming file and frame (see `shots`), for fisheye lenses, and sizes that disagree.
    """
    document = read_json(file)
    frames = document.get("frames")
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(f"{file}: frames must be a list of objects")
    names = unique_names([str(frame.get("file_path", i)) for i, frame in enumerate(frames)])
    shots = [_shot(file, i, frame, document, name) for i, (frame, name) in enumerate(zip(frames, names))]
    return check_count(shots, file)


def _shot(file: Path, index: int, frame: dict[str, Any], document: dict[str, Any], name: str) -> Shot:
    where = f"{file}: frames[{index}]"
    if "file_path" not in frame or "transform_matrix" not in frame:
        raise InputError(f"{where}: file_path and transform_matrix are needed")
    where = f"{where} ({str(frame['file_path'])[:80]})"
    picture = picture_file(file.parent, frame["file_path"], where)
    both = {**document, **frame}
    size = _size(picture, both, where)
    pose = opencv_from_opengl(torch.from_numpy(rigid(frame["transform_matrix"], f"{where}.transform_matrix")))
    mask = both.get("mask_path")
    mask_file = None if mask is None else inside(file.parent, mask, f"{where}.mask_path")
    if mask_file is not None and not mask_file.is_file():
        raise InputError(f"{where}.mask_path: {str(mask)[:200]!r} does not exist")
    return Shot(
        name=name,
        file=picture,
        K=_intrinsics(both, size, where),
        c2w=pose.numpy(),
        size=size,
        distortion=_distortion(both, where),
        mask=mask_file,
    )


def _size(picture: Path, both: dict[str, Any], where: str) -> tuple[int, int]:
    found = picture_size(picture)
    for key, actual in (("h", found[0]), ("w", found[1])):
        if key in both and number(both[key], f"{where}.{key}") != actual:
            raise InputError(
                f"{where}: {key} is {both[key]!r}, but {picture.name} is {found[1]}x{found[0]} px; give the "
                "pictures that the cameras were calibrated for"
            )
    return found


def _intrinsics(both: dict[str, Any], size: tuple[int, int], where: str) -> np.ndarray:
    def value(key: str, positive: bool = True) -> float | None:
        return None if both.get(key) is None else number(both[key], f"{where}.{key}", positive=positive)

    height, width = size
    fl_x, fl_y, angle_x, angle_y = (
        value(key) for key in ("fl_x", "fl_y", "camera_angle_x", "camera_angle_y")
    )
    for key, angle in (("camera_angle_x", angle_x), ("camera_angle_y", angle_y)):
        if angle is not None and angle >= np.pi:
            raise InputError(f"{where}.{key}: {angle:g} radians; a pinhole camera sees less than pi")
    if fl_x is None and angle_x is None:
        raise InputError(f"{where}: neither fl_x nor camera_angle_x says what the focal length is")
    if fl_x is None:
        assert angle_x is not None
        fl_x = float(intrinsics_from_nerf(angle_x, size).double()[0, 0])
    if fl_y is None:
        fl_y = fl_x if angle_y is None else 0.5 * height / float(np.tan(0.5 * angle_y))
    cx, cy = value("cx", False), value("cy", False)
    cx, cy = width / 2 if cx is None else cx, height / 2 if cy is None else cy
    return np.array([[fl_x, 0, cx], [0, fl_y, cy], [0, 0, 1.0]])


def _distortion(both: dict[str, Any], where: str) -> tuple[float, ...]:
    model = both.get("camera_model", "OPENCV")
    if both.get("is_fisheye") or model not in _PINHOLE:
        raise InputError(
            f"{where}: camera model {model!r} is not read; known: {', '.join(_PINHOLE)}, no fisheye"
        )
    k1, k2, k3, k4, p1, p2 = (
        number(both.get(key) or 0.0, f"{where}.{key}") for key in ("k1", "k2", "k3", "k4", "p1", "p2")
    )
    if k4:
        raise InputError(
            f"{where}.k4: {k4:g}; only k1, k2, k3, p1, p2 of OpenCV's model are read, undistort first"
        )
    return (k1, k2, p1, p2, k3) if any((k1, k2, p1, p2, k3)) else ()
