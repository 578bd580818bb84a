"""Ray cast beside Blender: a row per object, as albedo, lit and as depth.

    python experiments/renderers/sheet.py python=PATH out=FILE.png [meshes=DIR] [ids=a,b,c] [size=128]

Without `meshes` the objects are analytic shapes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from one2345.data import ShapesSource
from one2345.data.renderers import BlenderRenderer, RaycastRenderer
from one2345.data.sources import Source, open_meshes
from one2345.geometry import OBJECT_EDGE, RADIUS, orbit_cameras
from one2345.objects import Render

COLUMNS = ("ray cast", "Blender, albedo", "ray cast, shading 1", "Blender, white light", "depth", "Blender")
SHAPES = "shape-0-000000,shape-0-000001,shape-0-000002,shape-0-000005,shape-0-000006"
HEAD = 18


def row(source: Source, id: str, python: str, size: int) -> NDArray[np.uint8]:
    """(size, 6 size, 3) of one object."""
    camera = orbit_cameras([30.0], [25.0], size=size)
    fine = camera.resized((4 * size, 4 * size))
    plain, shaded = (source.load(id, shading=s) for s in (0.0, 1.0))
    cast = RaycastRenderer()
    drawn = [
        _shrunk(cast.render(plain, fine).rgb, size),
        BlenderRenderer(python=python, threads=2, surface="albedo", samples=16).render(plain, camera).rgb,
        _shrunk(cast.render(shaded, fine).rgb, size),
    ]
    lit = BlenderRenderer(python=python, threads=2, samples=64).render(plain, camera)
    drawn += [lit.rgb, _depth(cast.render(plain, camera)), _depth(lit)]
    pixels = torch.cat([picture[0] for picture in drawn], -1).permute(1, 2, 0).clamp(0, 1)
    return (pixels * 255).round().to(torch.uint8).numpy()


def _shrunk(rgb: torch.Tensor, size: int) -> torch.Tensor:
    return torch.nn.functional.adaptive_avg_pool2d(rgb, size)


def _depth(seen: Render) -> torch.Tensor:
    """Grey: near is dark; 0.9 of it spans the object's size about its centre."""
    grey = 0.05 + 0.9 * ((seen.depth - RADIUS) / OBJECT_EDGE + 0.5).clamp(0, 1)
    return torch.where(seen.depth > 0, grey, 1.0)[:, None].expand(-1, 3, -1, -1)


def main() -> None:
    told = dict(argument.split("=", 1) for argument in sys.argv[1:])
    size = int(told.get("size", 128))
    source = open_meshes(told["meshes"]) if "meshes" in told else ShapesSource(train=10)
    ids = told.get("ids", SHAPES if "meshes" not in told else ",".join(source.ids()[:5])).split(",")
    rows = [row(source, id, told["python"], size) for id in ids]
    sheet = Image.new("RGB", (size * len(COLUMNS), HEAD + size * len(rows)), "white")
    pen = ImageDraw.Draw(sheet)
    for index, title in enumerate(COLUMNS):
        pen.text((index * size + 4, 4), title, fill="black")
    sheet.paste(Image.fromarray(np.concatenate(rows)), (0, HEAD))
    sheet.save(Path(told["out"]), optimize=True)


if __name__ == "__main__":
    main()
