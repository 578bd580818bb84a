"""A mesh as glTF 2.0 binary."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from one2345.geometry import Mesh, y_up_from_z_up
from one2345.objects.texture import srgb_to_linear

CLAMP, REPEAT = 33071, 10497


def encode_glb(mesh: Mesh, normals: NDArray[np.floating] | None) -> bytes:
    """The mesh, y up: one primitive with a matt material, colours or a texture.

    normals: (n, 3) unit, of the vertices; zero ones point up. None leaves them out: every face is flat.
    glTF defines vertex colours as linear; they are written in 16 bit.
    """
    position = y_up_from_z_up(mesh.vertices).astype("<f4")
    views: list[dict[str, Any]] = []
    accessors: list[dict[str, Any]] = []
    blob = bytearray()

    def view(data: bytes, target: int | None) -> int:
        blob.extend(b"\0" * (-len(blob) % 4))
        entry = {"buffer": 0, "byteOffset": len(blob), "byteLength": len(data)}
        views.append(entry if target is None else {**entry, "target": target})
        blob.extend(data)
        return len(views) - 1

    def accessor(array: NDArray[Any], component: int, kind: str, target: int, **extra: Any) -> int:
        index = view(array.tobytes(), target)
        accessors.append(
            {"bufferView": index, "componentType": component, "count": len(array), "type": kind, **extra}
        )
        return len(accessors) - 1

    low, high = position.min(0).tolist(), position.max(0).tolist()
    attributes = {
        "POSITION": accessor(position, 5126, "VEC3", 34962, min=low, max=high),
    }
    if normals is not None:
        turned = y_up_from_z_up(normals).astype("<f4")
        turned[np.linalg.norm(turned, axis=1) < 0.5] = (0.0, 1.0, 0.0)
        attributes["NORMAL"] = accessor(turned, 5126, "VEC3", 34962)
    material: dict[str, Any] = {"name": "surface", "doubleSided": True}
    pbr: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    document: dict[str, Any] = {"asset": {"version": "2.0", "generator": "one2345"}}
    if mesh.texture is not None and mesh.uv is not None:
        uv = np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], -1).astype("<f4")
        attributes["TEXCOORD_0"] = accessor(uv, 5126, "VEC2", 34962)
        image = view(encode_texture(mesh.texture), None)
        document |= {"images": [{"bufferView": image, "mimeType": "image/png"}]}
        # Smooth from near and far; an atlas ends at its border, textures that repeat go on.
        wrap = CLAMP if bool(((uv >= 0) & (uv <= 1)).all()) else REPEAT
        document |= {"samplers": [{"magFilter": 9729, "minFilter": 9987, "wrapS": wrap, "wrapT": wrap}]}
        document |= {"textures": [{"source": 0, "sampler": 0}]}
        pbr["baseColorTexture"] = {"index": 0}
    elif mesh.colours is not None:
        linear = np.rint(srgb_to_linear(mesh.colours) * 65535)
        rgba = np.concatenate([linear, np.full((len(linear), 1), 65535)], 1).astype("<u2")
        attributes["COLOR_0"] = accessor(rgba, 5123, "VEC4", 34962, normalized=True)
    index = accessor(mesh.faces.astype("<u4").reshape(-1), 5125, "SCALAR", 34963)
    blob.extend(b"\0" * (-len(blob) % 4))
    document |= {
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": index, "material": 0}]}],
        "materials": [{**material, "pbrMetallicRoughness": pbr}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(blob)}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    size = 12 + 8 + len(text) + 8 + len(blob)
    return (
        struct.pack("<4sII", b"glTF", 2, size)
        + struct.pack("<I4s", len(text), b"JSON") + text
        + struct.pack("<I4s", len(blob), b"BIN\0") + bytes(blob)
    )  # fmt: skip


def encode_texture(texture: NDArray[np.uint8]) -> bytes:
    """A texture (h, w, 3) as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(texture).save(buffer, format="PNG")
    return buffer.getvalue()
