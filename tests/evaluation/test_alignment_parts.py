"""Nearest neighbours under similarities, ICP, and the rules of choice, each by what can be computed by hand."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from tests.evaluation.meshes import affine, box, sphere

from one2345.evaluation.alignment_choice import ambiguous_yaws, best_of, is_mirrored, sure_excess
from one2345.evaluation.alignment_search import axis_search, unturned
from one2345.evaluation.correspondence import (
    Correspondence,
    Matches,
    in_curve_order,
    inverse,
    moved,
    scale_of,
)
from one2345.evaluation.icp import refine
from one2345.evaluation.placements import (
    Placements,
    Placer,
    apart,
    distinct,
    rotation_angle,
    yaw_of,
    yaw_rotations,
)
from one2345.evaluation.sampling import sample_surface
from one2345.evaluation.surface import SurfaceCloud

MIRROR = np.diag([-1.0, 1, 1, 1])


def cloud(mesh, seed=0, points=3000):
    return in_curve_order(sample_surface(mesh, points, seed=seed, object_id="shape"))


def turn(axis, degrees):
    """(4, 4) about a coordinate axis."""
    a = np.radians(degrees)
    i, j = [k for k in range(3) if k != axis]
    matrix = np.eye(4)
    matrix[[i, i, j, j], [i, j, i, j]] = np.cos(a), -np.sin(a), np.sin(a), np.cos(a)
    return matrix


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_matches_are_those_of_all_pairs(random):
    """Both ways, in the truth's unit, for placements that scale and mirror."""
    clouds = [
        SurfaceCloud(p, np.zeros_like(p), np.stack([p.min(0), p.max(0)])) for p in random.random((2, 60, 3))
    ]
    matrices = np.stack([affine(2.0, 30, (1, 0, 0)), affine(0.5, -100, (0, 1, 2)) @ MIRROR])
    pair = Correspondence(*clouds, queries=60)
    found = pair.match(matrices)
    for k, matrix in enumerate(matrices):
        distance = cdist(moved(clouds[0].points, matrix[None])[0], clouds[1].points)
        assert found.forward[k] == pytest.approx(distance.min(1))
        assert found.backward[k] == pytest.approx(distance.min(0))
        assert (found.forward_index[k] == distance.argmin(1)).all()
        assert (found.backward_index[k] == distance.argmin(0)).all()
    assert scale_of(matrices) == pytest.approx([2, 0.5])
    assert inverse(matrices) @ matrices == pytest.approx(np.broadcast_to(np.eye(4), (2, 4, 4)))


def test_fewer_queries_of_the_same_targets(random):
    shape = cloud(box([0.5, 0.3, 0.2]))
    pair = Correspondence(shape, cloud(box([0.5, 0.3, 0.2]), seed=1), queries=1000)
    few = pair.thinned(100).match(np.eye(4)[None])
    assert few.forward.shape == few.backward.shape == (1, 100)
    assert few.forward[0] == pytest.approx(pair.match(np.eye(4)[None]).forward[0, ::10])


def test_costs_weigh_both_ways_alike():
    index = np.zeros((1, 4), int)
    found = Matches(np.array([[1.0, 3.0]]), index, np.array([[0.0, 0.0, 8.0, 4.0]]), index)
    assert found.residual() == pytest.approx((2 + 3) / 2)
    assert found.residual(cap=2) == pytest.approx((1.5 + 1) / 2)
    assert found.costs().mean() == pytest.approx(2.5)
    assert found.inliers(2) == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert found.outliers(2).mean() == pytest.approx(1 - found.inliers(2)[0])


def test_spacing_is_that_of_the_thinner_cloud():
    grid = np.stack(np.meshgrid(np.arange(8), np.arange(8), [0.0], indexing="ij"), -1).reshape(-1, 3)
    fine, coarse = (
        SurfaceCloud(f * grid, np.zeros_like(grid), np.array([[0.0] * 3, [1.0] * 3])) for f in (0.1, 0.3)
    )
    pair = Correspondence(fine, coarse, queries=64)
    assert pair.spacing(1.0) == pytest.approx(0.3)
    assert pair.spacing(5.0) == pytest.approx(0.5)


def test_icp_finds_similarities_and_mirrored_ones_keep_mirroring():
    true, copy = cloud(box([0.5, 0.3, 0.2])), cloud(box([0.5, 0.3, 0.2]), seed=1)
    start = affine(1.1, 8, (0.05, -0.04, 0.03)) @ turn(0, 5)
    starts = np.stack([start, start @ MIRROR])
    found, cost = refine(
        Correspondence(copy, true, queries=1000), starts, iterations=30, window=0.02, cap=1.0
    )
    assert found[0] == pytest.approx(np.eye(4), abs=2e-3)
    assert found[1] == pytest.approx(MIRROR, abs=2e-3)
    assert (cost < 0.02).all()


@pytest.mark.parametrize(("freedom", "kept"), [("rigid", "size"), ("shift", "size and turn")])
def test_icp_moves_only_what_is_free(freedom, kept):
    true, copy = cloud(box([0.5, 0.3, 0.2])), cloud(box([0.5, 0.3, 0.2]), seed=1)
    start = affine(1.05, 4, (0.05, -0.04, 0.03))[None]
    found, _ = refine(
        Correspondence(copy, true, queries=500), start, iterations=10, window=0.1, cap=1.0, freedom=freedom
    )
    assert scale_of(found) == pytest.approx(1.05)
    assert (yaw_of(found[0, :3, :3]) == pytest.approx(4)) == (kept == "size and turn")
    assert np.abs(found[0, :3, 3]).max() < 0.01


def test_icp_takes_no_step_that_the_surface_does_not_resist():
    """A ball is shifted but not turned, a sheet neither turned about its normal nor slid nor scaled."""
    ball, other = cloud(sphere(0.5, subdivisions=4)), cloud(sphere(0.5, subdivisions=4), seed=1)
    start = affine(1, 20, (0.05, 0.02, 0))[None]
    found, _ = refine(Correspondence(other, ball, queries=1000), start, iterations=20, window=0.1, cap=1.0)
    assert rotation_angle(found[0, :3, :3]) == pytest.approx(20, abs=0.05)
    assert np.abs(found[0, :3, 3]).max() < 2e-3

    grid = np.random.default_rng(0).random((2, 2000, 3)) * [1, 1, 0]
    up = np.tile([0.0, 0, 1], (2000, 1))
    sheet, other = (in_curve_order(SurfaceCloud(p, up, np.array([[0.0] * 3, [1.0, 1, 0]]))) for p in grid)
    start = affine(1.02, 3, (0.03, 0.02, 0.2))[None]
    found, _ = refine(Correspondence(other, sheet, queries=1000), start, iterations=20, window=0.5, cap=1.0)
    assert found[0] == pytest.approx(affine(1.02, 3, (0.03, 0.02, 0)), abs=1e-6)


def test_icp_never_ends_worse_than_it_began(random):
    """Nor with a size that has nothing to do with the start's, for clouds that have nothing to do with each other."""
    clouds = [
        SurfaceCloud(p, random.normal(size=p.shape), np.stack([p.min(0), p.max(0)]))
        for p in (random.random((300, 3)), random.random((300, 3)) ** 4)
    ]
    pair = Correspondence(*clouds, queries=300)
    starts = np.stack([affine(s, y, (0.3, 0, 0)) for s in (0.05, 1, 20) for y in (0, 90)])
    found, cost = refine(pair, starts, iterations=30, window=0.01, cap=10.0)
    assert (cost <= pair.match(starts).residual(10.0) + 1e-12).all()
    assert cost == pytest.approx(pair.match(found).residual(10.0))
    assert np.abs(np.log(scale_of(found) / scale_of(starts))).max() < np.log(2)


def test_placing_by_moments_and_boxes():
    brick = box([0.5, 0.3, 0.2], (0.1, 0, 0))
    true = cloud(brick, points=20_000)
    moved_cloud = cloud(brick, points=20_000).transformed(affine(2, 0, (3, 0, 0)))
    place = Placer(moved_cloud, true)
    identity = np.eye(3)
    for by in ("moments", "box"):
        assert place(identity, by) == pytest.approx(affine(0.5, 0, (-1.5, 0, 0)), abs=1e-9)
    assert place(identity, "box", 1.1)[:3, :3] == pytest.approx(0.55 * identity, abs=1e-9)
    quarter = place(yaw_rotations(np.array(90.0)), "moments")
    assert (quarter @ [3.2, 0, 0, 1])[:3] == pytest.approx([0.1, 0, 0], abs=3e-3)
    assert (quarter @ [4.2, 0, 0, 1])[:3] == pytest.approx([0.1, 0.5, 0], abs=3e-3)
    # At 45 degrees the box of the brick is 1.6 / sqrt(2) long.
    turned = place(yaw_rotations(np.array([45.0])), "box")
    assert scale_of(turned) == pytest.approx([0.5 / (1.6 / np.sqrt(2))], rel=0.01)
    assert (turned[0] @ [3.2, 0, 0, 1])[:3] == pytest.approx([0.1, 0, 0], abs=0.01)


def test_three_placements_do_not_turn():
    """Boxes, moments, and where it is: for a brick the first two are one."""
    true = cloud(box([0.5, 0.3, 0.2]))
    found = unturned(true.transformed(affine(2, 0, (3, 0, 0))), true, "yaw_scale_icp").matrices
    assert found[:2] == pytest.approx(np.stack([affine(0.5, 0, (-1.5, 0, 0))] * 2), abs=2e-3)
    assert np.array_equal(found[2], np.eye(4))
    assert len(unturned(true, true, "yaw")) == 1


def test_the_axes_come_back():
    """Of 16 turns and mirrorings the eight proper ones that are symmetries of a brick fit: by its halves turns only."""
    true = cloud(box([0.5, 0.3, 0.2]))
    tried = axis_search(cloud(box([0.5, 0.3, 0.2]), seed=1).transformed(affine(3, 0, (1, 0, 0))), true)
    pair = Correspondence(
        cloud(box([0.5, 0.3, 0.2]), seed=1).transformed(affine(3, 0, (1, 0, 0))), true, queries=500
    )
    fits = pair.match(tried.matrices).residual() < 0.03
    determinants = np.linalg.det(tried.matrices[:, :3, :3])
    assert fits.sum() == 8  # half turns, each of four attitudes
    assert ((determinants < 0) == tried.mirrored).all()
    assert np.linalg.norm(tried.matrices[:, :3, 2], axis=1) == pytest.approx(np.full(16, 1 / 3))


def test_angles():
    assert yaw_of(2 * (turn(0, 10) @ affine(yaw=-170))[:3, :3]) == pytest.approx(-170)
    assert yaw_of(np.eye(3)) == 0
    for degrees in (0, 1e-4, 90, 179.999):
        assert rotation_angle(3 * turn(1, degrees)[:3, :3]) == pytest.approx(degrees, abs=1e-5)


def test_apart_goes_round_the_circle():
    cost = np.array([0.0, 1, 5, 2, 5, 5, 5, 0.5])
    assert apart(cost, 3, 1).tolist() == [0, 7, 1]
    assert apart(cost, 3, 2).tolist() == [0, 3, 5]
    assert apart(cost, 99, 4).tolist() == [0, 4]


def test_distinct_keeps_the_best_of_each_attitude():
    matrices = np.stack(
        [affine(), affine(yaw=1), affine(yaw=4), affine(1.1), affine(shift=(1, 0, 0)), MIRROR]
    )
    found = Placements(matrices, np.array([0, 0, 0, 0, 0, 1]), np.array([2.0, 1, 3, 4, 5, 0]))
    points = np.random.default_rng(0).normal(size=(100, 3))
    assert distinct(found, points, (9, 9)).cost.tolist() == [1, 3, 4, 5, 0]
    assert distinct(found, points, (2, 0)).cost.tolist() == [1, 3]


def matches(forward):
    """Of placements with these distances one way, and the same the other."""
    forward = np.asarray(forward, float)
    return Matches(forward, np.zeros_like(forward, int), forward, np.zeros_like(forward, int))


def test_of_equal_placements_the_preferred_is_best(random):
    noise = random.random((3, 400))
    found = matches([noise[0], noise[1], noise[2] + 0.5])
    assert best_of(found, "chamfer", 1, np.array([2.0, 1, 0])) == 1
    assert best_of(found, "chamfer", 1, np.array([1.0, 2, 0])) == 0
    # Point by point a hundredth worse is surely worse.
    found = matches([noise[0], noise[0] + 0.01])
    assert best_of(found, "chamfer", 1, np.array([1.0, 0])) == 0


def test_inliers_come_before_distances():
    """400 of 500 at 0 and the rest far, against all at 0.2."""
    some = np.where(np.arange(500) < 400, 0.0, 0.6)
    found = matches([some, np.full(500, 0.2)])
    assert best_of(found, "chamfer", 0.3, np.zeros(2)) == 0
    assert best_of(found, "inliers", 0.3, np.zeros(2)) == 1
    assert best_of(found, "inliers", 0.1, np.zeros(2)) == 0
    assert best_of(found, "inliers", 0.7, np.ones(2)) == 0  # equally many


def test_the_excess_is_that_which_is_sure():
    """A constant one is sure; of one that is 0 and 0.2 by turns, 1000 times, two standard errors are not."""
    found = matches([np.zeros(500), np.full(500, 0.3), np.where(np.arange(500) % 2, 0.2, 0.0)])
    assert sure_excess(found, 0) == pytest.approx([0, 0.3, 0.1 - 2 * 0.1 / np.sqrt(1000)])
    assert sure_excess(found, 1) == pytest.approx([-0.3, 0, -0.2 - 2 * 0.1 / np.sqrt(1000)])


def test_ambiguous_yaws_are_other_ones():
    yaws = np.array([10.0, 11, 100, 99, -170, -80, 190])
    excess = np.array([0.0, 0, 0.002, 0.001, 0.003, 0.5, 0.001])
    assert ambiguous_yaws(yaws, excess, 10.0, 0.004) == (99.0, 190.0)
    assert ambiguous_yaws(yaws, excess, 179.0, 1e-4) == (10.0,)


def test_the_mirror_image_must_be_clearly_better():
    assert is_mirrored(0.05, 0.01, spacing=0.01)
    assert not is_mirrored(0.05, 0.045, spacing=0.01)
    assert not is_mirrored(0.01, 0.05, spacing=0.01)
    assert not is_mirrored(0.0101, 0.0, spacing=0.01)  # within the sampling
