"""Which mesh files a folder holds, and what their surroundings say of them: id, upward axis, textures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from one2345.errors import InputError

Axis = Literal["auto", "y", "z"]

MESH_SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")
# What lies beside the folder meshes/ of a Gazebo model; the official release of Google Scanned Objects is made of
# such models (Downs et al., ICRA 2022).
GAZEBO_MARKS = ("model.config", "model.sdf", "metadata.pbtxt", "materials", "thumbnails")
COLLISION = "model_collision_*.obj"
OBJAVERSE_UID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class MeshFile:
    """The mesh file of one object.

    root: the outermost folder that its references may point to. layout: 'gazebo', 'mujoco' or 'plain'.
    up: axis of the file by its layout, 'auto' where that says nothing. search, texture: see `load_mesh`.
    """

    file: Path
    root: Path
    layout: str = "plain"
    up: Axis = "auto"
    search: tuple[Path, ...] = ()
    texture: str | None = None


def mesh_file(file: Path, root: Path) -> MeshFile:
    """What the surroundings of `file`, inside `root`, say of it.

    Gazebo and MuJoCo are z up, and take the coordinates of an OBJ as they stand; glTF states its own axis.
    The material libraries of Gazebo models name images that lie in materials/textures/. The MuJoCo copies of
    Google Scanned Objects come without the library that model.obj names: their model.xml gives every material
    the image texture.png.
    """
    folder = file.parent
    if folder.name == "meshes" and _marked(folder.parent) and folder != root:
        textures = folder.parent / "materials" / "textures"
        up: Axis = "auto" if file.suffix.lower() in (".glb", ".gltf") else "z"
        return MeshFile(file, folder.parent, "gazebo", up, (textures,) if textures.is_dir() else ())
    if _is_mujoco(folder) and file.name == "model.obj":
        texture = "texture.png" if (folder / "texture.png").is_file() else None
        return MeshFile(file, folder, "mujoco", "z", texture=texture)
    return MeshFile(file, root)


def model_in(folder: Path) -> MeshFile | None:
    """The visual mesh of a folder that is a Gazebo or MuJoCo model; None for any other.

    Raises InputError where two files could be it.
    """
    if _is_mujoco(folder):
        return mesh_file(folder / "model.obj", folder)
    if not (folder / "meshes").is_dir() or not _marked(folder):
        return None
    files = sorted(p for p in (folder / "meshes").iterdir() if p.suffix.lower() in MESH_SUFFIXES)
    visual = [file for file in files if "collision" not in file.stem.lower()]
    if folder / "meshes/model.obj" in visual:
        visual = [folder / "meshes/model.obj"]
    if len(visual) > 1:
        raise InputError(f"{visual[0]} and {visual[1]} could both be the mesh of {folder.name!r}: keep one")
    return mesh_file(visual[0], folder) if visual else None


def find_mesh_files(root: Path) -> dict[str, MeshFile]:
    """id -> file of every object below `root`; hidden folders are left out.

    A Gazebo or MuJoCo model is one object, named by its folder. Other files are named by their stem; unless
    each of them lies alone in a folder of its own, which then names it (`<id>/mesh.obj`; also one folder up,
    `<id>/google_16k/textured.obj`, where the inner folders are all named alike). Files of Objaverse keep
    their uid.

    Raises InputError that names both files where one id would fit two, or one object has two files.
    """
    if model_in(root) is not None:
        raise InputError(f"{root}: is the folder of one model; name the folder above it")
    found: dict[str, MeshFile] = {}
    plain: list[Path] = []
    for item in _walk(root, root):
        if isinstance(item, MeshFile):
            _add(found, item.root.name, item)
        else:
            plain.append(item)
    for id, file in _named(plain, root):
        _add(found, id, MeshFile(file, root))
    return dict(sorted(found.items()))


def _walk(folder: Path, root: Path) -> Iterator[MeshFile | Path]:
    """Models, and mesh files that belong to none, in a stable order."""
    if folder != root and (model := model_in(folder)) is not None:
        yield model
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if not path.name.startswith(".") and not path.is_symlink():
                yield from _walk(path, root)
        elif path.suffix.lower() in MESH_SUFFIXES and path.is_file():
            yield path


def _marked(folder: Path) -> bool:
    return any((folder / mark).exists() for mark in GAZEBO_MARKS) or (folder / "meshes/model.obj").is_file()


def _is_mujoco(folder: Path) -> bool:
    """Whether it holds model.obj with the description or the collision meshes of a MuJoCo model."""
    if not (folder / "model.obj").is_file():
        return False
    return (folder / "model.xml").is_file() or next(folder.glob(COLLISION), None) is not None


def _named(files: list[Path], root: Path) -> Iterator[tuple[str, Path]]:
    """(id, file) of files in no known layout."""
    parts = [file.relative_to(root).parts[:-1] for file in files]
    alone = len(set(parts)) == len(files) and () not in parts
    level = -1
    while (
        alone
        and len(files) > 1
        and len({p[level] for p in parts}) == 1
        and all(len(p) > -level for p in parts)
    ):
        level -= 1
    for file, folders in zip(files, parts):
        uid = OBJAVERSE_UID.fullmatch(file.stem)
        yield (folders[level] if alone and not uid else file.stem), file


def _add(found: dict[str, MeshFile], id: str, file: MeshFile) -> None:
    if id in found:
        raise InputError(
            f"{found[id].file} and {file.file} would both be the object {id!r}: rename one, or list both in a "
            "manifest.csv"
        )
    found[id] = file
