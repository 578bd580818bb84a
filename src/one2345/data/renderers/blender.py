"""Pictures by Blender, which runs in another interpreter: one process per object, with limits."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from one2345.errors import InputError
from one2345.geometry import Y_UP_FROM_Z_UP, Cameras, Mesh, camera_rays
from one2345.objects import Render
from one2345.objects.glb import encode_glb
from one2345.objects.texture import linear_to_srgb, srgb_to_linear

from ..sources.base import LoadedObject
from .gltf_copy import copy_gltf
from .limits import Limits, run_limited

VERSION = 1
"""Raised whenever the same job would give other pixels."""

SCENE = Path(__file__).with_name("blender_scene.py")
JOB, RESULT = "job.json", "views.f32"
CHANNELS = 8
# Cells along the longest edge of the mesh that stands in for an analytic shape.
SHAPE_CELLS = 192
# What Blender maps without using it, MB, beside the memory it is allowed.
LIBRARIES_MB = 8192
HINT = "`make blender-env` makes one, .venv-blender/bin/python"
CHOICES = {
    "engine": ("cycles", "eevee"),
    "device": ("cpu", "cuda", "optix"),
    "surface": ("asset", "albedo"),
}


@dataclass(frozen=True, kw_only=True)
class BlenderRenderer:
    """An environment of uniform light, and the materials of the object's own file.

    python: the interpreter that has bpy. engine: 'cycles', or 'eevee', a rasteriser that needs OpenGL or Vulkan
    (without a GPU it is slower than Cycles). samples: light paths per pixel. device: 'cpu', 'cuda' or 'optix'.
    surface: 'asset' for the materials of the file; 'albedo' draws base colours as they are, without light, like
    the ray caster. light_strength, light_colour (linear RGB): of the environment. bounces: of a light path.
    denoise: smooth the noise of few samples. threads: per process. timeout, seconds, and memory_mb: an object
    that takes more is given up.

    glTF files are drawn from a copy (see `gltf_copy`); other files and analytic shapes from their mesh, written
    as glTF. The mask is Blender's alpha (box filter of one pixel); depth and face normals come from rays
    through the pixels' centres. Colours are sRGB without any view transform, over white.
    Raises InputError for unknown values, and where `python` is no file.
    """

    python: str | Path | None
    engine: str = "cycles"
    samples: int = 64
    device: str = "cpu"
    surface: str = "asset"
    light_strength: float = 1.0
    light_colour: Sequence[float] = (1.0, 1.0, 1.0)
    bounces: int = 4
    denoise: bool = False
    threads: int = 1
    timeout: float = 300.0
    memory_mb: float = 8192.0

    def __post_init__(self) -> None:
        if self.python is None:
            raise InputError(f"render.python is not given: the interpreter that has bpy; {HINT}")
        # Not resolved: the python of an environment is a link, and known by where the link lies.
        python = Path(self.python).expanduser().absolute()
        if not python.is_file() or not os.access(python, os.X_OK):
            raise InputError(f"render.python={self.python}: is no interpreter; {HINT}")
        object.__setattr__(self, "python", str(python))
        object.__setattr__(self, "light_colour", tuple(float(c) for c in self.light_colour))
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise InputError(f"render.{name}={getattr(self, name)!r}: use one of {', '.join(known)}")
        for name in ("samples", "threads", "timeout", "memory_mb"):
            if not getattr(self, name) > 0:
                raise InputError(f"render.{name}={getattr(self, name)}: must be positive")
        if self.light_strength < 0 or self.bounces < 0:
            raise InputError("render.light_strength and render.bounces must not be negative")
        if len(self.light_colour) != 3 or min(self.light_colour) < 0:
            raise InputError(f"render.light_colour={list(self.light_colour)}: three numbers, none negative")

    def describe(self) -> dict[str, Any]:
        """With Blender's version. Raises InputError where the interpreter has no bpy."""
        return {
            "kind": "blender",
            "version": VERSION,
            "blender": blender_version(str(self.python)),
            "engine": self.engine,
            "samples": self.samples,
            "surface": self.surface,
            "light_strength": self.light_strength,
            "light_colour": list(self.light_colour),
            "bounces": self.bounces,
            "denoise": self.denoise,
        }

    def render(self, loaded: LoadedObject, cameras: Cameras) -> Render:
        cameras = cameras.to("cpu")
        id, (height, width) = loaded.object.id, cameras.size
        with TemporaryDirectory(prefix="one2345-blender-") as name:
            folder = Path(name)
            job = self.job(loaded, cameras, folder)
            (folder / JOB).write_text(json.dumps(job), encoding="utf-8")
            expected = 4 * CHANNELS * len(cameras) * height * width
            limits = Limits(
                seconds=self.timeout,
                memory_mb=self.memory_mb,
                # A GPU's driver maps address space by the terabyte.
                address_mb=self.memory_mb + LIBRARIES_MB if self.device == "cpu" else None,
                file_mb=(expected + 64 * height * width) / 2**20 + 64,
            )
            command = [str(self.python), "-I", str(SCENE), str(folder / JOB)]
            try:
                run_limited(command, folder=folder, limits=limits, env=_environment(folder))
                views = _read(folder / RESULT, expected, (len(cameras), height, width, CHANNELS))
            except InputError as error:
                raise InputError(f"{id}: Blender {error}") from error
        return _as_render(views, cameras)

    def job(self, loaded: LoadedObject, cameras: Cameras, folder: Path) -> dict[str, Any]:
        """What the process is told, as plain values; the mesh is written into `folder`.

        cameras (v,): OpenCV axes, K in pixels without skew. to_world: (4, 4) from the file's axes as Blender
        turns them (z up) to the world. bounds: (2, 3) of the object there.
        Raises InputError for a skewed K, or a file that can't be copied.
        """
        if cameras.K[:, 0, 1].any() or cameras.K[:, 1, 0].any():
            raise InputError(f"{loaded.object.id}: Blender's cameras know no skew")
        mesh, to_world, bounds = _scene_file(loaded, folder)
        return {
            "parent": os.getpid(),
            "mesh": mesh,
            "result": RESULT,
            "to_world": to_world.tolist(),
            "bounds": bounds.tolist(),
            "size": list(cameras.size),
            "cameras": [{"K": K.tolist(), "c2w": c.tolist()} for K, c in zip(cameras.K, cameras.c2w)],
            **{key: getattr(self, key) for key in ("engine", "samples", "device", "surface", "bounces")},
            **{key: getattr(self, key) for key in ("denoise", "threads", "light_strength")},
            "light_colour": list(self.light_colour),
        }


@functools.lru_cache
def blender_version(python: str) -> str:
    """Version of the Blender that an interpreter has. Raises InputError where it has none; some seconds."""
    try:
        done = subprocess.run(
            [python, "-I", str(SCENE), "--version"], capture_output=True, text=True, timeout=60,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"render.python={python}: does not run ({error}); {HINT}") from error
    found = re.search(r"^(\d+\.\d+\.\d+)", done.stdout, re.MULTILINE)
    if done.returncode != 0 or found is None:
        words = (done.stderr.strip().splitlines() or ["it says no version"])[-1][:200]
        raise InputError(f"render.python={python}: has no working bpy ({words}); {HINT}")
    return found[1]


def _scene_file(loaded: LoadedObject, folder: Path) -> tuple[str, NDArray[np.float64], NDArray[np.float64]]:
    """Name in `folder`, to_world and bounds of what Blender imports, which it turns z up itself."""
    from one2345.objects.mesh_object import PLAIN

    item: Any = loaded.object
    mesh = getattr(item, "mesh", None)
    asset = loaded.asset
    if isinstance(mesh, Mesh) and asset is not None and asset.file.suffix.lower() in (".glb", ".gltf"):
        coloured = mesh.colours is not None or mesh.texture is not None
        plain = 1.0 if coloured else float(srgb_to_linear(np.array(PLAIN)))
        name = copy_gltf(asset.file, asset.root, folder, plain=plain)
        return name, asset.to_world @ Y_UP_FROM_Z_UP, mesh.bounds
    normals = None
    if callable(mesh):
        mesh = item.mesh(SHAPE_CELLS)
        points = torch.from_numpy(mesh.vertices).float()
        normals = torch.nn.functional.normalize(item.programs.gradient_at(points)[1], dim=-1).numpy()
    if not isinstance(mesh, Mesh):
        raise InputError(f"{item.id}: has no mesh that Blender could draw")
    if mesh.colours is None and mesh.texture is None:
        mesh = Mesh(mesh.vertices, mesh.faces, np.full((len(mesh.vertices), 3), PLAIN, dtype=np.float32))
    (folder / "mesh.glb").write_bytes(encode_glb(mesh, normals))
    return "mesh.glb", np.eye(4), mesh.bounds


def _environment(folder: Path) -> dict[str, str]:
    """The user's, without their settings and scripts of Blender and Python."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "BLENDER", "MALLOC_"))}
    return {**kept, "HOME": str(folder), "TMPDIR": str(folder), "BLENDER_USER_RESOURCES": str(folder)}


def _read(file: Path, expected: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    size = file.stat().st_size if file.is_file() else 0
    if size != expected:
        raise InputError(f"wrote {size} bytes of pictures, expected {expected}")
    views = np.fromfile(file, dtype=np.float32).reshape(shape)
    if not np.isfinite(views).all() or (views[..., 4] < 0).any():
        raise InputError("wrote pictures with NaN, infinite or negative depth")
    return views


def _as_render(views: NDArray[np.float32], cameras: Cameras) -> Render:
    """Colour over white as it is seen (sRGB), and normals that face the camera."""
    alpha = views[..., 3:4].clip(0.0, 1.0)
    straight = linear_to_srgb(views[..., :3] / np.maximum(views[..., 3:4], 1e-6)).astype(np.float32)
    rgb = torch.from_numpy(straight * alpha + (1.0 - alpha)).permute(0, 3, 1, 2)
    normal = torch.nn.functional.normalize(torch.from_numpy(views[..., 5:]), dim=-1)
    away = (normal * camera_rays(cameras).directions).sum(-1, keepdim=True) > 0
    normal = torch.where(away, -normal, normal).permute(0, 3, 1, 2)
    depth = torch.from_numpy(views[..., 4].copy())
    mask = torch.from_numpy(alpha[..., 0].copy())
    return Render(rgb=rgb.contiguous(), depth=depth, mask=mask, normal=normal.contiguous())
