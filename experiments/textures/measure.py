"""Baked textures against the truth, beside vertex colours of the same meshes; and how long unwrapping takes.

    python experiments/textures/measure.py quality --objects DIR --out results.json
    python experiments/textures/measure.py unwrap --objects DIR --pool DIR --out results.json

DIR: folders with a manifest.csv (id, file). Parts that are in the results are not measured again.
"""

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from one2345.geometry import Cameras, Mesh, load_plan, orbit_cameras
from one2345.meshing import colour_vertices
from one2345.meshing.texture import (
    Pictures,
    Texturer,
    UnwrapFailed,
    bake,
    decimate,
    repair,
    texture_size,
    unwrap,
)
from one2345.objects import MeshObject, load_mesh
from one2345.pipeline import ImageTo3D, Weights
from one2345.pipeline.field_stage import resized, surface_colours
from one2345.views.synthesis import Oracle

# Ten of the 22, by name and by hand: labels, fur, plain plastic, thin parts, print.
OBJECTS = (
    "Android_Lego", "BIA_Porcelain_Ramekin_With_Glazed_Rim_35_45_oz_cup", "BUNNY_RACER", "Dino_4",
    "Nescafe_Momento_Mocha_Specialty_Coffee_Mix_8_ct", "Razer_Kraken_Pro_headset_Full_size_Black_with_cable",
    "Schleich_Hereford_Bull", "Sonny_School_Bus", "Sperry_TopSider_pSUFPWQXPp3", "Wishbone_Pencil_Case",
)  # fmt: skip
PIXELS, FRAMES, ELEVATION = 512, 6, 20.0
TRUE_FACES = 5000
POOL = 190


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("quality", "unwrap"))
    parser.add_argument("--objects", type=Path, required=True)
    parser.add_argument("--pool", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results.json"))
    args = parser.parse_args()
    table: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    part = table.setdefault(args.what, {})
    if args.what == "quality":
        weights = Weights.load()
        for name in OBJECTS:
            if name not in part:
                part[name] = quality(args.objects / "glb" / f"{name}.glb", weights)
                _write(args.out, args.what, part)
                print(name, json.dumps(part[name]), flush=True)
    else:
        for name, read in meshes(args.objects, args.pool):
            if name not in part:
                part[name] = unwrapped(read())
                _write(args.out, args.what, part)
                print(name, part[name], flush=True)


def quality(file: Path, weights: Weights) -> dict[str, Any]:
    """Scores of the true mesh at TRUE_FACES, and of the reconstruction from exact views, by kind of colour."""
    truth = MeshObject(load_mesh(file), id=file.stem, repair=False)
    cameras = orbit_cameras(torch.arange(FRAMES) * 360.0 / FRAMES, ELEVATION, size=PIXELS)
    wanted = truth.render(cameras)

    def colour(points: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
        return truth.colour(points)

    shape, _ = repair(decimate(repair(truth.mesh)[0], TRUE_FACES))
    seen = Pictures(wanted.rgb[:1], wanted.mask[:1], cameras[:1])
    size = texture_size(shape, [seen])
    flat = unwrap(shape, size=size, seconds=120).mesh
    true_mesh = {
        "vertex colours": colour_vertices(shape, colour),
        "texture": _with(flat, bake(flat, size, colour).texture),
    }
    result = {"true mesh": {"faces": len(shape.faces), "size": size, **_scores(true_mesh, wanted, cameras)}}

    oracle = Oracle(object=truth, elevation=ELEVATION, size=PIXELS)
    pipe = ImageTo3D(weights=weights, synthesizer=oracle, plan=load_plan("ring8"))
    made = pipe()
    views = made.views[made.views.indices(*made.sources)]
    small = resized(views, weights.pixels or PIXELS)
    with torch.no_grad():
        field = weights.model(
            small.images[None], small.masks[None], Cameras.stack([small.cameras]),
            reference=Cameras.stack([small.reference_camera]),
        )  # fmt: skip
        colour = surface_colours(field)
        shape, _ = repair(decimate(repair(made.surface)[0], Texturer().faces or 0))
        size = texture_size(shape, [seen])
        flat = unwrap(shape, size=size, seconds=120).mesh
        every = [seen, Pictures(views.images, views.masks, views.cameras)]
        begin = time.process_time()
        plain = bake(flat, size, colour)
        seconds = time.process_time() - begin
        meshes = {
            "vertex colours, untouched surface": made.surface,
            "vertex colours": colour_vertices(shape, colour),
            "texture, own pixels of none": _with(flat, plain.texture),
            "texture, own pixels of the input": _with(flat, bake(flat, size, colour, [seen]).texture),
            "texture, own pixels of all views": _with(flat, bake(flat, size, colour, every).texture),
        }
    result["reconstruction"] = {
        "faces": len(shape.faces), "faces before": len(made.surface.faces), "size": size,
        "baking CPU s": round(seconds, 2), **_scores(meshes, wanted, cameras),
    }  # fmt: skip
    return result


def _with(flat: Mesh, texture: np.ndarray) -> Mesh:
    return Mesh(flat.vertices, flat.faces, uv=flat.uv, texture=texture)


def _scores(meshes: Mapping[str, Mesh], wanted: Any, cameras: Cameras) -> dict[str, Any]:
    """PSNR dB: mean over the frames, of the input view, and mean over the others; and over the object's pixels only."""
    result = {}
    for name, mesh in meshes.items():
        seen = MeshObject(mesh, id=name, normalise=False, repair=False).render(cameras)
        error = (seen.rgb - wanted.rgb).square().mean(1)
        frames = -10 * torch.log10(error.mean((1, 2)).clamp_min(1e-10))
        there = (seen.mask > 0.5) & (wanted.mask > 0.5)
        inner = -10 * torch.log10(
            ((error * there).sum((1, 2)) / there.sum((1, 2)).clamp_min(1)).clamp_min(1e-10)
        )
        result[name] = {
            "psnr": round(float(frames.mean()), 3),
            "psnr input view": round(float(frames[0]), 3),
            "psnr other views": round(float(frames[1:].mean()), 3),
            "psnr object": round(float(inner.mean()), 3),
        }
    return result


def meshes(objects: Path, pool: Path) -> list[tuple[str, Callable[[], Mesh]]]:
    """Reconstructions of the objects from exact views, and every so many of the pool, up to POOL."""
    with (pool / "manifest.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    step = len(rows) / POOL
    chosen = [rows[int(i * step)] for i in range(POOL)]
    found: list[tuple[str, Callable[[], Mesh]]] = [
        (
            f"pool/{r['id']}",
            lambda r=r: MeshObject(load_mesh(pool / r["file"]), id=r["id"], repair=False).mesh,
        )
        for r in chosen
    ]
    return found + [
        (f"reconstruction/{n}", lambda n=n: _surface(objects / "glb" / f"{n}.glb")) for n in OBJECTS
    ]


def _surface(file: Path) -> Mesh:
    truth = MeshObject(load_mesh(file), id=file.stem, repair=False)
    with tempfile.TemporaryDirectory() as folder:
        oracle = Oracle(object=truth, elevation=ELEVATION, size=128)
        return ImageTo3D(weights=Weights.load(), synthesizer=oracle, plan=load_plan("ring8"))(
            cache=folder
        ).surface


def unwrapped(mesh: Mesh) -> dict[str, Any]:
    """What `texture=bake` does to a mesh as far as its texture coordinates, with the settings of the default."""
    settings = Texturer()
    shape, repairs = repair(mesh)
    if settings.faces is not None and len(shape.faces) > settings.faces:
        shape, _ = repair(decimate(shape, settings.faces))
    result = {
        "faces before": len(mesh.faces),
        "faces": len(shape.faces),
        "non-manifold": repairs.non_manifold,
    }
    begin = time.monotonic()
    try:
        flat = unwrap(
            shape, size=texture_size(shape, []), padding=settings.padding, seconds=settings.seconds,
            charts=settings.charts,
        )  # fmt: skip
    except UnwrapFailed as error:
        return {**result, "seconds": round(time.monotonic() - begin, 2), "fallback": str(error)}
    return {
        **result, "seconds": round(time.monotonic() - begin, 2), "charts": flat.charts,
        "utilisation": round(flat.utilisation, 3),
    }  # fmt: skip


def _write(path: Path, what: str, part: dict[str, Any]) -> None:
    table = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**table, what: part}, indent=1) + "\n")


if __name__ == "__main__":
    main()
