"""What the viewer reads: runs of reconstruct.py and prepared objects, and where things stand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from tests.app.parts import Tinted, draw_picture, make_chain

from one2345.app.jobs import Finished
from one2345.app.scene import read_scene
from one2345.app.sessions import Sessions
from one2345.app.viewer import Z_UP_FROM_Y_UP, draw
from one2345.errors import InputError
from one2345.views import SCHEMA_NAME, SCHEMA_VERSION, Samples, write_json, write_object


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    session = Sessions(idle_seconds=100, parent=folder).of("a")
    chain = make_chain(Tinted())
    picture = draw_picture(folder / "red.png", (200, 40, 30))
    job = chain.start(session, lambda job: chain.picture(job, session, picture, seed=0, elevation=30.0))
    last = list(job.batches())[-1][-1]
    assert isinstance(last, Finished)
    return last.result.files["report"].parent


def test_a_run(run: Path) -> None:
    scene = read_scene(run)
    assert len(scene.views) == 8 and scene.sources == scene.views.names
    assert scene.truth is None and scene.truth_mesh is None and scene.mesh is not None
    loaded = trimesh.load(trimesh.util.wrap_as_stream(scene.mesh), file_type="glb", force="mesh")
    assert len(loaded.faces) == json.loads((run / "report.json").read_text())["mesh"]["faces"]


def test_a_true_mesh_beside_it(run: Path) -> None:
    assert read_scene(run, truth=run / "mesh.ply").truth_mesh is not None
    with pytest.raises(InputError, match="no such file"):
        read_scene(run, truth=run / "none.ply")


def test_a_folder_of_several_results_names_one(run: Path) -> None:
    with pytest.raises(InputError, match=f"several results, as .*{run.name}"):
        read_scene(run.parent)


def test_cameras_and_mesh_stand_in_one_world(run: Path) -> None:
    """The mesh, turned as the viewer turns files, is seen where the pictures show it."""
    pytest.importorskip("viser")
    import viser.transforms as vtf

    scene = read_scene(run)
    assert scene.mesh is not None
    loaded = trimesh.load(trimesh.util.wrap_as_stream(scene.mesh), file_type="glb", force="mesh")
    turned = vtf.SO3(np.array(Z_UP_FROM_Y_UP)).apply(np.asarray(loaded.vertices))
    cameras = scene.views.cameras
    points = torch.from_numpy(turned).float()
    w2c = torch.linalg.inv(cameras.c2w)
    around = torch.nn.functional.max_pool2d((scene.views.masks > 0).float(), 3, 1, 1)  # a pixel of leeway
    for i in range(len(scene.views)):
        local = points @ w2c[i, :3, :3].T + w2c[i, :3, 3]
        pixels = local @ cameras.K[i].T
        u, v = (pixels[:, :2] / pixels[:, 2:]).long().clamp(0, 47).T
        assert float(around[i][v, u].mean()) > 0.97


def test_what_is_drawn_and_switched(run: Path) -> None:
    viser = pytest.importorskip("viser")
    server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    try:
        scene = read_scene(run, truth=run / "mesh.glb")
        drawn = draw(server, scene)
        assert len(drawn["source views"]) == 8 and drawn["other views"] == []
        assert drawn["mesh"][0].visible and not drawn["true mesh"][0].visible
        first = drawn["source views"][0]
        assert np.allclose(first.position, scene.views.cameras.c2w[0, :3, 3])
        assert np.allclose(2 * np.arctan(24 / float(scene.views.cameras.K[0, 1, 1])), first.fov)
    finally:
        server.stop()


def test_a_prepared_object_with_its_true_surface(run: Path, tmp_path: Path) -> None:
    views = read_scene(run).views
    points = torch.linspace(-0.4, 0.4, 36).reshape(12, 3)
    samples = replace(
        Samples.none(),
        surface_points=points,
        surface_normals=points,
        surface_colours=(points + 0.4).clamp(0, 1),
    )
    kept = replace(views, roles=("stage1",) * 6 + ("target",) * 2)
    write_json(
        tmp_path / "dataset.json", {"schema": SCHEMA_NAME, "version": SCHEMA_VERSION, "description": {}}
    )
    folder = write_object(tmp_path, "chair", views=kept, samples=samples)
    for path in (tmp_path, folder):
        scene = read_scene(path)
        assert scene.truth is not None and np.allclose(scene.truth.positions, points)
        assert scene.truth.colours[0].tolist() == [0, 6, 12]
        assert scene.mesh is None and scene.sources == scene.views.names[:6]
