"""Meshes to PLY, OBJ and GLB: the same object in the same pose, y up, whatever the format.

Colours in memory are sRGB. PLY and OBJ keep them as they are (8 bit, and decimals, as every reader of these
formats takes them). glTF defines vertex colours as linear, so GLB gets the linear values, in 16 bit: with 8 a
dark sRGB level would be off by up to 12. Textures are sRGB in every format.
"""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from one2345.errors import InputError
from one2345.files import write_atomic
from one2345.geometry import Mesh, y_up_from_z_up

from .colour import vertex_normals

FORMATS = (".ply", ".obj", ".glb")


def write_mesh(mesh: Mesh, path: str | Path) -> Path:
    """Write `mesh` to `path`; the suffix gives the format. OBJ with texture also writes .mtl and .png.

    World (x, y, z) becomes (x, z, -y), a rotation, in all three formats. PLY has no texture: colours are
    looked up at the vertices instead. Raises InputError for another suffix or a mesh without faces.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: meshes are written as {', '.join(FORMATS)}, not {path.suffix!r}")
    if mesh.is_empty:
        raise InputError(f"{path}: the mesh has no faces, nothing is written")
    if path.suffix.lower() == ".ply":
        write_atomic(path, _ply(mesh))
    elif path.suffix.lower() == ".glb":
        write_atomic(path, _glb(mesh))
    else:
        for name, data in _obj(mesh, path.stem).items():
            write_atomic(path.with_name(name) if name else path, data)
    return path


def srgb_to_linear(srgb: NDArray[np.floating]) -> NDArray[np.float64]:
    """IEC 61966-2-1, values in [0, 1]."""
    c = np.clip(np.asarray(srgb, dtype=np.float64), 0.0, 1.0)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def _textured(mesh: Mesh) -> bool:
    return mesh.texture is not None and mesh.uv is not None


def _ply(mesh: Mesh) -> bytes:
    """Binary little-endian PLY 1.0."""
    colours = mesh.colours
    if mesh.texture is not None and mesh.uv is not None:
        from one2345.objects.texture import sample_texture

        colours = sample_texture(mesh.texture, mesh.uv.astype(np.float64))
    fields: list[tuple[str, Any]] = [("position", "<f4", 3)]  # type: ignore[list-item]
    header = ["ply", "format binary_little_endian 1.0", "comment one2345, y up, colours sRGB"]
    header += [f"element vertex {len(mesh.vertices)}", *(f"property float {a}" for a in "xyz")]
    if colours is not None:
        fields.append(("colour", "u1", 3))  # type: ignore[arg-type]
        header += [f"property uchar {c}" for c in ("red", "green", "blue")]
    header += [f"element face {len(mesh.faces)}", "property list uchar int vertex_indices", "end_header\n"]
    vertex = np.zeros(len(mesh.vertices), np.dtype(fields))
    vertex["position"] = y_up_from_z_up(mesh.vertices)
    if colours is not None:
        vertex["colour"] = _bytes(colours)
    face = np.zeros(len(mesh.faces), np.dtype([("count", "u1"), ("index", "<i4", 3)]))
    face["count"], face["index"] = 3, mesh.faces
    return "\n".join(header).encode() + vertex.tobytes() + face.tobytes()


def _obj(mesh: Mesh, stem: str) -> dict[str, bytes]:
    """Files by name; the empty name is the OBJ itself."""
    textured = _textured(mesh)
    table = y_up_from_z_up(mesh.vertices)
    if mesh.colours is not None and not textured:
        table = np.concatenate([table, mesh.colours.astype(np.float64)], 1)
    row = "v " + " ".join(["%.9g"] * 3 + ["%.6g"] * (table.shape[1] - 3))
    lines = ["# one2345, y up, colours sRGB"]
    files: dict[str, bytes] = {}
    name = _plain(stem)
    if textured:
        lines += [f"mtllib {name}.mtl", "usemtl texture"]
        files[f"{name}.mtl"] = f"newmtl texture\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nmap_Kd {name}.png\n".encode()
        files[f"{name}.png"] = _png(mesh.texture)
    lines += [row % tuple(v) for v in table.tolist()]
    if textured and mesh.uv is not None:
        lines += [f"vt {u:.7g} {v:.7g}" for u, v in mesh.uv.tolist()]
        lines += [f"f {a}/{a} {b}/{b} {c}/{c}" for a, b, c in (mesh.faces + 1).tolist()]
    else:
        lines += [f"f {a} {b} {c}" for a, b, c in (mesh.faces + 1).tolist()]
    return {**files, "": ("\n".join(lines) + "\n").encode()}


def _glb(mesh: Mesh) -> bytes:
    """glTF 2.0 binary: one primitive with normals, a matt material, colours or a texture."""
    position = y_up_from_z_up(mesh.vertices).astype("<f4")
    normals = y_up_from_z_up(vertex_normals(mesh)).astype("<f4")
    normals[np.linalg.norm(normals, axis=1) < 0.5] = (0.0, 1.0, 0.0)
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
        "NORMAL": accessor(normals, 5126, "VEC3", 34962),
    }
    material: dict[str, Any] = {"name": "surface", "doubleSided": True}
    pbr: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    document: dict[str, Any] = {"asset": {"version": "2.0", "generator": "one2345"}}
    if _textured(mesh) and mesh.uv is not None:
        uv = np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], -1).astype("<f4")
        attributes["TEXCOORD_0"] = accessor(uv, 5126, "VEC2", 34962)
        image = view(_png(mesh.texture), None)
        document |= {"images": [{"bufferView": image, "mimeType": "image/png"}]}
        document |= {"textures": [{"source": 0}]}
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


def _bytes(colours: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.rint(np.clip(colours, 0, 1) * 255).astype(np.uint8)


def _png(texture: NDArray[np.uint8] | None) -> bytes:
    assert texture is not None
    buffer = io.BytesIO()
    Image.fromarray(texture).save(buffer, format="PNG")
    return buffer.getvalue()


def _plain(stem: str) -> str:
    """A name that MTL readers, which split at spaces, can follow."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in stem) or "mesh"
