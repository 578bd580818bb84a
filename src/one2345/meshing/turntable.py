"""A mesh seen all around: frames of a turntable, as a sheet, an animated GIF or an MP4."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from one2345.errors import InputError
from one2345.files import aside_name, write_atomic
from one2345.geometry import OBJECT_EDGE, Mesh, orbit_cameras
from one2345.objects import MeshObject

Frames = NDArray[np.uint8]


def turntable(
    mesh: Mesh, *, frames: int = 24, size: int = 256, elevation: float = 15.0, shading: float = 0.5
) -> Frames:
    """Pictures (frames, size, size, 3) of a mesh in the world frame from cameras all around it, azimuth 0 first."""
    azimuths = np.arange(frames) * (360.0 / frames)
    reach = float(np.abs(mesh.bounds).max()) / (OBJECT_EDGE / 2)
    cameras = orbit_cameras(torch.from_numpy(azimuths), elevation, size=size, radius=1.3 * max(1.0, reach))
    drawn = MeshObject(
        mesh, id="turntable", normalise=False, repair=False, shading=shading, antialias=2
    ).render(cameras)
    return (drawn.rgb * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def sheet(frames: Frames, *, columns: int = 6) -> Frames:
    """All pictures side by side, `columns` a row, on white."""
    count, height, width, channels = frames.shape
    rows = -(-count // columns)
    padded = np.full((rows * columns, height, width, channels), 255, np.uint8)
    padded[:count] = frames
    grid = padded.reshape(rows, columns, height, width, channels)
    return grid.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)


def write_animation(frames: Frames, path: Path, *, rate: int = 12) -> Path:
    """An endless GIF, or an MP4 (MPEG-4 part 2), by the suffix; `rate` frames a second.

    Raises InputError for another suffix, or where this build of OpenCV can write no MP4.
    """
    if path.suffix == ".gif":
        pictures = [Image.fromarray(f).quantize(128, dither=Image.Dither.NONE) for f in frames]
        buffer = io.BytesIO()
        pictures[0].save(
            buffer,
            format="GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=round(1000 / rate),
            loop=0,
        )
        write_atomic(path, buffer.getvalue())
    elif path.suffix == ".mp4":
        _write_mp4(frames, path, rate)
    else:
        raise InputError(f"{path}: animations are written as .gif or .mp4")
    return path


def _write_mp4(frames: Frames, path: Path, rate: int) -> None:
    import cv2

    aside = path.with_name(f".{aside_name()}.mp4")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        height, width = frames.shape[1:3]
        writer = cv2.VideoWriter(str(aside), cv2.VideoWriter.fourcc(*"mp4v"), float(rate), (width, height))
        if not writer.isOpened():
            raise InputError(f"{path}: this OpenCV can write no MP4; turntable=gif does without")
        for frame in frames:
            writer.write(np.ascontiguousarray(frame[..., ::-1]))
        writer.release()
        write_atomic(path, aside.read_bytes())
    finally:
        aside.unlink(missing_ok=True)
