"""Looks at a reconstruction in the browser: cameras with their pictures, source views, volume, mesh and truth.

RUN is a run folder of reconstruct.py, or the folder of a prepared object. Needs `pip install 'one2345[demo]'`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from one2345.cli.exit_codes import DONE, INPUT
from one2345.errors import InputError, One2345Error

if TYPE_CHECKING:
    import viser

    from one2345.geometry import Box

    from .scene import Scene

Z_UP_FROM_Y_UP = (math.sqrt(0.5), math.sqrt(0.5), 0.0, 0.0)
"""Quaternion (w, x, y, z) of the rotation from the axes of files to the world's: a quarter turn about x."""

SOURCE, OTHER, VOLUME, OBJECT = (13, 148, 136), (161, 161, 170), (161, 161, 170), (180, 83, 9)
PICTURE = 128
"""Pixels of the pictures in the frusta."""


def run(argv: list[str] | None = None) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m one2345.app.viewer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="a run folder, or the folder of a prepared object"
    )
    parser.add_argument(
        "--truth", type=Path, metavar="FILE", help="a mesh of the true surface, beside the other"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="0.0.0.0: for the whole network (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, default=8080, help="(default: %(default)s)")
    given = parser.parse_args(argv)
    try:
        from one2345.app.command import need

        need("viser")
        server = serve(given.run, truth=given.truth, host=given.host, port=given.port)
    except One2345Error as error:
        print(f"error: {error}", file=sys.stderr)
        return INPUT
    try:
        server.sleep_forever()
    except KeyboardInterrupt:
        server.stop()
    return DONE


def serve(
    path: Path, *, truth: Path | None = None, host: str = "127.0.0.1", port: int = 8080
) -> viser.ViserServer:
    """A server that shows `path`, running. Raises InputError for what can't be read."""
    import viser

    from .scene import read_scene

    scene = read_scene(path, truth=truth)
    try:
        server = viser.ViserServer(host=host, port=port, label=f"one2345: {scene.title}", verbose=False)
    except OSError as error:
        raise InputError(f"--port {port}: {error}") from error
    draw(server, scene)
    print(f"{scene.title}: http://{host}:{server.get_port()}", flush=True)
    return server


def draw(server: viser.ViserServer, scene: Scene) -> dict[str, list[Any]]:
    """Everything of `scene`, with a switch for each kind; what was drawn, by the switches' names."""
    server.scene.set_up_direction("+z")
    server.initial_camera.position = (0.9, -1.9, 1.0)
    server.initial_camera.look_at = (0.0, 0.0, 0.0)
    drawn: dict[str, list[Any]] = {"source views": [], "other views": []}
    for index, name in enumerate(scene.views.names):
        kind = "source views" if name in scene.sources else "other views"
        drawn[kind].append(_frustum(server, scene, index, SOURCE if kind == "source views" else OTHER))
    if scene.mesh is not None:
        drawn["mesh"] = [server.scene.add_glb("/mesh", scene.mesh, wxyz=Z_UP_FROM_Y_UP)]
    if scene.truth is not None:
        points = server.scene.add_point_cloud(
            "/truth/points",
            scene.truth.positions,
            scene.truth.colours,
            point_size=0.004,
            point_shape="circle",
        )
        drawn["true surface"] = [points]
    if scene.truth_mesh is not None:
        drawn["true mesh"] = [server.scene.add_glb("/truth/mesh", scene.truth_mesh, wxyz=Z_UP_FROM_Y_UP)]
    drawn["volume"] = [_cube(server, "/volume", scene.volume, VOLUME)]
    drawn["object's box"] = [_cube(server, "/object", scene.object_box, OBJECT)]
    drawn["axes"] = [server.scene.add_frame("/axes", axes_length=0.6, axes_radius=0.004)]
    _switches(server, scene, {name: handles for name, handles in drawn.items() if handles})
    return drawn


def _frustum(server: viser.ViserServer, scene: Scene, index: int, colour: tuple[int, int, int]) -> Any:
    """The camera of one view, its picture in it; a click looks through it."""
    import viser.transforms as vtf

    camera = scene.views.cameras[index : index + 1]
    height, width = camera.size
    pose = camera.c2w[0].double().numpy()
    fov = 2 * math.atan(height / 2 / float(camera.K[0, 1, 1]))
    step = max(1, math.ceil(max(height, width) / PICTURE))
    picture = (scene.views.images[index].movedim(0, -1)[::step, ::step].clamp(0, 1) * 255).byte().numpy()
    rotation = vtf.SO3.from_matrix(pose[:3, :3]).wxyz
    handle = server.scene.add_camera_frustum(
        f"/cameras/{scene.views.names[index]}", fov, width / height, scale=0.12, thickness=1.5,
        thickness_units="screen", color=colour, image=picture, wxyz=rotation, position=pose[:3, 3],
    )  # fmt: skip

    @handle.on_click
    def _(event: Any) -> None:
        with event.client.atomic():
            event.client.camera.wxyz, event.client.camera.position = rotation, pose[:3, 3]
            event.client.camera.look_at = np.zeros(3)
            event.client.camera.fov = fov

    return handle


def _cube(server: viser.ViserServer, name: str, box: Box, colour: tuple[int, int, int]) -> Any:
    """The twelve edges of a box."""
    import torch

    signs = torch.tensor([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
    corners = box.to_world(signs).numpy()
    edges = [(i, i | bit) for bit in (1, 2, 4) for i in range(8) if not i & bit]
    segments = np.stack([corners[list(edge)] for edge in edges])
    return server.scene.add_line_segments(name, segments, colour, thickness=1.5, thickness_units="screen")


def _switches(server: viser.ViserServer, scene: Scene, drawn: dict[str, list[Any]]) -> None:
    """What is shown, and how large the cameras are."""
    given = len([n for n in scene.views.names if n in scene.sources])
    server.gui.add_markdown(f"**{scene.title}**: {len(scene.views)} views, {given} of them sources")
    hidden = ("true mesh", "axes") if scene.mesh is not None else ("axes",)
    for name, handles in drawn.items():
        switch = server.gui.add_checkbox(name, initial_value=name not in hidden)
        for handle in handles:
            handle.visible = switch.value
        switch.on_update(_shower(switch, handles))
    size = server.gui.add_slider("size of the cameras", min=0.02, max=0.4, step=0.01, initial_value=0.12)

    @size.on_update
    def _(_: Any) -> None:
        for handle in [*drawn.get("source views", []), *drawn.get("other views", [])]:
            handle.scale = size.value


def _shower(switch: Any, handles: list[Any]) -> Callable[[Any], None]:
    def show(_: Any) -> None:
        for handle in handles:
            handle.visible = switch.value

    return show


if __name__ == "__main__":
    sys.exit(run())
