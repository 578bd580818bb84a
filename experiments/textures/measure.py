"""Baked textures against the truth, beside vertex colours of the same meshes; and how long unwrapping takes.

    python experiments/textures/measure.py true --objects DIR --out results.json
    python experiments/textures/measure.py reconstructed --objects DIR --out results.json
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
from one2345.objects import MeshObject, Render, load_mesh
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
    parser.add_argument("what", choices=("true", "reconstructed", "unwrap"))
    parser.add_argument("--objects", type=Path, required=True)
    parser.add_argument("--pool", type=Path)
    parser.add_argument("--most", type=int, help="measure so many of what is missing")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results.json"))
    args = parser.parse_args()
    table: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    part = table.setdefault(args.what, {})
    measure: list[tuple[str, Callable[[], dict[str, Any]]]]
    if args.what == "unwrap":
        measure = [
            (name, lambda read=read: unwrapped(read())) for name, read in meshes(args.objects, args.pool)
        ]
    else:
        scores = on_the_truth if args.what == "true" else on_the_reconstruction
        measure = [(n, lambda n=n: scores(args.objects / "glb" / f"{n}.glb")) for n in OBJECTS]
    for name, made in [(n, m) for n, m in measure if n not in part][: args.most]:
        part[name] = made()
        _write(args.out, args.what, part)
        print(name, json.dumps(part[name]), flush=True)


def on_the_truth(file: Path) -> dict[str, Any]:
    """Scores of the true mesh with TRUE_FACES faces, its colours those of the nearest true surface."""
    truth, cameras, wanted = _truth(file)

    def colour(points: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
        return truth.colour(points)

    shape, _ = repair(decimate(repair(truth.mesh)[0], TRUE_FACES))
    size = texture_size(shape, [_first(wanted, cameras)])
    flat = unwrap(shape, size=size, seconds=120).mesh
    meshes = {
        "vertex colours": colour_vertices(shape, colour),
        "texture": _with(flat, bake(flat, size, colour).texture),
    }
    facts = {"faces": len(shape.faces), "size": size, "ceiling": _ceiling(shape, wanted, cameras)}
    return {**facts, **_scores(meshes, wanted, cameras)}


def on_the_reconstruction(file: Path) -> dict[str, Any]:
    """Scores of the mesh that the package's weights make of exact views, by kind of colour."""
    truth, cameras, wanted = _truth(file)
    weights = Weights.load()
    oracle = Oracle(object=truth, elevation=ELEVATION, size=PIXELS)
    made = ImageTo3D(weights=weights, synthesizer=oracle, plan=load_plan("ring8"))()
    views = made.views[made.views.indices(*made.sources)]
    small = resized(views, weights.pixels or PIXELS)
    seen, settings = _first(wanted, cameras), Texturer()
    every = [seen, Pictures(views.images, views.masks, views.cameras)]
    with torch.no_grad():
        field = weights.model(
            small.images[None], small.masks[None], Cameras.stack([small.cameras]),
            reference=Cameras.stack([small.reference_camera]),
        )  # fmt: skip
    colour = surface_colours(field)
    shape, _ = repair(decimate(repair(made.surface)[0], settings.faces or len(made.surface.faces)))
    size = texture_size(shape, [seen])
    flat = unwrap(shape, size=size, seconds=120).mesh

    def textured(pictures: list[Pictures]) -> Mesh:
        return _with(flat, bake(flat, size, colour, pictures, field_size=settings.field_size).texture)

    meshes = {
        "vertex colours, untouched surface": made.surface,
        "vertex colours": colour_vertices(shape, colour),
        "texture, own pixels: none": textured([]),
        "texture, own pixels: given": textured([seen]),
        "texture, own pixels: all": textured(every),
    }
    facts = {"faces": len(shape.faces), "faces before": len(made.surface.faces), "size": size}
    return {**facts, **_scores(meshes, wanted, cameras)}


def _truth(file: Path) -> tuple[MeshObject, Cameras, Render]:
    """The object, the cameras of the turntable, the first of them the input view, and what they see."""
    truth = MeshObject(load_mesh(file), id=file.stem, repair=False)
    cameras = orbit_cameras(torch.arange(FRAMES) * 360.0 / FRAMES, ELEVATION, size=PIXELS)
    return truth, cameras, truth.render(cameras)


def _first(wanted: Render, cameras: Cameras) -> Pictures:
    return Pictures(wanted.rgb[:1], wanted.mask[:1], cameras[:1])


def _with(flat: Mesh, texture: np.ndarray) -> Mesh:
    return Mesh(flat.vertices, flat.faces, uv=flat.uv, texture=texture)


def _scores(meshes: Mapping[str, Mesh], wanted: Render, cameras: Cameras) -> dict[str, Any]:
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


def _ceiling(shape: Mesh, wanted: Render, cameras: Cameras) -> float:
    """PSNR dB where only the outline errs: every pixel that shows the object in both has its true colour."""
    seen = MeshObject(shape, id="shape", normalise=False, repair=False).render(cameras)
    errs = (seen.mask > 0.5) != (wanted.mask > 0.5)
    # Where the shape is too large it is as dark or light as the object is on average.
    there = (wanted.mask > 0.5)[:, None]
    mean = (wanted.rgb * there).sum((0, 2, 3)) / there.sum()
    away = (seen.mask > 0.5)[:, None]
    error = (torch.where(away, mean[None, :, None, None], 1.0) - wanted.rgb).square().mean(1) * errs
    return round(float((-10 * torch.log10(error.mean((1, 2)).clamp_min(1e-10))).mean()), 3)


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
