"""How much of a glTF file's surface each material covers, by header and binary chunk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from one2345.objects.gltf_checks import COMPONENTS, faces_of

_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}


def opacity_of(material: dict[str, Any]) -> float:
    """Share of the light that a material keeps back, by its factors; textures are not looked at."""
    opacity = 1.0
    if material.get("alphaMode") == "BLEND":
        base = material.get("pbrMetallicRoughness", {}).get("baseColorFactor")
        gloss = material.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness", {})
        opacity = float((gloss.get("diffuseFactor") or base or [1, 1, 1, 1])[3])
    glass = material.get("extensions", {}).get("KHR_materials_transmission", {})
    return opacity * (1 - float(glass.get("transmissionFactor", 0)))


def material_areas(header: dict[str, Any], blob: bytes) -> dict[int | None, float]:
    """Area (in the scene's units) per material, None for none; the scene graph must be a forest.

    Where positions lie in other files, the numbers of faces stand in for all areas.
    """
    areas: dict[int | None, float] = {}
    counts: dict[int | None, float] = {}
    readable = True
    for matrix, mesh in placed_meshes(header):
        for primitive in header["meshes"][mesh].get("primitives", []):
            material, faces = primitive.get("material"), faces_of(header, primitive)
            counts[material] = counts.get(material, 0.0) + faces
            if not faces or not readable:
                continue
            area = _area(header, blob, primitive, matrix)
            readable = area is not None
            areas[material] = areas.get(material, 0.0) + (area or 0.0)
    return areas if readable else counts


def placed_meshes(header: dict[str, Any]) -> Iterator[tuple[NDArray[np.float64], int]]:
    """Every mesh that the scene places, with its (4, 4) matrix."""
    nodes = header.get("nodes", [])
    scenes = header.get("scenes", [])
    below = {child for node in nodes for child in node.get("children", [])}
    roots = [index for index in range(len(nodes)) if index not in below]
    if scenes:
        roots = scenes[header.get("scene", 0)].get("nodes", [])
    todo = [(index, np.eye(4)) for index in roots]
    while todo:
        index, above = todo.pop()
        node = nodes[index]
        matrix = above @ _matrix(node)
        if "mesh" in node:
            yield matrix, node["mesh"]
        todo += [(child, matrix) for child in node.get("children", [])]


def _area(
    header: dict[str, Any], blob: bytes, primitive: dict[str, Any], matrix: NDArray[np.float64]
) -> float | None:
    """Area of a primitive's triangles, None where they can't be read here."""
    points = _values(header, blob, primitive["attributes"]["POSITION"])
    order = _values(header, blob, primitive["indices"]) if "indices" in primitive else None
    if points is None or ("indices" in primitive and order is None):
        return None
    corners = np.arange(len(points)) if order is None else order[:, 0].astype(np.int64)
    mode = primitive.get("mode", 4)
    if mode == 4:
        faces = corners[: len(corners) // 3 * 3].reshape(-1, 3)
    elif mode == 5:
        faces = np.stack([corners[:-2], corners[1:-1], corners[2:]], axis=-1)
    else:
        faces = np.stack([np.broadcast_to(corners[0], len(corners) - 2), corners[1:-1], corners[2:]], axis=-1)
    a, b, c = (points @ matrix[:3, :3].T)[faces].transpose(1, 0, 2)
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=-1).sum() / 2)


def _values(header: dict[str, Any], blob: bytes, index: int) -> NDArray[np.float64] | None:
    """(count, components) of an accessor of the binary chunk."""
    accessor = header["accessors"][index]
    if "bufferView" not in accessor or "sparse" in accessor:
        return None
    view = header["bufferViews"][accessor["bufferView"]]
    if "uri" in header["buffers"][view["buffer"]]:
        return None
    kind, width = np.dtype(_TYPES[accessor["componentType"]]), COMPONENTS[accessor["type"]]
    stride = view.get("byteStride") or kind.itemsize * width
    start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    # Raises where the header claims more than there is, or strides that are none.
    return np.ndarray(
        (accessor["count"], width), kind, blob, offset=start, strides=(stride, kind.itemsize)
    ).astype(np.float64)


def _matrix(node: dict[str, Any]) -> NDArray[np.float64]:
    """(4, 4) of a node: its matrix (by columns), or translation @ rotation (x, y, z, w) @ scale."""
    if "matrix" in node:
        return np.asarray(node["matrix"], dtype=np.float64).reshape(4, 4).T
    x, y, z, w = node.get("rotation", (0.0, 0.0, 0.0, 1.0))
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, :3] *= np.asarray(node.get("scale", (1.0, 1.0, 1.0)), dtype=np.float64)
    matrix[:3, 3] = node.get("translation", (0.0, 0.0, 0.0))
    return matrix
