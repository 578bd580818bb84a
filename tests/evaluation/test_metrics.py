import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from one2345.errors import EmptySurfaceError, InputError
from one2345.evaluation import EvaluationProtocol, Truth, evaluate_mesh, grid_occupancy, sample_mesh
from one2345.evaluation.metrics import (
    ChamferDistance,
    FScore,
    NormalConsistency,
    ViewQuality,
    VolumeIoU,
    chamfer,
    cloud_distances,
    fscore,
    normal_consistency,
    psnr,
    ssim,
    volume_iou,
)
from one2345.geometry import Box, Mesh
from one2345.meshing import extract


def _sphere_points(radius, count, seed=0):
    direction = np.random.default_rng(seed).normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return radius * direction, direction


def test_conventions_by_hand():
    """Two clouds small enough for paper: a→b is (1 + 2) / 2, b→a is (1 + 2 + 5) / 3."""
    a = [[0.0, 0, 0], [10.0, 0, 0]]
    b = [[1.0, 0, 0], [12.0, 0, 0], [15.0, 0, 0]]
    d = cloud_distances(a, b)
    assert d.accuracy.tolist() == [1, 2]
    assert d.completeness.tolist() == [1, 2, 5]
    assert chamfer(d) == pytest.approx(((1.5 + 8 / 3) / 2, (5 / 2 + 30 / 3) / 2))
    assert fscore(d, [0.5, 1, 2, 5]) == pytest.approx(
        [0, 2 * (1 / 2) * (1 / 3) / (5 / 6), 2 * (2 / 3) / (5 / 3), 1]
    )
    assert chamfer(cloud_distances(a, b, unit=2.0)) == pytest.approx((4.1666667 / 4, 12.5 / 8))


def test_sphere_against_scaled_sphere():
    (p, n), (q, m) = _sphere_points(0.4, 100_000), _sphere_points(0.36, 100_000, seed=1)
    d = cloud_distances(p, q, n, m, unit=0.8)
    assert chamfer(d)[0] == pytest.approx(0.05, rel=0.01)
    assert chamfer(d)[1] == pytest.approx(0.0025, rel=0.01)
    assert fscore(d, [0.049, 0.0515]) == pytest.approx([0.0, 1.0], abs=0.01)
    assert normal_consistency(d) == pytest.approx(1.0, abs=1e-3)


def test_normals_ignore_orientation_and_see_tilt():
    grid = np.stack(np.meshgrid(np.arange(30.0), np.arange(30.0), [0.0]), -1).reshape(-1, 3)
    up = np.tile([0.0, 0, 1], (len(grid), 1))
    tilted = np.tile([0.0, np.sin(0.7), -np.cos(0.7)], (len(grid), 1))
    assert normal_consistency(cloud_distances(grid, grid, up, -up)) == 1.0
    assert normal_consistency(cloud_distances(grid, grid, up, tilted)) == pytest.approx(np.cos(0.7))


def _box_mesh(half, centre=(0.0, 0, 0)):
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half + centre
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    return Mesh(corners, np.array([[q[0], q[i], q[i + 1]] for q in quads for i in (1, 2)]))


def test_volume_iou_of_shifted_boxes():
    half = np.array([0.3, 0.24, 0.3])
    a, b = (
        grid_occupancy(_box_mesh(half), [128])[128],
        grid_occupancy(_box_mesh(half, (0.12, 0, 0)), [128])[128],
    )
    assert volume_iou(a, b) == pytest.approx((0.6 - 0.12) / (0.6 + 0.12), rel=0.01)
    assert a.mean() == pytest.approx(np.prod(2 * half) / 0.96**3, rel=0.02)
    assert volume_iou(a, a) == 1.0
    assert volume_iou(a, ~a) == 0.0


def test_volume_iou_of_spheres():
    big, small = (extract(lambda p, r=r: p.norm(dim=-1) - r, Box(), resolution=96) for r in (0.4, 0.3))
    for resolution in (64, 128):
        a, b = grid_occupancy(big, [resolution]), grid_occupancy(small, [resolution])
        assert volume_iou(a[resolution], b[resolution]) == pytest.approx(0.75**3, rel=0.01)


def test_all_scores_of_sphere_against_shifted_sphere():
    """Two equal spheres shifted by a small s: the mean distance is the mean of |s cos|, which is s / 2."""
    shift = 0.02
    true = extract(lambda p: p.norm(dim=-1) - 0.4, Box(), resolution=96)
    moved = extract(lambda p: (p - torch.tensor([shift, 0, 0])).norm(dim=-1) - 0.4, Box(), resolution=96)
    points, normals = sample_mesh(true, 400_000, seed=3, object_id="s")
    truth = Truth("s", points.astype(np.float32), normals.astype(np.float32), grid_occupancy(true, (64,)))
    protocol = EvaluationProtocol(name="t", points=400_000, resolutions=(64,), thresholds=(0.03,))
    scores = evaluate_mesh(moved, truth, protocol)
    overlap = 1 - 1.5 * (shift / 0.8) + 0.5 * (shift / 0.8) ** 3
    assert scores["iou_64"] == pytest.approx(overlap / (2 - overlap), rel=0.01)
    # Sampling adds its own distance in quadrature: 0.5 sqrt(area / n) in the plane.
    assert scores["chamfer"] == pytest.approx(shift / 2 / 0.8, rel=0.03)
    assert scores["f_0.03"] == 1.0
    assert scores["normal_consistency"] > 0.998


def test_surface_samples_are_uniform_by_area():
    mesh = _box_mesh(np.array([0.4, 0.1, 0.2]))
    points, normals = sample_mesh(mesh, 60_000, seed=0, object_id="box")
    assert np.allclose(np.linalg.norm(normals, axis=1), 1)
    areas = {0: 0.1 * 0.2, 1: 0.4 * 0.2, 2: 0.4 * 0.1}
    for axis, area in areas.items():
        share = (np.abs(normals[:, axis]) > 0.5).mean()
        assert share == pytest.approx(area / sum(areas.values()), rel=0.01)
    assert np.abs(points.mean(0)).max() < 0.005
    again, _ = sample_mesh(mesh, 60_000, seed=0, object_id="box")
    assert np.array_equal(points, again)


def test_mesh_without_faces_and_missing_grid_are_errors():
    truth = Truth("x", np.zeros((1, 3), np.float32), np.zeros((1, 3), np.float32), {})
    protocol = EvaluationProtocol(name="t", resolutions=(32,))
    with pytest.raises(EmptySurfaceError, match="no faces"):
        evaluate_mesh(Mesh(np.zeros((3, 3)), np.zeros((0, 3))), truth, protocol)
    with pytest.raises(InputError, match="x: no occupancy grid of resolution"):
        evaluate_mesh(_box_mesh(np.ones(3) * 0.3), truth, protocol)
    with pytest.raises(ValueError, match="NaN"):
        cloud_distances([[0.0, np.nan, 0]], [[0.0, 0, 0]])


@settings(deadline=None, max_examples=20)
@given(st.floats(0.01, 0.5), st.integers(1, 4))
def test_psnr_of_a_constant_error(error, views):
    true = torch.full((views, 3, 16, 16), 0.25)
    assert psnr(true + error, true) == pytest.approx(-20 * np.log10(error), abs=1e-4)


def test_picture_scores():
    true = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert psnr(true, true) == 100.0
    assert ssim(true, true) == pytest.approx(1.0, abs=1e-6)
    assert ssim(1 - true, true) < 0
    black = torch.zeros(2, 3, 32, 32)
    assert psnr(torch.stack([black[0], black[0] + 1]), black) == pytest.approx(50.0)
    with pytest.raises(ValueError, match="shapes"):
        psnr(true[:1], true)


def test_metrics_match_their_cores():
    (p, n), (q, m) = _sphere_points(0.4, 500), _sphere_points(0.3, 400, seed=1)
    d = cloud_distances(p, q, n, m, unit=0.8)
    c = ChamferDistance()
    c.update("a", torch.from_numpy(p), q)
    assert [float(v) for v in c.compute().values()] == list(chamfer(d))
    f = FScore(thresholds=(0.1, 0.13))
    f.update("a", p, q)
    assert {k: float(v) for k, v in f.compute().items()} == dict(
        zip(("f_0.1", "f_0.13"), fscore(d, (0.1, 0.13)))
    )
    nc = NormalConsistency()
    nc.update("a", p, q, n, m)
    assert float(nc.compute()["normal_consistency"]) == normal_consistency(d)
    iou = VolumeIoU(resolution=8)
    iou.update("a", np.ones((8, 8, 8)), np.arange(512).reshape(8, 8, 8) < 128)
    iou.update("a", np.ones((8, 8, 8)), np.arange(512).reshape(8, 8, 8) < 128)
    iou.update("b", np.ones((8, 8, 8)), np.ones((8, 8, 8)))
    assert float(iou.compute()["iou_8"]) == pytest.approx(0.625)
    view = ViewQuality()
    view.update("a", torch.zeros(1, 3, 16, 16), torch.full((1, 3, 16, 16), 0.1))
    assert float(view.compute()["psnr"]) == pytest.approx(20, abs=1e-4)
    view.reset()
    with pytest.warns(UserWarning, match="before the"):
        assert view.compute()["psnr"].isnan()
