"""Meshes to PLY, OBJ, GLB and USDZ: the same object in the same pose, y up, whatever the format.

Colours in memory are sRGB. PLY and OBJ keep them as they are (8 bit, and decimals, as every reader of these
formats takes them). glTF and USD define vertex colours as linear, so GLB and USDZ get the linear values, GLB in 16 bit:
with 8 a dark sRGB level would be off by up to 12. Textures are sRGB in every format.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from one2345.errors import InputError
from one2345.files import write_atomic
from one2345.geometry import Mesh, y_up_from_z_up
from one2345.objects.glb import encode_glb, encode_texture

from .texture.normals import smooth_normals
from .usdz import encode_usdz

FORMATS = (".ply", ".obj", ".glb", ".usdz")


def write_mesh(mesh: Mesh, path: str | Path) -> Path:
    """Write `mesh` to `path`; the suffix gives the format. OBJ with texture also writes .mtl and .png.

    World (x, y, z) becomes (x, z, -y), a rotation, in all formats. PLY has no texture: colours are
    looked up at the vertices instead. USDZ needs the extra `usd`. Raises InputError for another suffix, a mesh without
    faces, and where that extra is missing.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: meshes are written as {', '.join(FORMATS)}, not {path.suffix!r}")
    if mesh.is_empty:
        raise InputError(f"{path}: the mesh has no faces, nothing is written")
    if path.suffix.lower() == ".ply":
        write_atomic(path, _ply(mesh))
    elif path.suffix.lower() == ".glb":
        write_atomic(path, encode_glb(mesh, smooth_normals(mesh)))
    elif path.suffix.lower() == ".usdz":
        write_atomic(path, encode_usdz(mesh, smooth_normals(mesh)))
    else:
        for name, data in _obj(mesh, path.stem).items():
            write_atomic(path.with_name(name) if name else path, data)
    return path


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
    if textured and mesh.texture is not None:
        lines += [f"mtllib {name}.mtl", "usemtl texture"]
        files[f"{name}.mtl"] = f"newmtl texture\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nmap_Kd {name}.png\n".encode()
        files[f"{name}.png"] = encode_texture(mesh.texture)
    lines += [row % tuple(v) for v in table.tolist()]
    if textured and mesh.uv is not None:
        lines += [f"vt {u:.7g} {v:.7g}" for u, v in mesh.uv.tolist()]
        lines += [f"vn {x:.5g} {y:.5g} {z:.5g}" for x, y, z in y_up_from_z_up(smooth_normals(mesh)).tolist()]
        lines += [f"f {a}/{a}/{a} {b}/{b}/{b} {c}/{c}/{c}" for a, b, c in (mesh.faces + 1).tolist()]
    else:
        lines += [f"f {a} {b} {c}" for a, b, c in (mesh.faces + 1).tolist()]
    return {**files, "": ("\n".join(lines) + "\n").encode()}


def _bytes(colours: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.rint(np.clip(colours, 0, 1) * 255).astype(np.uint8)


def _plain(stem: str) -> str:
    """A name that MTL readers, which split at spaces, can follow."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in stem) or "mesh"
