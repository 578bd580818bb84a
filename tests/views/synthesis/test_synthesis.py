"""Oracle, simulated and replayed views: where their cameras stand, and what a picture may depend on."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.evaluation.meshes import chair

from one2345.errors import InputError
from one2345.geometry import ViewPlan, load_plan, orbit_cameras
from one2345.meshing import write_mesh
from one2345.objects import MeshObject
from one2345.views import PosedViews, write_object
from one2345.views.simulation import SimulatedInputs
from one2345.views.synthesis import Oracle, Replay, Simulated, ViewRequest, open_oracle

ELEVATION = 25.0
SIZE = 48


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    mesh = chair()
    colours = (mesh.vertices - mesh.vertices.min(0)) / np.ptp(mesh.vertices, axis=0)
    painted = replace(mesh, colours=colours.astype(np.float32))
    return Oracle(object=MeshObject(painted, id="chair", repair=False), elevation=ELEVATION, size=SIZE)


def requests(plan: ViewPlan, elevation: float = ELEVATION) -> list[ViewRequest]:
    planned = plan.views(elevation)
    return [
        ViewRequest.of(v, None if v.parent is None else planned[v.parent], input_elevation=elevation)
        for v in planned
    ]


def blank(count: int) -> torch.Tensor:
    return torch.ones(count, 3, SIZE, SIZE)


def test_requests_lead_to_the_cameras_of_the_plan(oracle):
    plan = load_plan("published")
    asked = oracle.cameras(requests(plan))
    assert torch.allclose(asked.c2w, plan.cameras(ELEVATION, SIZE).c2w, atol=1e-5)
    assert torch.allclose(asked.K, plan.cameras(ELEVATION, SIZE).K)


def test_a_request_says_how_to_get_from_its_own_picture_to_the_view():
    near = next(r for r in requests(load_plan("published")) if r.name == "s5_n2")
    assert (near.parent, near.azimuth, near.elevation) == ("s5", -10.0, 0.0)
    assert (near.parent_azimuth, near.parent_elevation) == (120.0, -30.0)
    turned = next(r for r in requests(load_plan("published")) if r.name == "s3")
    assert (turned.parent, turned.azimuth) == (None, -90.0)  # the short way round


def test_the_oracle_renders_from_those_cameras(oracle):
    made = oracle(requests(load_plan("ring8")), blank(8), seed=0)
    direct = oracle.object.render(load_plan("ring8").cameras(ELEVATION, SIZE))
    assert torch.equal(made.images, direct.rgb) and torch.equal(made.masks, direct.mask)


def test_simulated_views_depend_on_nothing_but_request_and_seed(oracle):
    simulated = Simulated(oracle=oracle)
    asked = requests(load_plan("published"))
    together = simulated(asked, blank(40), seed=3)
    backwards = simulated(asked[::-1], blank(40), seed=3)
    assert torch.allclose(backwards.images.flip(0), together.images, atol=1e-6)
    alone = simulated([asked[11]], blank(1), seed=3)
    assert torch.allclose(alone.images[0], together.images[11], atol=1e-6)
    other = simulated([asked[11]], blank(1), seed=4)
    assert (other.images[0] - together.images[11]).abs().mean() > 1e-3


def test_simulated_near_views_inherit_the_drift_of_their_parent(oracle):
    asked = [r for r in requests(load_plan("published")) if r.parent in (None, "s2") and r.name[:2] == "s2"]
    exact = oracle(asked, blank(5), seed=0).images
    chained = Simulated(oracle=oracle)(asked, blank(5), seed=1).images
    fresh = Simulated(oracle=oracle, errors=SimulatedInputs(chain=False))(asked, blank(5), seed=1).images
    error = [(x - exact).square().mean((1, 2, 3)) for x in (chained, fresh)]
    assert torch.allclose(error[0][0], error[1][0], rtol=1e-4)  # the view from behind itself errs alike
    assert (error[0][1:] > 2 * error[1][1:]).all()  # what is made from it errs more when chained


def views_of(oracle: Oracle, plan: ViewPlan) -> PosedViews:
    made = oracle(requests(plan), blank(len(plan.views(0))), seed=0)
    planned = plan.views(ELEVATION)
    return PosedViews(
        images=made.images, masks=made.masks, cameras=plan.cameras(ELEVATION, SIZE),
        names=tuple(v.name for v in planned), roles=tuple(v.role for v in planned),
        parents=tuple(v.parent for v in planned),
    )  # fmt: skip


def test_replay_gives_back_what_was_written(oracle, tmp_path):
    views = views_of(oracle, load_plan("ring8"))
    (tmp_path / "dataset.json").write_text(json.dumps({"schema": "one2345-views", "version": 1}))
    folder = write_object(tmp_path, "chair", views=views, provenance={"elevation": ELEVATION})
    for root in (tmp_path, folder):
        replay = Replay(root=root)
        assert (replay.size, replay.elevation) == (SIZE, ELEVATION)
        back = replay(requests(load_plan("ring8"))[::-1], blank(8), seed=9)
        assert (back.images.flip(0) - views.images).abs().max() <= 0.5 / 255 + 1e-6
        assert torch.equal(back.masks.flip(0), views.masks)
    own = Replay(root=tmp_path).picture()
    assert own is not None and (own.images[0] - views.images[0]).abs().max() <= 0.5 / 255 + 1e-6
    write_object(tmp_path, "second", views=views)
    with pytest.raises(InputError, match="2 objects"):
        Replay(root=tmp_path)


def test_replay_of_a_plain_folder(oracle, tmp_path):
    views = views_of(oracle, load_plan("ring8"))
    for name, image in zip(views.names, views.images):
        pixels = (image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    replay = Replay(root=tmp_path)
    assert replay.elevation is None and Replay(root=tmp_path, elevation=12).elevation == 12.0
    before = replay.describe()
    made = replay(requests(load_plan("ring8")), blank(8), seed=0)
    assert (made.masks == (views.images.amin(1) < 250 / 255)).all()
    assert 0.9 < float(made.masks.sum() / views.masks.sum()) <= 1.0
    Image.new("RGB", (SIZE, SIZE), "white").save(tmp_path / "s0.png")
    assert replay.describe() != before
    (tmp_path / "s3.png").unlink()
    with pytest.raises(InputError, match=r"s3\.png.*missing"):
        replay(requests(load_plan("ring8")), blank(8), seed=0)
    (tmp_path / "s3.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    with pytest.raises(InputError, match=r"s3\.png: not a readable PNG"):
        replay(requests(load_plan("ring8")), blank(8), seed=0)


def test_replay_without_a_folder(tmp_path):
    with pytest.raises(InputError, match=r"views\.root=DIR"):
        Replay(root=None)
    with pytest.raises(InputError, match="no such folder"):
        Replay(root=tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no pictures"):
        Replay(root=tmp_path)


def test_an_oracle_of_a_file_stands_where_the_world_has_the_object(tmp_path):
    file = write_mesh(chair(), tmp_path / "chair.glb")
    made = open_oracle(object=file, elevation=10.0, size=SIZE)
    direct = MeshObject(chair(), id="x", repair=False, antialias=2).render(
        orbit_cameras([0.0], [10.0], size=SIZE)
    )
    assert (made.picture().masks - direct.mask).abs().mean() < 2e-3
    with pytest.raises(InputError, match=r"views\.object=FILE"):
        open_oracle(object=None, elevation=10.0)
    with pytest.raises(InputError, match="elevation=20"):
        open_oracle(object=file, elevation=None)


def test_the_oracle_knows_its_object_by_content(tmp_path):
    one = write_mesh(chair(), tmp_path / "a.glb")
    two = write_mesh(replace(chair(), vertices=chair().vertices * [1, 1, 1.1]), tmp_path / "b.glb")
    described = [open_oracle(object=f, elevation=10.0).describe() for f in (one, two)]
    assert described[0] != described[1]
