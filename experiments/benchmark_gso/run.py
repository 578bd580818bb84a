"""The benchmark of the package's weights on real scans, beside the visual hull of the same views.

    python experiments/benchmark_gso/run.py OUT gso_dev=DIR ycb_dev=DIR
    python experiments/benchmark_gso/run.py OUT shapes --views 32

DIR: the meshes of a list that comes with the package; shapes: analytic ones of another seed than the training's, made
on the spot. Of every object 32 near views of the published plan are made, of
256 px; the network is given 8, 16 or all of them, exact, and all of them with the errors of a diffusion model. OUT gets
an evaluation for each number of views, which a second call does not repeat, results.json and table.md of all, and a
sheet of pictures for each list: input, mesh from exact views, mesh from simulated views, truth.

--ckpt FILE: other weights. --published FILE: beside them the imported network of the released code. --objects N: only
the first ones. --views N ...: only these numbers of views, for a call beside which another does the rest.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from one2345.cli import evaluate
from one2345.cli.app import configure
from one2345.cli.objects import true_meshes
from one2345.data.sources import FolderSource, open_meshes
from one2345.evaluation.pictures import draw
from one2345.geometry import Box, orbit_cameras
from one2345.meshing import colour_vertices, extract, write_mesh
from one2345.objects import random_shape
from one2345.views import PosedViews

VIEWS = (8, 16, 32)
SHAPES, SHAPES_MADE, SEED = "shapes", 6, 77
PROTOCOLS = ("one2345-strict", "syncdreamer")
COLUMNS = ("iou_128", "iou_64", "chamfer", "f_0.01", "f_0.05", "normal_consistency", "psnr", "ssim")
KEPT = ("code", "config hash", "objects hash", "list", "list hash", "views", "checkpoint network")
CELL = 160


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("lists", nargs="+", metavar="LIST=DIR", help=f"or {SHAPES}")
    parser.add_argument("--ckpt", default="pretrained", metavar="FILE")
    parser.add_argument("--published", metavar="FILE")
    parser.add_argument("--objects", type=int, metavar="N")
    parser.add_argument("--views", type=int, nargs="+", choices=VIEWS, default=VIEWS, metavar="N")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    for text in given.lists:
        name, _, folder = text.partition("=")
        if name == SHAPES:
            folder = str(own_shapes(given.out / name / "truth"))
        for views in given.views:
            out = given.out / name / f"{views} views"
            config = configure(evaluate.COMMAND, _overrides(name, folder, views, out, given))
            if not (out / PROTOCOLS[-1] / "results.json").is_file():
                evaluate.main(config)
            for protocol in PROTOCOLS:
                document = json.loads((out / protocol / "results.json").read_text(encoding="utf-8"))
                found[f"{name}, {views} views, {protocol}"] = _kept(document)
        if VIEWS[-1] in given.views:
            config = configure(evaluate.COMMAND, _overrides(name, folder, VIEWS[-1], out, given))
            sheet(config, given.out / name / f"{VIEWS[-1]} views", given.out / f"{name}.png")
    (given.out / "results.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (given.out / "table.md").write_text(table(found), encoding="utf-8")
    print(table(found))


def _overrides(name: str, folder: str, views: int, out: Path, given: argparse.Namespace) -> list[str]:
    """Of evaluate.py. All inputs are measured with the most views, else the exact ones alone."""
    kinds = "[exact,simulated]" if views == VIEWS[-1] else "[exact]"
    listed = "null" if name == SHAPES else name
    overrides = [
        f"truth={folder}", f"evaluate.list={listed}", f"ckpt={given.ckpt}", "scale=laptop", "plan=published32",
        "scale.pixels=256", f"scale.views={views}", "scale.extract=256", f"evaluate.inputs={kinds}",
        f"evaluate.protocols=[{','.join(PROTOCOLS)}]", "evaluate.sphere=false", "evaluate.pictures=false",
        f"out={out}",
    ]  # fmt: skip
    if given.published:
        overrides.append(f"evaluate.checkpoints={{published: {given.published}}}")
    if given.objects:
        overrides.append(f"evaluate.objects={given.objects}")
    return overrides


def own_shapes(folder: Path) -> Path:
    """Random shapes as files, as the scans are. What is there already is not made again."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(SHAPES_MADE):
        file = folder / f"shape-{index}.glb"
        if file.is_file():
            continue
        shape = random_shape(SEED, index=index)
        surface = extract(shape.sdf, Box(half_edge=0.5, resolution=192), resolution=192)
        mesh = colour_vertices(surface, lambda points, normals, shape=shape: shape.colour(points))
        write_mesh(mesh, file)
    return folder


def _kept(document: dict[str, Any]) -> dict[str, Any]:
    """What of one results.json is worth keeping: everything but the rows of single objects."""
    names = ("protocol", "thin", "best_of", "predictors", "paired")
    kept = {key: document[key] for key in names if key in document}
    kept["timings"] = {"predictors": document["timings"]["predictors"]}
    kept["not_computed"] = sorted(document["not_computed"])
    facts = {key: value for key, value in document["provenance"].items() if key in KEPT}
    kept["provenance"] = facts | {"checkpoint network": Path(facts["checkpoint network"]).name}
    return kept


def table(found: dict[str, Any]) -> str:
    """Markdown: mean (median) of every method, and the network's lead over the hull of the same views, paired."""
    lines = []
    for title, document in found.items():
        columns = [c for c in COLUMNS if any(c in p["metrics"] for p in document["predictors"].values())]
        lines += [f"**{title}**", "", "| | objects | " + " | ".join(columns) + " | s / object |"]
        lines.append("|---" * (len(columns) + 3) + "|")
        for name, one in document["predictors"].items():
            cells = [_cell(one["metrics"].get(column)) for column in columns]
            seconds = document["timings"]["predictors"].get(name, {}).get("seconds")
            spent = "" if seconds is None else f"{seconds:.1f}"
            lines.append(f"| {name} | {one['n']} of {one['of']} | {' | '.join(cells)} | {spent} |")
        for pair in document["paired"]:
            lead = pair["columns"].get("iou_128") or pair["columns"].get("iou_64")
            if pair["reference"] == pair["method"].replace("network", "visual hull"):
                lines += ["", (
                    f"{pair['method']} less {pair['reference']}, volume IoU: {lead['mean']:+.4f} "
                    f"[{lead['low']:+.4f}, {lead['high']:+.4f}], better for {lead['better']} of {lead['n']}"
                )]  # fmt: skip
        lines.append("")
    return "\n".join(lines)


def _cell(statistics: dict[str, float] | None) -> str:
    return "" if statistics is None else f"{statistics['mean']:.4f} ({statistics['median']:.4f})"


def sheet(config: Any, run: Path, out: Path) -> None:
    """One line an object: an exact input, a simulated one, the two meshes that came of them, the truth."""
    objects = true_meshes(config, evaluate.inputs_to_use(config), views=True)
    source = objects.source
    assert isinstance(source, FolderSource)
    kinds = list(objects.data)
    given = {kind: module.dataset("test") for kind, module in objects.data.items()}
    made = {kind: open_meshes(run / "meshes" / f"network_{kind}") for kind in kinds}
    cameras = orbit_cameras([30.0, 210.0], [25.0, 25.0], size=CELL, radius=1.3)
    lines = []
    for case in objects.cases:
        row = [_first(given[kind].sources(case.id)) for kind in kinds]
        for kind in kinds:
            row += (
                _shots(draw(made[kind].mesh(case.id), cameras).rgb)
                if case.id in made[kind].ids()
                else [BLANK] * 2
            )
        row += _shots(source.load(case.id).object.render(cameras).rgb)
        lines.append(np.concatenate(row, 1))
    picture = Image.fromarray(np.concatenate([_heading(kinds), *lines]))
    out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(out)


BLANK = np.full((CELL, CELL, 3), 255, np.uint8)


def _heading(kinds: list[str]) -> np.ndarray:
    names = (
        [f"{kind} input" for kind in kinds]
        + [n for kind in kinds for n in (f"from {kind}", "")]
        + ["truth", ""]
    )
    picture = Image.new("RGB", (CELL * len(names), 24), "white")
    pen = ImageDraw.Draw(picture)
    for index, name in enumerate(names):
        pen.text((CELL * index + 6, 6), name, fill="black")
    return np.asarray(picture)


def _first(views: PosedViews) -> np.ndarray:
    picture = Image.fromarray(_pixels(views.images[0]))
    return np.asarray(picture.resize((CELL, CELL), Image.Resampling.BOX))


def _shots(images: torch.Tensor) -> list[np.ndarray]:
    return [_pixels(image) for image in images]


def _pixels(image: torch.Tensor) -> np.ndarray:
    return (image.clamp(0, 1) * 255).round().byte().movedim(0, -1).cpu().numpy()


if __name__ == "__main__":
    main()
