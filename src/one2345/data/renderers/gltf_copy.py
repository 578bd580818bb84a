"""A copy of a glTF file for Blender: self-contained, at rest, and nothing but what the loader has seen of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from one2345.errors import InputError
from one2345.objects import gltf
from one2345.objects.references import FolderResolver

TRIANGLES = 4
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bin")


def copy_gltf(file: Path, root: Path, folder: Path, *, plain: float) -> str:
    """Copy `file`, and what it refers to inside `root`, into `folder`; returns the copy's name there.

    Left out: animations, skins, morph targets, cameras, lights, points and lines, other scenes than the
    default one; so that every renderer draws the same rest pose. Primitives without a material are given a
    matt one: white under vertex colours, else of the linear grey `plain`.

    Raises InputError for a damaged header, and for references that leave `root` or name what isn't there.
    """
    data = file.read_bytes()
    try:
        header = gltf.read_header(data)
        _at_rest(header)
        for material in header.get("materials", []):
            _without_gloss(material)
        _with_materials(header, plain)
        _gather(header, FolderResolver(file, root), folder)
        copied = gltf.with_header(data, header)
    except (InputError, ValueError, AttributeError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise InputError(f"{file}: {error}") from error
    except FileNotFoundError as error:
        raise InputError(f"{file}: refers to {error}, which is not in its folder") from error
    name = "mesh.glb" if copied[:4] == b"glTF" else "mesh.gltf"
    (folder / name).write_bytes(copied)
    return name


def _at_rest(header: dict[str, Any]) -> None:
    for key in ("animations", "skins", "cameras", "extensions"):
        header.pop(key, None)
    scenes = header.get("scenes") or []
    if scenes:
        header["scenes"], header["scene"] = [scenes[header.get("scene", 0)]], 0
    nodes = header.get("nodes", [])
    shown = _reachable(nodes, header["scenes"][0].get("nodes", [])) if scenes else set(range(len(nodes)))
    empty = set()
    for index, mesh in enumerate(header.get("meshes", [])):
        mesh.pop("weights", None)
        faces = [p for p in mesh["primitives"] if p.get("mode", TRIANGLES) >= TRIANGLES]
        for primitive in faces:
            primitive.pop("targets", None)
            primitive.pop("extensions", None)
        if faces:
            mesh["primitives"] = faces
        else:
            empty.add(index)
    for index, node in enumerate(nodes):
        for key in ("skin", "camera", "weights", "extensions"):
            node.pop(key, None)
        if index not in shown or node.get("mesh") in empty:
            node.pop("mesh", None)


def _reachable(nodes: list[dict[str, Any]], roots: list[int]) -> set[int]:
    found, queue = set[int](), list(roots)
    while queue:
        index = queue.pop()
        if index in found:
            raise InputError(f"node {index} of the scene has two parents, or is its own")
        found.add(index)
        queue += nodes[index].get("children", [])
    return found


def _without_gloss(material: dict[str, Any]) -> None:
    """The older description of shiny materials, of which Blender reads less than the loader."""
    gloss = material.get("extensions", {}).pop("KHR_materials_pbrSpecularGlossiness", None)
    if gloss is None:
        return
    base: dict[str, Any] = {
        "metallicFactor": 0.0,
        "roughnessFactor": 1.0 - gloss.get("glossinessFactor", 1.0),
    }
    for theirs, ours in (("diffuseFactor", "baseColorFactor"), ("diffuseTexture", "baseColorTexture")):
        if theirs in gloss:
            base[ours] = gloss[theirs]
    material["pbrMetallicRoughness"] = base


def _with_materials(header: dict[str, Any], plain: float) -> None:
    materials = header.setdefault("materials", [])
    added: dict[float, int] = {}
    for mesh in header.get("meshes", []):
        for primitive in mesh["primitives"]:
            if "material" in primitive:
                continue
            grey = 1.0 if "COLOR_0" in primitive["attributes"] else plain
            if grey not in added:
                added[grey] = len(materials)
                matt = {
                    "metallicFactor": 0.0,
                    "roughnessFactor": 1.0,
                    "baseColorFactor": [grey, grey, grey, 1.0],
                }
                materials.append({"doubleSided": True, "pbrMetallicRoughness": matt})
            primitive["material"] = added[grey]
    if not materials:
        del header["materials"]


def _gather(header: dict[str, Any], resolver: FolderResolver, folder: Path) -> None:
    """Copies of the files that are referred to, under names of our own."""
    for key in ("buffers", "images"):
        for index, entry in enumerate(header.get(key, [])):
            uri = entry.get("uri")
            if uri is None or uri.startswith("data:"):
                continue
            suffix = Path(uri).suffix.lower()
            name = f"{key}-{index}{suffix if suffix in SUFFIXES else ''}"
            (folder / name).write_bytes(resolver.get(uri))
            entry["uri"] = name
