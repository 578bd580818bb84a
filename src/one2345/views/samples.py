"""Geometry labels of one object: distances, surface points and occupancy grids, and their file."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from one2345.errors import InputError

_EPOCH = (1980, 1, 1, 0, 0, 0)
_ARRAYS = {
    "sdf_points": ("<f4", 2),
    "sdf_values": ("<f4", 1),
    "surface_points": ("<f4", 2),
    "surface_normals": ("<f2", 2),
    "surface_colours": ("|u1", 2),
}


@dataclass(frozen=True)
class Samples:
    """Labels in world coordinates, all float32.

    sdf_points (n, 3), sdf_values (n): signed distance, negative inside.
    surface_points, surface_normals, surface_colours (m, 3): uniform by area; colours in [0, 1].
    occupancy: resolution -> (r, r, r) bool, axes x, y, z, at the nodes of `geometry.evaluation_box(r)`.
    """

    sdf_points: Tensor
    sdf_values: Tensor
    surface_points: Tensor
    surface_normals: Tensor
    surface_colours: Tensor
    occupancy: Mapping[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, m = len(self.sdf_values), len(self.surface_points)
        shapes = {"sdf_points": (n, 3), "sdf_values": (n,)}
        shapes |= {f"surface_{part}": (m, 3) for part in ("points", "normals", "colours")}
        for name, shape in shapes.items():
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise ValueError(f"Samples.{name} has shape {found}, expected {shape}")
        for resolution, grid in self.occupancy.items():
            if tuple(grid.shape) != (resolution,) * 3:
                raise ValueError(f"occupancy {resolution} has shape {tuple(grid.shape)}")

    @staticmethod
    def none() -> Samples:
        """No labels at all."""
        points = torch.zeros(0, 3)
        return Samples(points, torch.zeros(0), points, points, points)

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        tensors = [getattr(self, name) for name in _ARRAYS] + list(self.occupancy.values())
        return sum(t.nbytes for t in tensors)

    def counts(self) -> dict[str, object]:
        """What object.json says about this file."""
        return {
            "sdf_points": len(self.sdf_values),
            "surface_points": len(self.surface_points),
            "occupancy": sorted(self.occupancy),
        }


def write_samples(path: Path, samples: Samples) -> None:
    """Write an uncompressed .npz whose bytes depend on the values alone (fixed order, dates and types)."""
    arrays: dict[str, NDArray[np.generic]] = {
        "sdf_points": samples.sdf_points.numpy().astype("<f4"),
        "sdf_values": samples.sdf_values.numpy().astype("<f4"),
        "surface_points": samples.surface_points.numpy().astype("<f4"),
        "surface_normals": samples.surface_normals.numpy().astype("<f2"),
        "surface_colours": (samples.surface_colours.clamp(0, 1) * 255).round().numpy().astype("|u1"),
    }
    for resolution in sorted(samples.occupancy):
        arrays[f"occupancy_{resolution}"] = np.packbits(samples.occupancy[resolution].numpy().reshape(-1))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
            entry.create_system = 3
            archive.writestr(entry, buffer.getvalue())


def read_samples(path: Path, *, occupancy: bool = True, data: bytes | memoryview | None = None) -> Samples:
    """Read what `write_samples` wrote; `occupancy=False` skips the grids.

    data: the file's content, where it is packed with others; `path` then only names it.
    Raises InputError naming the file, and the array, when it is missing, damaged or not finite.
    """
    try:
        opened = path.open("rb") if data is None else io.BytesIO(data)
        with opened as file, np.load(file, allow_pickle=False) as archive:
            names = [n for n in archive.files if occupancy or not n.startswith("occupancy_")]
            arrays = {name: archive[name] for name in names}
    except FileNotFoundError:
        raise InputError(f"{path}: the file is missing, but object.json lists samples") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a readable .npz (truncated or damaged): {error}") from error
    for name, (dtype, dims) in _ARRAYS.items():
        array = arrays.get(name)
        if array is None:
            raise InputError(f"{path}: array {name!r} is missing")
        if array.dtype != np.dtype(dtype) or array.ndim != dims or (dims == 2 and array.shape[1] != 3):
            raise InputError(
                f"{path}: array {name!r} is {array.dtype} {array.shape}, expected {dtype}, {dims}-d"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"{path}: array {name!r} holds NaN or infinite values")
    grids = {}
    for name in arrays.keys() - _ARRAYS.keys():
        resolution = int(name.removeprefix("occupancy_")) if name.startswith("occupancy_") else 0
        if resolution <= 0 or arrays[name].size != (resolution**3 + 7) // 8:
            raise InputError(f"{path}: array {name!r} of {arrays[name].size} bytes is no occupancy grid")
        bits = np.unpackbits(arrays[name], count=resolution**3).astype(bool)
        grids[resolution] = torch.from_numpy(bits.reshape((resolution,) * 3))
    try:
        return Samples(
            sdf_points=torch.from_numpy(arrays["sdf_points"]),
            sdf_values=torch.from_numpy(arrays["sdf_values"]),
            surface_points=torch.from_numpy(arrays["surface_points"]),
            surface_normals=torch.from_numpy(arrays["surface_normals"].astype(np.float32)),
            surface_colours=torch.from_numpy(arrays["surface_colours"].astype(np.float32)) / 255,
            occupancy=dict(sorted(grids.items())),
        )
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
