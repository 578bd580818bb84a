"""Any mesh file that trimesh reads, as one `Mesh` in the world's axes (z up), with its base colour."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image

from one2345.errors import InputError
from one2345.geometry import Mesh
from one2345.geometry.conventions import z_up_from_y_up
from one2345.objects import gltf
from one2345.objects.atlas import Part, join
from one2345.objects.file_checks import CHECKS
from one2345.objects.gltf_checks import check_gltf
from one2345.objects.quality import MeshWarning
from one2345.objects.references import FolderResolver
from one2345.objects.texture import linear_to_srgb

FORMATS = ("glb", "gltf", "obj", "ply", "stl", "off")
# glTF is y up by definition, OBJ by custom, PLY as one2345 writes it. STL and OFF come from CAD, where z is
# up.
Y_UP_FORMATS = ("glb", "gltf", "obj", "ply")


def load_mesh(
    path: str | Path,
    *,
    root: str | Path | None = None,
    up: Literal["auto", "y", "z"] = "auto",
    search: Sequence[str | Path] = (),
    texture: str | None = None,
) -> Mesh:
    """The mesh of a GLB, glTF, OBJ, PLY, STL or OFF file, z up, in the file's units; scenes are flattened.

    Colour: the base colour texture (several are packed into one), else the base colour factor or the vertex
    colours, all sRGB. Images are kept as stored; glTF's linear factors and vertex colours are converted.
    Files named by the mesh are read only inside its folder, or inside `root` where given; those that are not
    beside it are looked for in the folders `search` too. texture: name of the image of an OBJ whose material
    library is missing.
    `up` is the file's upward axis; "auto" takes y for glTF, OBJ and PLY, z for STL and OFF.

    Raises InputError that names the file and the cause: not there, not readable, cut short, no faces, NaN
    coordinates, indices out of range, references that leave the folder. Warns (MeshWarning) of missing
    textures.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if not path.is_file():
        raise InputError(
            f"{path}: no such file" if not path.is_dir() else f"{path}: is a folder, not a mesh file"
        )
    if kind not in FORMATS:
        raise InputError(
            f"{path}: mesh files of type {path.suffix!r} are not read; use one of {', '.join(FORMATS)}"
        )
    if up not in ("auto", "y", "z"):
        raise InputError(f"up={up!r}: use 'auto', 'y' or 'z'")
    resolver = FolderResolver(
        path, None if root is None else Path(root), search=[Path(folder) for folder in search]
    )
    try:
        data = path.read_bytes()
        if kind == "obj" and texture is not None:
            resolver.stand_in = _one_texture(data, texture)
        mesh = join(_pieces(data, kind, resolver))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (ValueError, OSError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if resolver.missing:
        warnings.warn(f"{path}: missing files: {', '.join(resolver.missing)}", MeshWarning, stacklevel=2)
    if up == "y" or (up == "auto" and kind in Y_UP_FORMATS):
        mesh = Mesh(z_up_from_y_up(mesh.vertices), mesh.faces, mesh.colours, mesh.uv, mesh.texture)
    return mesh


def _one_texture(data: bytes, texture: str) -> bytes:
    """A material library that gives every material of an OBJ file the same image."""
    names = dict.fromkeys(re.findall(rb"^usemtl[ \t]+(.+?)\s*$", data, re.MULTILINE))
    return b"".join(b"newmtl %s\nmap_Kd %s\n" % (name, texture.encode()) for name in names)


def _pieces(data: bytes, kind: str, resolver: FolderResolver) -> list[Part]:
    """`_parts`; a glTF header that is JSON of another shape than glTF's shows itself in the way it fails."""
    try:
        return _parts(data, kind, resolver)
    except (AttributeError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
        if kind not in ("glb", "gltf"):
            raise
        raise InputError(f"malformed glTF header: {type(error).__name__}: {error}") from error


def _parts(data: bytes, kind: str, resolver: FolderResolver) -> list[Part]:
    """The pieces of a file in its own axes; every check that needs the file's text happens here."""
    if not data:
        raise InputError("the file is empty")
    header = None
    if kind in ("glb", "gltf"):
        header = gltf.read_header(data)
        check_gltf(header, gltf.binary_chunk(data), resolver.get)
        resolver.missing.clear()  # they are asked for again, where they matter
        data = gltf.annotate(data)
    elif kind in CHECKS:
        CHECKS[kind](data)
    scene = _read(data, kind, resolver)
    if resolver.refused:
        raise InputError(f"reference {'; '.join(resolver.refused)}")
    parts = []
    # In the order of the geometries: the scene graph's own depends on how trimesh walks it.
    order = {name: index for index, name in enumerate(scene.geometry)}
    placed = [(order[scene.graph[node][1]], str(node), node) for node in scene.graph.nodes_geometry]
    for _, _, node in sorted(placed, key=lambda item: item[:2]):
        matrix, name = scene.graph[node]
        geometry = scene.geometry[name]
        if isinstance(geometry, trimesh.Trimesh) and len(geometry.faces):
            parts.append(_part(geometry, np.asarray(matrix, dtype=np.float64), header))
    if not parts:
        raise InputError("the file holds no faces")
    return parts


def _read(data: bytes, kind: str, resolver: FolderResolver) -> trimesh.Scene:
    try:
        with np.errstate(all="ignore"):
            return trimesh.load_scene(
                io.BytesIO(data), file_type=kind, resolver=resolver, process=False, maintain_order=True
            )
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"refers to {error}, which is not in its folder") from error
    except MemoryError:
        raise
    # Damaged files fail inside trimesh's parsers in every way that Python knows (IndexError, KeyError,
    # struct.error, AssertionError, ...), so this boundary turns all of them into one error that keeps the
    # cause.
    except Exception as error:
        if resolver.refused:
            raise InputError(f"reference {'; '.join(resolver.refused)}") from error
        detail = str(error) or type(error).__name__
        raise InputError(f"damaged or cut short: {type(error).__name__}: {detail}") from error


def _part(geometry: trimesh.Trimesh, matrix: NDArray[np.float64], header: dict[str, Any] | None) -> Part:
    vertices = np.asarray(geometry.vertices, dtype=np.float64)
    faces = np.asarray(geometry.faces, dtype=np.int64)
    _check_geometry(vertices, faces)
    if not np.isfinite(matrix).all():
        raise InputError("a node's transform holds NaN or infinity")
    vertices = vertices @ matrix[:3, :3].T + matrix[:3, 3]
    if np.linalg.det(matrix[:3, :3]) < 0:
        faces = faces[:, ::-1]
    visual: Any = geometry.visual
    if header is not None:
        colours = _gltf_colours(geometry.vertex_attributes.get(gltf.COLOURS), len(vertices))
        if visual.kind != "texture":
            return Part(vertices, faces, colours=colours)
        return _textured(vertices, faces, visual, header, colours)
    if visual.kind == "face":
        colours = np.repeat(np.asarray(visual.face_colors)[:, :3] / 255.0, 3, axis=0)
        if np.linalg.det(matrix[:3, :3]) < 0:
            colours = colours.reshape(-1, 3, 3)[:, ::-1].reshape(-1, 3)
        corners = np.arange(faces.size, dtype=np.int64).reshape(-1, 3)
        return Part(vertices[faces.reshape(-1)], corners, colours=colours)
    if visual.kind == "vertex":
        return Part(vertices, faces, colours=np.asarray(visual.vertex_colors)[:, :3] / 255.0)
    if visual.kind != "texture":
        return Part(vertices, faces)
    return _textured(vertices, faces, visual, None, None)


def _textured(
    vertices: NDArray[np.float64],
    faces: NDArray[np.int64],
    visual: Any,
    header: dict[str, Any] | None,
    colours: NDArray[np.float64] | None,
) -> Part:
    material = visual.material
    uv = None if visual.uv is None else np.asarray(visual.uv, dtype=np.float64)[:, :2]
    described = None if header is None else gltf.material_of(header, material.name)
    if described is not None:
        image, tint = material.baseColorTexture, _rgb(linear_to_srgb(described.factor))
        if described.textured and image is None:
            warnings.warn(
                "a base colour texture cannot be read; its part is plain", MeshWarning, stacklevel=4
            )
        if described.uv_set != 0:
            warnings.warn(
                "a texture uses a second set of coordinates; the first is used", MeshWarning, stacklevel=4
            )
        uv = None if uv is None else described.apply(uv)
        colours = None if colours is None or (colours > 0.999).all() else colours
    else:
        image = getattr(material, "image", None) or getattr(material, "baseColorTexture", None)
        # Kd as the file has it: trimesh would fill in a grey. Many writers leave Kd black beside a texture.
        diffuse = getattr(material, "kwargs", {}).get("kd")
        tint = None if image is not None or diffuse is None else _rgb(np.broadcast_to(diffuse, 3))
    if uv is not None and (len(uv) != len(vertices) or not np.isfinite(uv).all()):
        raise InputError("texture coordinates are NaN, infinite or not one per vertex")
    if image is not None and uv is None:
        warnings.warn(
            "a textured part has no texture coordinates; its part is plain", MeshWarning, stacklevel=4
        )
        image = None
    return Part(vertices, faces, uv if image is not None else None, _pixels(image), colours, tint)


def _gltf_colours(stored: NDArray[Any] | None, count: int) -> NDArray[np.float64] | None:
    """(n, 3) sRGB of the linear COLOR_0 of n vertices; None if there is none."""
    if stored is None:
        return None
    if stored.shape[0] != count or stored.shape[-1] not in (3, 4):
        raise InputError(f"COLOR_0 has shape {stored.shape} for {count} vertices")
    scale = float(np.iinfo(stored.dtype).max) if stored.dtype.kind == "u" else 1.0
    return linear_to_srgb(stored[:, :3] / scale)


def _rgb(values: NDArray[np.floating]) -> tuple[float, float, float]:
    red, green, blue = (float(x) for x in values)
    return red, green, blue


def _pixels(image: Image.Image | None) -> NDArray[np.uint8] | None:
    """(h, w, 3) uint8 as stored; alpha is dropped."""
    if image is None:
        return None
    try:
        if image.mode.startswith("I"):
            return np.repeat(
                (np.asarray(image).astype(np.int64) >> 8).astype(np.uint8)[..., None], 3, axis=-1
            )
        return np.ascontiguousarray(np.asarray(image.convert("RGB")))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"a texture is damaged: {error}") from error


def _check_geometry(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> None:
    bad = ~np.isfinite(vertices).all(-1)
    if bad.any():
        raise InputError(
            f"{int(bad.sum())} of {len(vertices)} vertices are NaN or infinite (first: {int(bad.argmax())})"
        )
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError(
            f"a face index is out of range: {faces.min()}..{faces.max()} for {len(vertices)} vertices"
        )
