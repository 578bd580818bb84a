"""Visual hull of spheres, whose silhouettes are known exactly."""

import pytest
import torch

from one2345.geometry import (
    Box,
    Cameras,
    camera_rays,
    cone_distances,
    hold_in_frame,
    hull_distances,
    hull_distances_and_gradients,
    hull_evidence,
    hull_occupancy,
    hull_sdf,
    in_frame,
    load_plan,
    mask_distance,
    orbit_cameras,
    project,
    sample_views,
    visual_hull,
)


def _sphere_masks(cameras: Cameras, radius: float) -> torch.Tensor:
    rays = camera_rays(cameras)
    along = (rays.origins * rays.directions).sum(-1)
    return ((along.square() - (rays.origins.square().sum(-1) - radius**2)) > 0).float()


def test_mask_distance_of_a_half_plane() -> None:
    mask = torch.zeros(1, 6, 8)
    mask[..., 3:] = 1
    assert torch.equal(mask_distance(mask)[0, 2], torch.tensor([2.5, 1.5, 0.5, -0.5, -1.5, -2.5, -3.5, -4.5]))


@pytest.mark.parametrize(
    "where", [(slice(5, 14), slice(4, 12)), (slice(0, 9), slice(20, 27)), (slice(12, 20), slice(0, 3))]
)
@pytest.mark.parametrize("scattered", [0.97, 1.0])
def test_mask_distance_is_euclidean(where: tuple[slice, slice], scattered: float) -> None:
    """Of foreground in the middle and at the borders, alone and among specks."""
    mask = torch.rand(20, 27, generator=torch.Generator().manual_seed(0)) > scattered
    mask[where] = True
    pixels = torch.cartesian_prod(torch.arange(20.0), torch.arange(27.0))
    to_inside, to_outside = (
        torch.cdist(pixels, pixels[part.flatten()]).amin(1).view(20, 27) for part in (mask, ~mask)
    )
    expected = torch.where(mask, 0.5 - to_outside, to_inside - 0.5)
    torch.testing.assert_close(mask_distance(mask[None].float())[0], expected, atol=2e-5, rtol=0)


def test_masks_without_an_outline_are_far_away_everywhere() -> None:
    empty, full = mask_distance(torch.stack([torch.zeros(4, 4), torch.ones(4, 4)]))
    assert (empty > 5).all() and (full < -5).all()


def test_hull_of_a_sphere_is_nearly_the_sphere() -> None:
    cameras = load_plan("uniform32").cameras(0.0, 128)
    distances = mask_distance(_sphere_masks(cameras, 0.3))
    directions = torch.nn.functional.normalize(
        torch.randn(500, 3, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    pixel = 1.2 / 140
    assert (hull_sdf(directions * 0.3, distances, cameras).abs() < 2.5 * pixel).all()
    assert (hull_sdf(directions * 0.25, distances, cameras) < 0).all()
    assert (hull_sdf(directions * 0.36, distances, cameras) > 0).all()
    assert hull_sdf(torch.zeros(1, 3), distances, cameras).item() + 0.3 < 2 * pixel


def test_cone_distance_of_one_view_is_metric() -> None:
    cameras = orbit_cameras([0.0], [0.0], size=256)
    distances = mask_distance(_sphere_masks(cameras, 0.2))
    points = torch.tensor([[0.3, 0.0, 0.0], [0.0, 0.0, 0.1]])
    outline = 1.2 * 0.2 / (1.2**2 - 0.2**2) ** 0.5  # radius of the sphere's cone at the centre's depth
    expected = torch.tensor([0.3 - outline, 0.1 - outline])
    assert torch.allclose(cone_distances(points, distances, cameras)[0], expected, atol=1.2 / 280)


def test_tolerance_outvotes_a_wrong_view() -> None:
    cameras = load_plan("ring8").cameras(20.0, 64)
    masks = _sphere_masks(cameras, 0.3)
    masks[3] = 0  # one view shows nothing at all
    distances = mask_distance(masks)
    centre = torch.zeros(1, 3)
    assert hull_sdf(centre, distances, cameras).item() > 0
    assert hull_sdf(centre, distances, cameras, tolerance=0.125).item() < -0.2


def test_occupancy_follows_the_sign() -> None:
    cameras = load_plan("ring8").cameras(20.0, 128)
    masks = _sphere_masks(cameras, 0.3)
    points = (torch.rand(3000, 3, generator=torch.Generator().manual_seed(1)) - 0.5) * 0.96
    field = hull_sdf(points, mask_distance(masks), cameras)
    clear = field.abs() > 2 * 1.2 / 140
    assert (hull_occupancy(points, masks, cameras) == (field < 0))[clear].all()


def test_a_point_behind_a_camera_is_not_carved_by_it() -> None:
    cameras = orbit_cameras([0.0, 180.0], [0.0, 0.0], size=64)
    masks = _sphere_masks(cameras, 0.3)
    behind_first = torch.tensor([[0.0, -1.5, 0.0]])
    assert torch.isinf(cone_distances(behind_first, mask_distance(masks), cameras)[0]).all()


def test_evidence_is_the_hull_the_mean_mask_and_the_views_that_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """In many pieces, with points that no view sees, against the plain loop over the views."""
    cameras = load_plan("ring8").cameras(20.0, 64)
    masks = _sphere_masks(cameras, 0.3) * 0.75
    points = (torch.rand(300, 3, generator=torch.Generator().manual_seed(2)) - 0.5) * 3
    points[:40] += 20
    distances = mask_distance(masks)
    evidence = hull_evidence(points, distances, masks, cameras, tolerances=[0.0, 0.13])
    with monkeypatch.context() as patch:  # all views together, as on other devices
        patch.setattr(visual_hull, "looped", lambda points: False)
        patch.setattr(visual_hull, "POINTS", 32)
        together = hull_evidence(points, distances, masks, cameras, tolerances=[0.0, 0.13])
    for one, other in zip(evidence[:3], together[:3], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    sdf, mask, count, _ = evidence
    cones = cone_distances(points, distances, cameras)
    of_eight = cones.topk(2, dim=0).values  # none and one overruled
    torch.testing.assert_close(sdf.T, of_eight, atol=1e-5, rtol=1e-5)
    assert torch.equal(sdf[:, 1], hull_sdf(points, distances, cameras, tolerance=0.13))
    pixels, depth = project(points.expand(8, -1, -1), cameras)
    seen = in_frame(pixels, depth, cameras.size)
    assert torch.equal(count, seen.sum(0)) and (count == 0).any() and (count == 8).any()
    sampled = sample_views(masks[:, None], hold_in_frame(pixels, cameras.size)[0])[:, 0]
    expected = torch.stack([x[s].mean() if s.any() else x.new_zeros(()) for x, s in zip(sampled.T, seen.T)])
    torch.testing.assert_close(mask, expected, atol=1e-5, rtol=1e-5)
    assert 0 < mask.max() <= 0.75 + 1e-5


def test_gradients_are_those_of_the_distances_in_frame_and_beyond() -> None:
    generator = torch.Generator().manual_seed(2)
    cameras = load_plan("uniform32").cameras(0.0, 64)
    cameras = Cameras(K=cameras.K.double(), c2w=cameras.c2w.double(), size=cameras.size)
    masks = _sphere_masks(cameras, 0.3)
    masks[::5, :, 32:] = 0  # so that the votes differ
    distances = mask_distance(masks).double()
    points = torch.rand(4000, 3, generator=generator, dtype=torch.float64) * 3 - 1.5
    tolerances = [0.0, 0.1, 0.2]
    values, gradients = hull_distances_and_gradients(points, distances, cameras, tolerances=tolerances)
    assert torch.equal(values, hull_distances(points, distances, cameras, tolerances=tolerances))
    assert (values.diff(dim=1) <= 0).all() and (values[:, 0] > values[:, 2]).any()
    step = 1e-7
    for axis in range(3):
        shift = torch.zeros(3, dtype=torch.float64)
        shift[axis] = step
        above, below = (
            hull_distances(points + sign * shift, distances, cameras, tolerances=tolerances)
            for sign in (1, -1)
        )
        # where no pixel's border lies between, and the same view decides
        smooth = ((above + below) / 2 - values).abs() < 1e-10
        assert smooth.double().mean() > 0.99
        off = (gradients[..., axis] - (above - below) / (2 * step))[smooth].abs()
        assert off.max() < 1e-5


@pytest.mark.parametrize("threads", [1, 2])
def test_loops_equal_the_plain_operations(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In frame, beyond, and behind all cameras, with votes that differ and some that are equal."""
    generator = torch.Generator().manual_seed(3)
    cameras = orbit_cameras([0.0, 40.0, 40.0, 95.0, 180.0], [10.0, 30.0, 30.0, 20.0, 5.0], size=(48, 64))
    masks = (torch.rand(5, 48, 64, generator=generator) > 0.4).float()
    masks[2] = masks[1]
    points = torch.rand(3000, 3, generator=generator) * 3 - 1.5
    points[:5] = torch.tensor([0.0, 0.0, 99.0])  # behind all of them
    distances = mask_distance(masks)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    values, gradients = hull_distances_and_gradients(points, distances, cameras, tolerances=[0.4, 0.0, 0.2])
    evidence = hull_evidence(points, distances, masks, cameras, tolerances=[0.4, 0.0, 0.2])
    monkeypatch.setattr(visual_hull, "looped", lambda points: False)
    plain = hull_distances_and_gradients(points, distances, cameras, tolerances=[0.4, 0.0, 0.2])
    torch.testing.assert_close(values, plain[0], atol=1e-5, rtol=1e-5)
    # beside a pixel's border, or where two views are as near, either slope may be meant
    same = ((gradients - plain[1]).abs() < 1e-3).all(-1)
    assert same.double().mean() > 0.998 and (plain[1].norm(dim=-1) > 0.5).any()
    wanted = hull_evidence(points, distances, masks, cameras, tolerances=[0.4, 0.0, 0.2])
    for one, other in zip(evidence[:3], wanted[:3], strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-5)
    assert torch.equal(evidence.gradients, gradients[:, 0]) and torch.equal(wanted.gradients, plain[1][:, 0])
    assert evidence[0].isinf().any() and (evidence[2] == 0).any() and (evidence[2] == 5).any()
    assert (gradients[evidence[0].isinf()] == 0).all()


def test_a_point_that_is_no_number_has_no_distance() -> None:
    """As weights that diverged make them; the others are as they were."""
    cameras = load_plan("ring8").cameras(20.0, 32)
    distances = mask_distance(_sphere_masks(cameras, 0.3))
    points = torch.zeros(4, 3)
    points[1, 2], points[2] = torch.nan, torch.inf
    values, gradients = hull_distances_and_gradients(points, distances, cameras, tolerances=[0.0, 0.2])
    assert values[1:3].isnan().all() and gradients[1:3].isnan().all()
    assert torch.equal(values[0], values[3]) and torch.equal(gradients[0], gradients[3])
    assert values[0].isfinite().all()


def test_a_limit_saves_views_of_far_points_only() -> None:
    cameras = load_plan("published").cameras(20.0, 32)
    masks = torch.zeros(len(cameras), 32, 32)
    masks[:, 10:22, 12:20] = 1
    distances = mask_distance(masks)
    points = Box(half_edge=0.6, resolution=24).nodes().reshape(-1, 3)
    given = points, distances, masks, cameras
    sdf, mask, count, gradients = hull_evidence(*given, tolerances=[0.0, 0.1])
    limited, some_mask, some_count, some_gradients = hull_evidence(*given, tolerances=[0.0, 0.1], limit=0.1)
    near = sdf[:, -1] <= 0.1
    assert 0.05 < near.float().mean() < 0.5
    assert torch.equal(limited[near], sdf[near])
    assert torch.equal(some_mask[near], mask[near]) and torch.equal(some_count[near], count[near])
    assert torch.equal(some_gradients[near], gradients[near])
    assert (limited[~near] > 0.1).all()
    assert (some_count < count).float().mean() > 0.3
