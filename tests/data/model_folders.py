"""Models as others lay them out, made here: a red block of 1 x 2 x 3 that stands on its smallest side, z up."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (1.0, 2.0, 3.0)
RED = (200, 30, 30)


def block_obj(library: str) -> str:
    """Wavefront text with texture coordinates, in the coordinates of Gazebo and MuJoCo (z up)."""
    corners = [(x, y, z) for x in (0, SIZE[0]) for y in (0, SIZE[1]) for z in (0, SIZE[2])]
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    lines = [f"mtllib {library}", "usemtl material_0", "vt 0.5 0.5"]
    lines += [f"v {x} {y} {z}" for x, y, z in corners]
    lines += ["f " + " ".join(f"{corner + 1}/1" for corner in quad) for quad in quads]
    return "\n".join(lines) + "\n"


def texture() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), RED, dtype=np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def official_files(name: str, pad: int = 0) -> dict[str, bytes]:
    """path -> content of a model of the official release. pad: bytes of incompressible ballast."""
    config = f'<?xml version="1.0"?><model><name>{name}</name></model>'
    return {
        "model.config": config.encode(),
        "model.sdf": b"<sdf/>",
        "metadata.pbtxt": f'name: "{name}"\n'.encode(),
        "meshes/model.obj": block_obj("model.mtl").encode(),
        "meshes/model.mtl": b"newmtl material_0\nKd 0 0 0\nmap_Kd texture.png\n",
        "materials/textures/texture.png": texture(),
        "thumbnails/0.jpg": np.random.default_rng(0).bytes(pad) or b"jpg",
    }


def mujoco_files() -> dict[str, bytes]:
    """path -> content of a MuJoCo copy: no material library, collision meshes beside the model."""
    other = block_obj("none.mtl").replace("3.0", "9.0").encode()
    return {
        "model.obj": block_obj("material_0.mtl").encode(),
        "model.xml": b"<mujoco/>",
        "texture.png": texture(),
        "model_collision_0.obj": other,
        "model_collision_1.obj": other,
    }


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()
