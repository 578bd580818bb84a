"""The pictures of the README and of the conventions, made by the project itself: `python docs/images/make.py`."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

from one2345.geometry import load_plan, orbit_cameras, pixel_rays
from one2345.meshing import Extractor
from one2345.meshing.texture import Texturer
from one2345.meshing.turntable import turntable, write_animation
from one2345.objects import random_shape
from one2345.pipeline import ImageTo3D
from one2345.views.synthesis import Oracle

HERE = Path(__file__).resolve().parent
SHAPE = 32  # of seed 1; the network was trained on seed 0
EDGE = 160


def chain(folder: Path, *, resolution: int = 160, frames: int = 24) -> None:
    """input.png, views.png and turntable.gif: a picture, what is made of it, and the mesh."""
    oracle = Oracle(object=random_shape(1, index=SHAPE), elevation=25.0, size=256)
    pipe = ImageTo3D.from_pretrained(
        views=oracle, plan=load_plan("published"), extractor=Extractor(resolution=resolution), device="cpu",
        texture=Texturer(faces=8000, seconds=300),
    )  # fmt: skip
    found = pipe()
    stage1 = found.views[found.views.indices("stage1")].images
    small = torch.nn.functional.interpolate(stage1, (EDGE // 2, EDGE // 2), mode="area")
    rows = small.reshape(2, 4, 3, EDGE // 2, EDGE // 2).permute(0, 3, 1, 4, 2).reshape(EDGE, 2 * EDGE, 3)
    _save(rows, folder / "views.png")
    first = torch.nn.functional.interpolate(oracle.picture().images, (EDGE, EDGE), mode="area")[0]
    _save(first.permute(1, 2, 0), folder / "input.png")
    write_animation(turntable(found.mesh, frames=frames, size=EDGE), folder / "turntable.gif", rate=8)


def conventions(folder: Path) -> None:
    """conventions.png: the world's axes, azimuth and elevation, a camera's axes, and the axes of files."""
    figure = plt.figure(figsize=(9, 4.2), dpi=100)
    world = figure.add_axes((0.0, 0.0, 0.64, 1.0), projection="3d", proj_type="ortho")
    _box(world, 0.4)
    for axis, name in enumerate("xyz"):
        _arrow(world, np.zeros(3), 0.75 * np.eye(3)[axis], "#444444", name)
    for azimuth, elevation, colour in (
        (0.0, 0.0, "#1f4e8c"),
        (90.0, 0.0, "#2a8c4a"),
        (50.0, 35.0, "#a0302a"),
    ):
        camera = orbit_cameras([azimuth], [elevation])
        words = f"azimuth {azimuth:.0f}" + (f", elevation {elevation:.0f}" if elevation else "")
        _frustum(world, camera, colour, words)
    camera = orbit_cameras([50.0], [35.0])
    centre, rotation = camera.centres[0].numpy(), camera.c2w[0, :3, :3].numpy()
    for column, name in enumerate(("x right", "y down", "z forward")):
        _arrow(world, centre, 0.35 * rotation[:, column], "#a0302a", name)
    turns, rises = np.radians(np.linspace(0, 50, 20)), np.radians(np.linspace(0, 35, 20))
    world.plot(np.sin(turns) * 1.2, -np.cos(turns) * 1.2, 0 * turns, color="#a0302a", lw=1, ls=":")
    turn = np.radians(50)
    rise = np.cos(rises) * 1.2
    world.plot(np.sin(turn) * rise, -np.cos(turn) * rise, np.sin(rises) * 1.2, color="#a0302a", lw=1, ls=":")
    world.set(xlim=(-0.6, 1.4), ylim=(-1.4, 0.6), zlim=(-0.5, 1.0))
    world.set_aspect("equal")
    world.view_init(20, -100)
    world.set_box_aspect(None, zoom=1.55)
    world.set_axis_off()
    world.set_title("the world: z up, distance 1.2, longest edge 0.8", fontsize=10, y=0.95)

    files = figure.add_axes((0.62, 0.05, 0.38, 0.85), projection="3d", proj_type="ortho")
    _box(files, 0.4)
    for direction, name in (((1, 0, 0), "x"), ((0, 0, 1), "y (world's z)"), ((0, -1, 0), "z\n(world's -y)")):
        _arrow(files, np.zeros(3), 0.75 * np.array(direction), "#444444", name)
    files.set(xlim=(-0.7, 0.9), ylim=(-0.9, 0.7), zlim=(-0.5, 0.9))
    files.set_aspect("equal")
    files.view_init(20, -60)
    files.set_box_aspect(None, zoom=1.2)
    files.set_axis_off()
    files.set_title("GLB, OBJ, PLY: y up", fontsize=10, y=1.0)
    figure.savefig(folder / "conventions.png")
    plt.close(figure)


def _save(picture: torch.Tensor, path: Path) -> None:
    pixels = (picture * 255).round().to(torch.uint8).numpy()
    Image.fromarray(pixels).quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def _arrow(axes, start: np.ndarray, along: np.ndarray, colour: str, name: str) -> None:
    axes.quiver(*start, *along, color=colour, lw=1.4, arrow_length_ratio=0.12)
    axes.text(*(start + 1.12 * along), name, color=colour, fontsize=9)


def _box(axes, half: float) -> None:
    corners = half * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    for a in range(8):
        for b in range(a):
            if (corners[a] != corners[b]).sum() == 1:
                axes.plot(*np.stack([corners[a], corners[b]]).T, color="#b45a1e", lw=1.2)


def _frustum(axes, camera, colour: str, name: str, length: float = 0.22) -> None:
    height, width = camera.size
    corners = torch.tensor([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])
    centre = camera.centres[0].numpy()
    ends = centre + length * pixel_rays(camera, corners[None]).directions[0].numpy()
    for i in range(4):
        axes.plot(*np.stack([centre, ends[i]]).T, color=colour, lw=1)
        axes.plot(*np.stack([ends[i], ends[(i + 1) % 4]]).T, color=colour, lw=1)
    label = centre + np.array([0, 0, 0.25 if centre[2] > 0.1 else -0.22])
    axes.text(*label, name, color=colour, fontsize=9, ha="center")


if __name__ == "__main__":
    conventions(HERE)
    chain(HERE)
