"""Gaps that hulls leave in silhouettes: balls, whose silhouettes and halves are known exactly."""

import pytest
import torch

from one2345.geometry import (
    Box,
    Cameras,
    SilhouetteGaps,
    camera_rays,
    coherence,
    hull_evidence,
    intrinsics,
    load_plan,
    look_at,
    mask_distance,
    silhouette_gaps,
)

BOX = Box(half_edge=0.5, resolution=40)
FAR = 0.1


def _ball_masks(cameras: Cameras, radius: float, centres: torch.Tensor) -> torch.Tensor:
    rays = camera_rays(cameras)
    origins = rays.origins - centres[:, None, None]
    along = (origins * rays.directions).sum(-1)
    return ((along.square() - (origins.square().sum(-1) - radius**2)) > 0).float()


def _found(cameras: Cameras, masks: torch.Tensor) -> SilhouetteGaps:
    points = BOX.nodes().reshape(-1, 3)
    known = hull_evidence(points, mask_distance(masks), masks, cameras, tolerances=[0.0, 0.1])
    return _gaps(points, known.distances, masks, cameras)


def _gaps(
    points: torch.Tensor, distances: torch.Tensor, masks: torch.Tensor, cameras: Cameras
) -> SilhouetteGaps:
    near = distances[:, -1] < FAR
    return silhouette_gaps(points[near], distances[near], masks, cameras, BOX, far=FAR)


def test_views_that_agree_leave_no_gaps_and_views_that_err_do() -> None:
    cameras = load_plan("published32").cameras(20.0, 96)
    moved = 0.02 * torch.randn(len(cameras), 3, generator=torch.Generator().manual_seed(0))
    for radius, least in ((0.3, 0.02), (0.05, 0.2)):
        exact = _found(cameras, _ball_masks(cameras, radius, torch.zeros_like(moved)))
        erring = _found(cameras, _ball_masks(cameras, radius, moved))
        assert exact.overall.max() < 0.01 and exact.local.mean() < 0.01
        assert erring.overall[0] > least and erring.local[:, 0].mean() > least
        assert erring.overall[1] < erring.overall[0], "views that are overruled carve less"
    gone = _gaps(BOX.nodes().reshape(-1, 3), torch.full((40**3, 1), 0.099), _masks_of(cameras), cameras)
    assert gone.overall[0] > 0.98


def _masks_of(cameras: Cameras) -> torch.Tensor:
    return _ball_masks(cameras, 0.3, torch.zeros(len(cameras), 3))


@pytest.mark.parametrize("shared", [False, True])
def test_gap_of_half_a_ball(shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen along y, the cells where x > 0 are as far from the half with x < 0 as their x, up to `far`."""
    if shared:
        monkeypatch.setattr(coherence, "looped", lambda _: False)
    eye = torch.tensor([[0.0, -40.0, 0.0], [0.0, 40.0, 0.0]])
    cameras = Cameras(K=intrinsics(96, focal=4000.0).expand(2, 3, 3), c2w=look_at(eye), size=(96, 96))
    radius, points = 0.35, BOX.nodes().reshape(-1, 3)
    half = torch.maximum(points.norm(dim=1) - radius, points[:, 0])[:, None]
    found = _gaps(points, half, _ball_masks(cameras, radius, torch.zeros(2, 3)), cameras)
    x = torch.linspace(0, radius, 1001)
    chords = (radius**2 - x.square()).clamp_min(0).sqrt()
    share = float((chords * (x / FAR).clamp_max(1)).sum() / (2 * chords.sum()))
    assert found.overall[0] == pytest.approx(share, rel=0.05)
    near = points[half[:, 0] < FAR]
    beside = (near[:, 2].abs() < 0.1) & (near[:, 0] > 0)
    behind = near[beside, 0] - found.local[beside, 0] * FAR
    assert len(behind) > 500 and behind.min() > -1e-5 and behind.max() < coherence.CELL * BOX.voxel_size
    assert found.local[half[half[:, 0] < FAR, 0] < 0].max() == 0, "a point in the hull fills its cells"


@pytest.mark.parametrize("threads", [1, 2])
def test_loops_equal_the_plain_operations(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    cameras = load_plan("published32").cameras(20.0, 96)
    moved = 0.02 * torch.randn(len(cameras), 3, generator=torch.Generator().manual_seed(0))
    masks = _ball_masks(cameras, 0.2, moved) * 0.8
    try:
        torch.set_num_threads(threads)
        found = _found(cameras, masks)
        monkeypatch.setattr(coherence, "looped", lambda _: False)
        monkeypatch.setattr(coherence, "PAIRS", 2**14)
        expected = _found(cameras, masks)
    finally:
        torch.set_num_threads(before)
    assert found.local.max() > 0.1
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_without_points_or_silhouettes_nothing_is_divided_by_nothing() -> None:
    cameras = load_plan("ring8").cameras(20.0, 32)
    masks = torch.zeros(len(cameras), 32, 32)
    points = BOX.nodes().reshape(-1, 3)
    assert not _gaps(points, torch.zeros(len(points), 1), masks, cameras).overall.any()
    empty = _gaps(points[:0], torch.zeros(0, 1), _masks_of(cameras), cameras)
    assert empty.local.shape == (0, 1) and empty.overall[0] == pytest.approx(1, abs=0.02)


def test_cells_are_wider_than_points_lie_apart_from_close_by_too() -> None:
    """A camera near the object sees the points of the lattice farther apart; no gap comes of that."""
    eye = torch.tensor([[0.0, -0.9, 0.0]])
    cameras = Cameras(K=intrinsics(128, focal=140.0)[None], c2w=look_at(eye), size=(128, 128))
    masks = _ball_masks(cameras, 0.3, torch.zeros(1, 3))
    points = BOX.nodes().reshape(-1, 3)
    inside = (points.norm(dim=1) - 0.3)[:, None]
    assert _gaps(points, inside, masks, cameras).overall[0] < 0.02
