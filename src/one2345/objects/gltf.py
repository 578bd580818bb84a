"""What trimesh does not tell about a glTF file: the header's own description of each material."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from one2345.errors import InputError

_MAGIC, _JSON, _BINARY = 0x46546C67, 0x4E4F534A, 0x004E4942
_PREFIX = "material:"
# A leading underscore marks an attribute of the application's own.
COLOURS = "_ONE2345_COLOUR"
# A header of this many bytes describes a hundred thousand nodes; a .gltf may also hold its buffers.
MOST_HEADER, MOST_TEXT = 1 << 26, 1 << 29


@dataclass(frozen=True)
class GltfMaterial:
    """Base colour of a material: linear factor (3,), whether it names a texture, how uv is transformed."""

    factor: tuple[float, float, float]
    textured: bool
    uv_set: int
    transform: dict[str, Any]

    def apply(self, uv: NDArray[np.floating]) -> NDArray[np.float64]:
        """uv (n, 2), v up, under KHR_texture_transform: scaled, rotated, moved in v-down coordinates."""
        u, v = np.asarray(uv, dtype=np.float64).T
        if not self.transform:
            return np.stack([u, v], -1)
        scale, offset = self.transform.get("scale", [1, 1]), self.transform.get("offset", [0, 0])
        angle = self.transform.get("rotation", 0.0)
        u, v = u * scale[0], (1 - v) * scale[1]
        cos, sin = math.cos(angle), math.sin(angle)
        return np.stack([cos * u + sin * v + offset[0], 1 - (-sin * u + cos * v + offset[1])], -1)


def read_header(data: bytes) -> dict[str, Any]:
    """The JSON of a .glb or .gltf file. InputError if the file is cut short or not glTF 2."""
    if data[:4] != b"glTF":
        if len(data) > MOST_TEXT:
            raise InputError(f"a .gltf of {len(data)} bytes; at most {MOST_TEXT} are read")
        try:
            header = json.loads(data.decode("utf-8-sig"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise InputError(f"not a glTF file: {error}") from error
    else:
        header = json.loads(_chunks(data)[0])
    if not isinstance(header, dict) or not str(header.get("asset", {}).get("version", "")).startswith("2"):
        raise InputError("not glTF 2: the header names no asset version 2.x")
    return header


def annotate(data: bytes) -> bytes:
    """The same file, changed so that nothing is lost in trimesh.

    Every material is named by its index, so that it can be found in the header again; vertex colours are also
    given as the attribute COLOURS, which trimesh leaves in its own type (it rounds COLOR_0 to 8 bits).
    """
    header = read_header(data)
    for index, material in enumerate(header.get("materials", [])):
        material["name"] = f"{_PREFIX}{index}"
    for mesh in header.get("meshes", []):
        for primitive in mesh.get("primitives", []):
            attributes = primitive.get("attributes", {})
            if "COLOR_0" in attributes:
                attributes[COLOURS] = attributes["COLOR_0"]
    return with_header(data, header)


def with_header(data: bytes, header: dict[str, Any]) -> bytes:
    """The same .glb or .gltf file with another header; the other chunks stay."""
    text = json.dumps(header).encode()
    if data[:4] != b"glTF":
        return text
    text += b" " * (-len(text) % 4)
    rest = _chunks(data)[1]
    length = 12 + 8 + len(text) + len(rest)
    return struct.pack("<III", _MAGIC, 2, length) + struct.pack("<II", len(text), _JSON) + text + rest


def material_of(header: dict[str, Any], name: str | None) -> GltfMaterial | None:
    """The header's entry of a material that `annotate` named; None for a primitive without material."""
    if not name or not name.startswith(_PREFIX):
        return None
    entry = header["materials"][int(name.removeprefix(_PREFIX))]
    base = entry.get("pbrMetallicRoughness", {})
    gloss = entry.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness")
    if gloss is not None:
        factor, texture = gloss.get("diffuseFactor", [1, 1, 1, 1]), gloss.get("diffuseTexture")
    else:
        factor, texture = base.get("baseColorFactor", [1, 1, 1, 1]), base.get("baseColorTexture")
    transform = (texture or {}).get("extensions", {}).get("KHR_texture_transform", {})
    uv_set = transform.get("texCoord", (texture or {}).get("texCoord", 0))
    red, green, blue = (float(x) for x in factor[:3])
    return GltfMaterial(
        factor=(red, green, blue), textured=texture is not None, uv_set=uv_set, transform=transform
    )


def binary_chunk(data: bytes) -> bytes:
    """The content of a GLB's binary chunk; empty for a .gltf or a GLB without one."""
    if data[:4] != b"glTF":
        return b""
    rest = _chunks(data)[1]
    if len(rest) < 8:
        return b""
    size, kind = struct.unpack_from("<II", rest)
    return rest[8 : 8 + size] if kind == _BINARY else b""


def _chunks(data: bytes) -> tuple[bytes, bytes]:
    """The JSON chunk's bytes, and everything after it."""
    if len(data) < 20:
        raise InputError(f"truncated: {len(data)} bytes are too few for a GLB header")
    _, version, length = struct.unpack_from("<III", data)
    if version != 2:
        raise InputError(f"GLB version {version}; only version 2 is read")
    if length > len(data):
        raise InputError(f"truncated: the header promises {length} bytes, the file has {len(data)}")
    size, kind = struct.unpack_from("<II", data, 12)
    if kind != _JSON or 20 + size > len(data):
        raise InputError("damaged: the first chunk of the GLB is not JSON")
    if size > MOST_HEADER:
        raise InputError(f"the header takes {size} bytes; at most {MOST_HEADER} are read")
    return data[20 : 20 + size], data[20 + size : length]
