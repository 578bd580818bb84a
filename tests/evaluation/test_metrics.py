import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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
)


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


def test_points_that_are_not_finite_are_refused():
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
