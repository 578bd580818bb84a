"""Closed forms through the whole measurement, frames, and what every odd mesh comes to."""

from dataclasses import replace

import numpy as np
import pytest
from tests.evaluation.meshes import affine, box, chair, join, sphere

from one2345.errors import EmptySurfaceError
from one2345.evaluation import (
    Aligner,
    EvaluationProtocol,
    MeshTruth,
    OccupancyGrid,
    Prediction,
    measure,
    sample_surface,
)
from one2345.geometry import Mesh

STRICT = EvaluationProtocol(
    name="strict", points=60_000, occupancy=OccupancyGrid(resolutions=(64,)), pictures=()
)


def scores(mesh, truth_mesh, protocol=STRICT, frame="truth"):
    truth = MeshTruth(truth_mesh, id="x")
    prediction = Prediction(mesh, frame=frame)
    return measure(mesh, prediction.to_world(truth, protocol), truth, protocol)


def sampling_bound(area_edges, points):
    """Mean distance from a point to the nearest of `points` random ones on a surface: 0.5 sqrt(area / points)."""
    return 0.5 * np.sqrt(area_edges / points)


def test_a_mesh_against_itself():
    for mesh in (sphere(3.0), chair()):
        found = scores(mesh, mesh).scores
        edge = float(np.ptp(mesh.bounds, axis=0).max())
        assert found["iou_64"] == 1.0
        assert found["f_0.01"] > 0.999
        assert found["f_0.02"] == 1.0
        bound = sampling_bound(mesh.areas().sum() / edge**2, STRICT.points)
        assert found["chamfer"] == pytest.approx(bound, rel=0.08)
        assert found["normal_consistency"] > 0.96


@pytest.mark.parametrize("unit", [1.0, 250.0])
def test_sphere_against_scaled_sphere(unit):
    """Distances are |r1 - r2|, in edges of the truth whatever the file's unit; IoU is the ratio of volumes."""
    found = scores(sphere(0.45 * unit), sphere(0.5 * unit)).scores
    assert found["chamfer"] == pytest.approx(0.05, rel=0.01)
    assert found["chamfer_squared"] == pytest.approx(0.0025, rel=0.02)
    assert found["iou_64"] == pytest.approx(0.9**3, rel=0.01)
    assert (found["f_0.01"], found["f_0.02"]) == (0.0, 0.0)
    assert scores(sphere(0.45), sphere(0.5), replace(STRICT, thresholds=(0.052,))).scores["f_0.052"] == 1.0


def test_sphere_against_shifted_sphere():
    """Two equal spheres shifted by a small s: the mean distance is the mean of |s cos|, which is s / 2."""
    s = 0.06
    found = scores(sphere(0.5, (s, 0, 0)), sphere(0.5), replace(STRICT, thresholds=(0.065,))).scores
    overlap = 1 - 1.5 * s + 0.5 * s**3
    assert found["iou_64"] == pytest.approx(overlap / (2 - overlap), rel=0.01)
    assert found["chamfer"] == pytest.approx(s / 2, rel=0.05)
    assert found["f_0.065"] == 1.0


def test_box_against_shifted_and_turned_box():
    half = np.array([0.5, 0.2, 0.3])
    found = scores(box(half, (0.1, 0, 0)), box(half)).scores
    assert found["iou_64"] == pytest.approx(0.9 / 1.1, rel=0.02)
    turned = scores(box(half).transformed(affine(yaw=90)), box(half)).scores
    assert turned["iou_64"] == pytest.approx(0.4 / (2 - 0.4), rel=0.03)


def test_every_convention_on_a_hand_computed_pair():
    """Points of a plate against the same plate 0.1 above: every distance is 0.1, both ways."""
    plate, above = box([0.5, 0.5, 1e-3]), box([0.5, 0.5, 1e-3], (0, 0, 0.1))
    expected = {
        ("unsquared", "mean"): 0.1,
        ("unsquared", "sum"): 0.2,
        ("squared", "mean"): 0.01,
        ("squared", "sum"): 0.02,
    }
    for (kind, directions), value in expected.items():
        protocol = replace(STRICT, chamfer=(kind,), directions=directions, occupancy=None)
        found = scores(above, plate, protocol).scores
        column = "chamfer" if kind == "unsquared" else "chamfer_squared"
        assert found[column] == pytest.approx(value, rel=0.03), (kind, directions)
        assert ("chamfer" in found, "chamfer_squared" in found) == (kind == "unsquared", kind == "squared")
    doubled = scores(above, plate, replace(STRICT, edge=2.0, occupancy=None)).scores
    assert doubled["chamfer"] == pytest.approx(0.2, rel=0.03)


def test_frames():
    """The same surface in three frames scores the same; in a frame that isn't its own it doesn't."""
    truth = chair().transformed(affine(scale=37.0, shift=(5, -3, 100)))
    canonical = chair().transformed(affine(shift=-chair().bounds.mean(0)))
    edge = float(np.ptp(canonical.bounds, axis=0).max())
    in_file = scores(truth, truth, frame="truth").scores
    by_number = scores(canonical, truth, frame=edge).scores
    assert by_number["chamfer"] == pytest.approx(in_file["chamfer"], rel=1e-3)
    assert by_number["iou_64"] > 0.999
    by_protocol = scores(
        canonical.transformed(affine(scale=1 / edge)),
        truth,
        replace(STRICT, prediction="canonical"),
        frame=None,
    )
    assert by_protocol.scores["iou_64"] > 0.999
    assert (
        scores(canonical, truth, frame=None).scores["iou_64"] < 0.1
    )  # strict: the truth's transform for both


def test_alignment_stands_beside_what_it_found():
    protocol = replace(STRICT, alignment=Aligner(method="yaw_scale_icp", scales=(0.8, 1.0, 1.25)))
    moved = chair().transformed(affine(scale=1.1, yaw=37, shift=(0.1, -0.05, 0.02)))
    found = scores(moved, chair(), protocol)
    assert found.scores["iou_64"] > 0.97
    assert found.unaligned["iou_64"] < 0.5
    assert set(found.unaligned) == set(found.scores)
    assert found.alignment["yaw_degrees"] == pytest.approx(-37, abs=1)
    assert found.alignment["scale"] == pytest.approx(1 / 1.1, rel=0.01)
    assert not found.facts["mirrored"]
    assert scores(moved, chair()).unaligned == {}


def test_a_mirror_image_is_said_and_not_mended():
    mirror = np.diag([-1.0, 1, 1, 1])
    for method in ("none", "yaw_scale_icp"):
        protocol = replace(STRICT, alignment=Aligner(method=method))
        found = scores(chair().transformed(mirror), chair(), protocol)
        assert found.facts["mirrored"], method
        assert found.scores["iou_64"] < 0.9
        assert not scores(chair(), chair(), protocol).facts["mirrored"]
        assert not scores(sphere(0.5, subdivisions=4), sphere(0.5), protocol).facts["mirrored"]


def test_sealed_cavities_are_inside_on_both_sides():
    hollow = join(sphere(0.5), Mesh(sphere(0.3).vertices, sphere(0.3).faces[:, ::-1]))
    found = scores(hollow, sphere(0.5))
    assert found.scores["iou_64"] == 1.0
    assert found.facts["enclosed_dropped"] == 1
    assert found.facts["components"] == 2


def test_open_meshes_have_winding_numbers_and_say_so():
    ball = sphere(0.5)
    lid = ball.triangles.mean(1)[:, 2] > 0.47
    opened = Mesh(ball.vertices, ball.faces[~lid])
    found = scores(opened, ball)
    assert found.facts["occupancy"] == "winding number"
    assert not found.facts["watertight"]
    assert found.facts["open_edges"] > 10
    assert found.scores["iou_64"] > 0.95
    assert scores(ball, ball).facts["occupancy"] == "column scan"


def test_inverted_and_nonmanifold_meshes():
    ball = sphere(0.5)
    inverted = scores(Mesh(ball.vertices, ball.faces[:, ::-1]), ball)
    assert inverted.scores["iou_64"] == 1.0
    assert inverted.facts["faces_turned"] == len(ball.faces)
    # Two boxes that share an edge: four faces meet there.
    touching = join(box([0.25, 0.25, 0.5], (-0.25, -0.25, 0)), box([0.25, 0.25, 0.5], (0.25, 0.25, 0)))
    found = scores(touching, touching)
    assert found.facts["nonmanifold_edges"] == 1
    assert found.scores["iou_64"] == 1.0


def test_floaters_are_counted():
    littered = join(sphere(0.5), sphere(0.02, (0.55, 0, 0.3), 2), sphere(0.03, (-0.55, 0, 0.3), 2))
    found = scores(littered, sphere(0.5))
    assert found.facts["floaters"] == 2
    assert found.facts["floater_area"] == pytest.approx((0.02**2 + 0.03**2) / 0.5**2, rel=0.1)


def test_meshes_with_nothing_to_measure_are_errors():
    with pytest.raises(EmptySurfaceError, match="no faces"):
        scores(Mesh(np.zeros((3, 3)), np.zeros((0, 3))), sphere(0.5))
    with pytest.raises(EmptySurfaceError, match=r"no (extent|area)"):
        scores(Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]])), sphere(0.5))
    line = Mesh(np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), np.array([[0, 1, 2]]))
    with pytest.raises(EmptySurfaceError, match=r"no (extent|area)"):
        scores(line, sphere(0.5))


@pytest.mark.slow
def test_a_million_faces():
    big = sphere(0.5, subdivisions=8)
    assert len(big.faces) == 1_310_720
    found = scores(big, sphere(0.5))
    assert found.scores["iou_64"] > 0.995
    assert found.facts["watertight"]


def test_surface_samples_are_uniform_by_area():
    mesh = box(np.array([0.4, 0.1, 0.2]))
    cloud = sample_surface(mesh, 60_000, seed=0, object_id="box")
    assert np.allclose(np.linalg.norm(cloud.normals, axis=1), 1)
    areas = {0: 0.1 * 0.2, 1: 0.4 * 0.2, 2: 0.4 * 0.1}
    for axis, area in areas.items():
        share = (np.abs(cloud.normals[:, axis]) > 0.5).mean()
        assert share == pytest.approx(area / sum(areas.values()), rel=0.01)
    assert np.abs(cloud.points.mean(0)).max() < 0.005
    again = sample_surface(mesh, 60_000, seed=0, object_id="box")
    assert np.array_equal(cloud.points, again.points)
    other = sample_surface(mesh, 60_000, seed=0, object_id="box", of="true surface")
    assert not np.array_equal(cloud.points, other.points)


def test_faces_without_area_do_not_move_the_frame():
    """A degenerate face far away is no part of the object, on either side."""
    cube = box([0.5, 0.5, 0.5])
    spiked = Mesh(np.concatenate([cube.vertices, [[9.0, 9, 9]]]), np.concatenate([cube.faces, [[0, 8, 8]]]))
    for mesh, truth in ((spiked, spiked), (cube, spiked), (spiked, cube)):
        found = scores(mesh, truth)
        assert found.scores["iou_64"] == 1.0
        assert found.facts["size"] == pytest.approx(1.0)
    boxed = scores(spiked, cube, replace(STRICT, alignment=Aligner(method="centre_scale")))
    assert boxed.scores["iou_64"] > 0.99


def test_alignment_finds_what_the_cameras_of_the_points_do_not_see():
    from tests.evaluation.test_protocol import visible

    protocol = replace(STRICT, visible=visible(), alignment=Aligner(method="centre_scale"))
    found = scores(sphere(30.0, (200, 0, 0)), sphere(0.5), protocol, frame=1.0)
    assert found.scores["chamfer"] < 0.01
    assert found.unaligned == {}
