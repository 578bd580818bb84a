"""Draws shapes.png: analytic shapes of the project, their meshes of some hundred faces with vertex colours and with a
texture, each from three sides.

    python experiments/textures/sheet.py
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from one2345.geometry import Box, Mesh, orbit_cameras
from one2345.meshing import colour_vertices, extract
from one2345.meshing.texture import Texturer, decimate, repair
from one2345.objects import MeshObject, random_shape

SHAPES, FACES, PIXELS = (11,), 800, 192


def main() -> None:
    cameras = orbit_cameras([20.0, 140.0, 260.0], 20.0, size=PIXELS)
    rows = []
    for index in SHAPES:
        shape = random_shape(0, index=index)

        def colour(points: torch.Tensor, normals: torch.Tensor, shape=shape) -> torch.Tensor:
            return shape.colour(points)

        surface = extract(shape.sdf, Box(half_edge=0.5, resolution=96), resolution=96)
        few = repair(decimate(repair(surface)[0], FACES))[0]
        textured = Texturer(faces=FACES, size=512, field_size=None, seconds=300)(surface, colour).mesh
        seen = [
            shape.render(cameras).rgb,
            _drawn(colour_vertices(few, colour), cameras),
            _drawn(textured, cameras),
        ]
        rows.append(torch.cat([torch.cat(list(x), -1) for x in seen], -1))
    picture = torch.cat(rows, 1).permute(1, 2, 0).mul(255).round().to(torch.uint8).numpy()
    Image.fromarray(np.ascontiguousarray(picture)).quantize(128).save(Path(__file__).with_name("shapes.png"))


def _drawn(mesh: Mesh, cameras) -> torch.Tensor:
    return MeshObject(mesh, id="drawn", normalise=False, repair=False, antialias=2).render(cameras).rgb


if __name__ == "__main__":
    main()
