from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from one2345.build import build
from one2345.errors import InputError
from one2345.evaluation import (
    CameraRings,
    EvaluationProtocol,
    MeshTruth,
    OccupancyGrid,
    VisibleSurface,
)
from one2345.evaluation.quoted import quoted_blocks
from one2345.geometry import project, spherical
from one2345.objects import MeshObject
from one2345.paths import conf_dir

from .meshes import box, chair, sphere

FILES = sorted((conf_dir() / "protocol").glob("*.yaml"))


def load(name):
    return build(yaml.safe_load((conf_dir() / "protocol" / f"{name}.yaml").read_text()), allow_any=True)


def test_the_named_protocols_are_there():
    names = {"one2345", "syncdreamer", "triposr", "crm", "instantmesh", "one2345-strict"}
    assert {f.stem for f in FILES} == names


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_every_protocol_states_its_source_and_every_number(file):
    """A default of the class that a file leaves out could change under it without a new version."""
    node = yaml.safe_load(file.read_text())
    protocol = load(file.stem)
    assert protocol.name == file.stem
    assert len(protocol.source) > 20
    assert protocol.unknown or file.stem == "one2345-strict"
    fields = set(EvaluationProtocol.__dataclass_fields__) - {"visible"}
    assert fields <= set(node), fields - set(node)
    text = " ".join(protocol.conventions().values())
    assert protocol.hash in text
    assert protocol.alignment.describe() in text


def test_published_facts():
    """Numbers that the papers print, read off the files."""
    paper, sync, tripo, crm, mesh, strict = (
        load(n) for n in ("one2345", "syncdreamer", "triposr", "crm", "instantmesh", "one2345-strict")
    )
    assert (paper.edge, paper.thresholds, paper.alignment.method) == (0.8, (0.05,), "yaw_scale_icp")
    assert paper.alignment.criterion == "inliers"
    assert paper.cameras.count == 24
    assert paper.cameras.distance * paper.edge == pytest.approx(1.3)
    assert sync.visible.cameras.count == 16
    assert (sync.visible.voxel, sync.resolutions, sync.occupancy.half_edge) == (0.01, (64,), 1.0)
    assert (sync.chamfer, sync.directions, sync.alignment.method) == (("unsquared",), "mean", "none")
    assert (tripo.points, tripo.thresholds, tripo.alignment.icp) == (10_000, (0.1, 0.2, 0.5), "rigid")
    assert (crm.edge, crm.thresholds, crm.cameras.count) == (1.0, (0.05,), 24)
    assert (mesh.points, mesh.thresholds, mesh.edge) == (16_000, (0.2,), 2.0)
    assert (strict.points, strict.edge, strict.alignment.method) == (100_000, 1.0, "none")
    assert (strict.resolutions, strict.occupancy.half_edge) == ((128,), 0.6)
    assert strict.thresholds == (0.01, 0.02, 0.05)


def test_quoted_rows_name_protocols_that_exist():
    names = {f.stem for f in FILES}
    named = {block.protocol for block in quoted_blocks() if block.protocol is not None}
    assert named <= names
    assert {"syncdreamer", "triposr", "crm", "one2345"} <= named


def test_the_hash_is_that_of_the_numbers():
    protocol = load("one2345-strict")
    assert replace(protocol, source="other words").hash == protocol.hash
    assert replace(protocol, edge=1, thin=0.04).hash == protocol.hash
    for change in (
        {"points": 99_999}, {"seed": 1}, {"thresholds": (0.01,)}, {"edge": 1.1}, {"directions": "sum"},
        {"occupancy": OccupancyGrid(resolutions=(64,))}, {"alignment": replace(protocol.alignment, method="yaw")},
    ):  # fmt: skip
        assert replace(protocol, **change).hash != protocol.hash, change


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"thresholds": (0.0,)}, "protocol.thresholds are"),
        ({"points": 0}, "protocol.points is 0"),
        ({"edge": -1.0}, "protocol.edge is -1"),
        ({"prediction": "world"}, "protocol.prediction: 'world' is unknown; it takes truth, canonical"),
        ({"directions": "max"}, "protocol.directions"),
        ({"chamfer": ("cubed",)}, "protocol.chamfer"),
        ({"pictures": ("fid",)}, "protocol.pictures"),
        ({"bootstrap": -1}, "protocol.bootstrap"),
        ({"edge": 2.0}, "half_edge is 0.6: the cube must hold the object"),
        (
            {"chamfer": (), "thresholds": (), "occupancy": None, "normals": False, "pictures": ()},
            "nothing to measure",
        ),
    ],
)
def test_senseless_protocols_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        EvaluationProtocol(name="x", **changes)


def test_senseless_grids_and_cameras_are_refused():
    with pytest.raises(InputError, match="resolutions"):
        OccupancyGrid(resolutions=(1,))
    with pytest.raises(InputError, match="half_edge"):
        OccupancyGrid(half_edge=0)
    with pytest.raises(InputError, match=r"rings\[0\]: give elevation and count, found \['count'\]"):
        CameraRings(rings=({"count": 3},), size=64)
    with pytest.raises(InputError, match="fov=180"):
        CameraRings(rings=({"count": 3, "elevation": 0},), size=64, fov=180)


def test_rings_of_cameras():
    rings = CameraRings(rings=({"elevation": 30, "count": 4}, {"elevation": -10, "count": 2}), size=64)
    cameras = rings.cameras(0.8)
    azimuth, elevation, radius = spherical(cameras.c2w)
    assert azimuth.tolist() == pytest.approx([0, 90, 180, 270, 0, 180], abs=1e-3)
    assert elevation.tolist() == pytest.approx([30] * 4 + [-10] * 2, abs=1e-3)
    assert radius.tolist() == pytest.approx([1.2] * 6)
    # The focal length of the house: 280 px at 256.
    assert float(cameras.K[0, 0, 0]) == pytest.approx(280 / 4, rel=1e-5)


def visible(voxel=0.0, count=16):
    cameras = CameraRings(rings=({"elevation": 30, "count": count},), size=256, fov=49.1)
    return VisibleSurface(cameras=cameras, depth=(0.63, 2.37), depth_range=(0.6, 2.4), voxel=voxel)


def test_visible_points_lie_on_the_surface_and_only_where_cameras_look():
    """A ball seen from elevation 30: no point below the lowest tangent ring, all at the radius."""
    item = MeshObject(sphere(0.4), id="ball", normalise=False)
    rule = visible()
    cameras = rule.cameras.cameras(0.8)
    seen = item.render(cameras)
    points, normals = rule.points(seen, cameras, edge=0.8, quantised=False)
    radius = np.linalg.norm(points, axis=1)
    assert np.abs(radius - 0.4).max() < 1e-3
    assert np.einsum("pi,pi->p", points, normals).min() > 0.3
    lowest = -np.sin(np.deg2rad(60 - np.rad2deg(np.arcsin(0.4 / 1.2)))) * 0.4
    assert points[:, 2].min() == pytest.approx(lowest, abs=0.01)
    assert points[:, 2].max() > 0.399
    quantised, _ = rule.points(seen, cameras, edge=0.8, quantised=True)
    step = 1.8 * 0.8 / 65535
    assert 0 < np.abs(quantised - points).max() < step


def test_one_point_a_voxel():
    item = MeshObject(sphere(0.4, subdivisions=4), id="ball", normalise=False)
    rule = visible(voxel=0.05)
    cameras = rule.cameras.cameras(0.8)
    many, _ = visible().points(item.render(cameras), cameras, edge=0.8, quantised=False)
    points, normals = rule.points(item.render(cameras), cameras, edge=0.8, quantised=False)
    cells = np.unique(np.floor((many - many.min(0)) / 0.04 + 0.5), axis=0)
    assert len(points) == len(cells)
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)


def test_syncdreamer_scores_a_closed_form():
    """A ball against a smaller one: visible points are nearer by the difference of the radii, IoU is (r/R)³."""
    from one2345.evaluation import Prediction, measure

    protocol = load("syncdreamer")
    truth = MeshTruth(sphere(7.0), id="ball")
    mesh = sphere(0.45)
    frame = Prediction(mesh, frame=None).to_world(truth, protocol)
    scores = measure(mesh, frame, truth, protocol).scores
    assert scores["chamfer"] == pytest.approx(0.05, rel=0.05)
    assert scores["iou_64"] == pytest.approx(0.9**3, rel=0.03)


def test_what_only_cameras_from_above_cannot_see_does_not_count():
    """By the script of SyncDreamer an open underside is no error; by the strict rule it is."""
    from one2345.evaluation import Prediction, measure

    full = box([0.4, 0.4, 0.4])
    stub = full.transformed(np.diag([1, 1, 0.75, 1])).transformed(
        np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.1], [0, 0, 0, 1.0]])
    )
    truth = MeshTruth(full, id="cube")
    found = {}
    for name in ("syncdreamer", "one2345-strict"):
        protocol = replace(load(name), pictures=(), points=20_000)
        prediction = Prediction(stub, frame="truth")
        found[name] = measure(stub, prediction.to_world(truth, protocol), truth, protocol).scores["chamfer"]
    assert found["syncdreamer"] < found["one2345-strict"]


def test_protocol_cameras_see_the_whole_object():
    truth = MeshTruth(chair(), id="chair")
    vertices = torch.from_numpy(truth.item.mesh.vertices).float()
    for name in ("one2345-strict", "one2345", "crm"):
        cameras = load(name).cameras.cameras()
        pixels, depth = project(vertices.expand(len(cameras), -1, -1), cameras)
        assert depth.min() > 0
        assert pixels.min() > 0
        assert pixels.max() < cameras.size[0]
