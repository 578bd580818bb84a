"""What there is to look at in a run of reconstruct.py or a prepared object, read and brought into the world frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from one2345.errors import InputError
from one2345.geometry import OBJECT_EDGE, Box, Mesh
from one2345.meshing.colour import vertex_normals
from one2345.objects import load_mesh
from one2345.objects.glb import encode_glb
from one2345.views import PosedViews, read_object
from one2345.views.reader import ObjectRecord, only_object

MESHES = ("mesh.glb", "mesh.obj", "mesh.ply")


@dataclass(frozen=True)
class Points:
    """Of a true surface. positions: (n, 3) float32, world. colours: (n, 3) uint8."""

    positions: NDArray[np.float32]
    colours: NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """title: what it is. views: all of its pictures with cameras. sources: names of those that a reconstruction is
    given. mesh, truth_mesh: GLB files (y up) that were made and that are known; truth: points of the true surface.
    volume: the cube in which networks look for a surface, and the object's own."""

    title: str
    views: PosedViews
    sources: tuple[str, ...]
    mesh: bytes | None = None
    truth: Points | None = None
    truth_mesh: bytes | None = None

    @property
    def volume(self) -> Box:
        return Box()

    @property
    def object_box(self) -> Box:
        return Box(half_edge=OBJECT_EDGE / 2)


def read_scene(path: Path, *, truth: Path | None = None) -> Scene:
    """The scene of a run folder of reconstruct.py, of a prepared object's folder, or of a dataset with one object.

    truth: a mesh file of the true surface, in the world (y up in files, as ours are). Raises InputError that names
    what is missing.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; give a run of reconstruct.py, or a prepared object")
    root = path / "views" if (path / "views" / "dataset.json").is_file() else path
    record = only_object(root)
    if record is None:
        below = sorted(p.parent.name for p in path.glob("*/report.json"))
        hint = f"; it holds several results, as {path / below[0]}" if below else ""
        raise InputError(f"{path}: neither a run of reconstruct.py nor a prepared object{hint}")
    mesh = next((path / name for name in MESHES if (path / name).is_file()), None)
    return Scene(
        title=path.resolve().name,
        views=record.views(),
        sources=tuple(record.names[i] for i in record.source_indices()),
        mesh=None if mesh is None else _glb(mesh),
        truth=_points(record),
        truth_mesh=None if truth is None else _glb(truth),
    )


def _glb(file: Path) -> bytes:
    """A mesh file as GLB. It is read and written anew, so that nothing but a checked mesh reaches the browser."""
    mesh: Mesh = load_mesh(file)
    return encode_glb(mesh, vertex_normals(mesh))


def _points(record: ObjectRecord) -> Points | None:
    if record.sample_counts is None:
        return None
    samples = read_object(record.folder).samples(occupancy=False)
    colours = (samples.surface_colours.numpy() * 255).round().astype(np.uint8)
    return Points(samples.surface_points.numpy(), colours)
