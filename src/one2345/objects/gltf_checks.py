"""Claims of a glTF header that are refused before anything is made of them: sizes, counts, the scene graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from one2345.errors import InputError
from one2345.objects.image_checks import check_image

MOST_NODES = 100_000
DEEPEST = 1000
# After every instance of every mesh is counted: 33.5 million triangles or corners.
MOST_FACES = MOST_VERTICES = 1 << 25
# Buffer views may overlap, but each one is copied.
MOST_OVERLAP = 16
COMPRESSED = ("KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression")
COMPONENT_BYTES = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_CORNERS_OF_A_FACE = {4: 3, 5: 1, 6: 1}  # triangles, strip, fan


def check_gltf(header: dict[str, Any], blob: bytes, read: Callable[[str], bytes]) -> None:
    """Refuse (InputError) a header that claims more than its file holds, or more than is taken.

    blob: the content of a GLB's binary chunk. read: gives the content of a file that the header names.
    Malformed entries raise KeyError, TypeError or AttributeError, as they would further on.
    """
    for name in COMPRESSED:
        if name in header.get("extensionsRequired", []):
            raise InputError(f"its geometry is compressed ({name}), which is not read")
    check_graph(header)
    sizes = _buffer_sizes(header, blob)
    _check_views(header, sizes)
    for index in range(len(header.get("accessors", []))):
        _check_accessor(header, index)
    faces, vertices = count_instances(header)
    if faces > MOST_FACES or vertices > MOST_VERTICES:
        raise InputError(
            f"the header states {faces} faces and {vertices} vertices; at most {MOST_FACES} are read"
        )
    for index, image in enumerate(header.get("images", [])):
        content = _image(header, image, blob, read)
        if content is not None:
            check_image(content, str(image.get("name") or index))


def check_graph(header: dict[str, Any]) -> None:
    """Refuse a scene graph that is no forest: a node below itself, or below two others."""
    nodes = header.get("nodes", [])
    if len(nodes) > MOST_NODES:
        raise InputError(f"the scene graph has {len(nodes)} nodes; at most {MOST_NODES} are read")
    parent: dict[int, int] = {}
    for index, node in enumerate(nodes):
        for child in node.get("children", []):
            if not isinstance(child, int) or not 0 <= child < len(nodes):
                raise InputError(f"node {index} has a child {child!r}, which is no node")
            if child in parent:
                raise InputError(
                    f"node {child} of the scene graph has two parents, {parent[child]} and {index}"
                )
            parent[child] = index
    depth: dict[int, int] = {}
    for index in range(len(nodes)):
        way, at = [], index
        while at not in depth:
            way.append(at)
            if len(way) > len(nodes):
                raise InputError(f"the scene graph is cyclic: node {index} lies below itself")
            if at not in parent:
                break
            at = parent[at]
        above = depth.get(at, 0)
        for step, node in enumerate(reversed(way), start=1):
            depth[node] = above + step
        if depth[index] > DEEPEST:
            raise InputError(f"the scene graph is more than {DEEPEST} nodes deep")


def count_instances(header: dict[str, Any]) -> tuple[int, int]:
    """Triangles and vertices of the header's meshes, each as often as a node places it (once at least)."""
    placed: dict[int, int] = {}
    for node in header.get("nodes", []):
        if "mesh" in node:
            placed[node["mesh"]] = placed.get(node["mesh"], 0) + 1
    faces = vertices = 0
    for index, mesh in enumerate(header.get("meshes", [])):
        times = max(placed.get(index, 0), 1)
        for primitive in mesh.get("primitives", []):
            faces += times * faces_of(header, primitive)
            vertices += times * _count(header, primitive.get("attributes", {}).get("POSITION"))
    return faces, vertices


def faces_of(header: dict[str, Any], primitive: dict[str, Any]) -> int:
    """Triangles of a primitive by its header; 0 for points and lines."""
    corners = _CORNERS_OF_A_FACE.get(primitive.get("mode", 4))
    if corners is None:
        return 0
    count = _count(header, primitive.get("indices", primitive.get("attributes", {}).get("POSITION")))
    return count // 3 if corners == 3 else max(count - 2, 0)


def _count(header: dict[str, Any], accessor: int | None) -> int:
    return 0 if accessor is None else int(header["accessors"][accessor]["count"])


def _buffer_sizes(header: dict[str, Any], blob: bytes) -> list[int | None]:
    """Bytes of each buffer; None for those in other files, whose real content is all that is ever read."""
    sizes: list[int | None] = []
    for index, buffer in enumerate(header.get("buffers", [])):
        stated, uri = _whole(buffer["byteLength"], f"buffer {index}, byteLength"), buffer.get("uri")
        if uri is None:
            if stated > len(blob):
                raise InputError(
                    f"truncated: buffer {index} states {stated} bytes, the file holds {len(blob)}"
                )
            sizes.append(stated)
        else:
            sizes.append(3 * len(uri) // 4 if str(uri).startswith("data:") else None)
    return sizes


def _check_views(header: dict[str, Any], sizes: list[int | None]) -> None:
    views = header.get("bufferViews", [])
    total = 0
    for index, view in enumerate(views):
        length = _whole(view["byteLength"], f"bufferView {index}, byteLength")
        end = _whole(view.get("byteOffset", 0), f"bufferView {index}, byteOffset") + length
        size = sizes[view["buffer"]]
        if size is not None and end > size:
            raise InputError(f"bufferView {index} ends at byte {end} of a buffer of {size} bytes")
        total += length
    known = sum(size for size in sizes if size is not None)
    if None not in sizes and total > MOST_OVERLAP * known:
        raise InputError(f"buffer views of {total} bytes altogether cover buffers of {known} bytes")


def _check_accessor(header: dict[str, Any], index: int) -> None:
    accessor = header["accessors"][index]
    count = _whole(accessor["count"], f"accessor {index}, count")
    size = COMPONENTS[accessor["type"]] * COMPONENT_BYTES[accessor["componentType"]]
    if count > MOST_FACES * 3:
        raise InputError(f"accessor {index} states {count} items; at most {MOST_FACES * 3} are read")
    if "bufferView" not in accessor:
        # All zero: it takes no room in the file, however large it is.
        if count > MOST_VERTICES:
            raise InputError(f"accessor {index} states {count} items of no content")
        return
    view = header["bufferViews"][accessor["bufferView"]]
    stride = _whole(view.get("byteStride", 0), f"bufferView {accessor['bufferView']}, byteStride") or size
    start = _whole(accessor.get("byteOffset", 0), f"accessor {index}, byteOffset")
    needed = start + (count - 1) * stride + size if count else 0
    if needed > view["byteLength"]:
        raise InputError(
            f"accessor {index} states {count} items, which need {needed} bytes; "
            f"its bufferView has {view['byteLength']}"
        )


def _image(
    header: dict[str, Any], image: dict[str, Any], blob: bytes, read: Callable[[str], bytes]
) -> bytes | None:
    """The bytes of an image; None where they are not there."""
    if "bufferView" in image:
        view = header["bufferViews"][image["bufferView"]]
        if "uri" in header["buffers"][view["buffer"]]:
            return None
        start = view.get("byteOffset", 0)
        return blob[start : start + view["byteLength"]]
    uri = image.get("uri")
    if not isinstance(uri, str):
        return None
    if uri.startswith("data:"):
        return _data_uri(uri)
    try:
        return read(uri)
    except FileNotFoundError:
        return None


def _data_uri(uri: str) -> bytes | None:
    import base64

    kind, _, body = uri.partition(",")
    try:
        return base64.b64decode(body) if kind.endswith(";base64") else unquote_to_bytes(body)
    except ValueError:
        return None


def _whole(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InputError(f"{what} is {str(value)[:40]!r}, not a number of bytes or items")
    return value
