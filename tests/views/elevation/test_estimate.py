"""The estimate against scenes whose elevation is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.views.elevation.scenes import ExactMatcher, draw_ball, near_cameras, square_masks

from one2345.errors import InputError
from one2345.geometry import project
from one2345.objects import random_shape
from one2345.views.elevation import (
    ClassicalMatcher,
    ElevationEstimator,
    Matches,
    estimate_elevation,
)
from one2345.views.elevation.estimate import pair_cost
from one2345.views.elevation.evidence import epipolar_distance, outline, tangent_distance
from one2345.views.elevation.matching import on_object

IMAGES = torch.ones(4, 3, 256, 256)


@pytest.mark.parametrize("elevation", [-10.0, 0.0, 23.4, 45.0, 70.0])
def test_exact_matches_give_the_exact_elevation(elevation):
    found = estimate_elevation(IMAGES, square_masks(), matcher=ExactMatcher(elevation))
    assert found.degrees == pytest.approx(elevation, abs=0.5)
    assert found.confidence > 0.5
    assert all(0 <= cost <= 1 for _, cost in found.costs)


def test_a_third_of_wrong_matches_moves_it_by_less_than_half_a_degree():
    found = estimate_elevation(IMAGES, square_masks(), matcher=ExactMatcher(31.0, wrong=0.35))
    assert found.degrees == pytest.approx(31.0, abs=0.5)


@pytest.mark.parametrize("focal", [None, 100.0])
def test_pictures_and_intrinsics_of_another_size_and_focal_length(focal):
    images, masks = torch.ones(4, 3, 128, 128), torch.ones(4, 128, 128)
    K = near_cameras(0, size=128, focal=focal).K
    matcher = ExactMatcher(31.0, size=128, focal=focal)
    found = estimate_elevation(images, masks, matcher=matcher, K=K)
    assert found.degrees == pytest.approx(31.0, abs=0.5)
    if focal is not None:
        other = estimate_elevation(images, masks, matcher=matcher)
        assert dict(other.costs)[31.0] > dict(found.costs)[31.0]


def test_offsets_belong_to_their_pictures():
    """The pictures to either side exchanged: the world turns the other way, so the elevation changes sign."""
    matcher = ExactMatcher(30.0)
    mirrored = ((0.0, 10.0), (0.0, -10.0), (10.0, 0.0), (-10.0, 0.0))
    found = estimate_elevation(IMAGES, square_masks(), matcher=matcher, offsets=mirrored)
    assert found.degrees is None or abs(found.degrees - 30.0) > 20.0


@pytest.mark.parametrize("change", ["xy", "ends"])
def test_swapped_coordinates_or_pictures_are_not_the_elevation(change):
    matcher = ExactMatcher(40.0)
    right = estimate_elevation(IMAGES, square_masks(), matcher=matcher)
    matcher.answer = [
        replace(m, points_first=m.points_first.flip(-1), points_second=m.points_second.flip(-1))
        if change == "xy"
        else replace(m, points_first=m.points_second, points_second=m.points_first)
        for m in matcher.answer
    ]
    wrong = estimate_elevation(IMAGES, square_masks(), matcher=matcher)
    assert dict(wrong.costs)[40.0] > 1.5 * dict(right.costs)[40.0]


def test_fewer_matches_never_make_a_candidate_better():
    masks = square_masks()
    for elevation in (5.0, 50.0):
        whole = ExactMatcher(elevation, wrong=0.3)
        before = estimate_elevation(IMAGES, masks, matcher=whole)
        for pair in range(6):
            for kept in (
                torch.arange(0),
                torch.arange(10),
                torch.arange(20, 60),
            ):  # none, wrong ones, right ones
                fewer = ExactMatcher(elevation, wrong=0.3)
                fewer.answer[pair] = fewer.answer[pair][kept]
                after = estimate_elevation(IMAGES, masks, matcher=fewer)
                costs = zip(before.costs, after.costs)
                assert all(a[1] >= b[1] - 1e-12 for b, a in costs), pair
                informative = pair != 0  # the two views of one azimuth stand alike at every elevation
                assert (min(c for _, c in after.costs) > min(c for _, c in before.costs)) == informative


def test_a_pair_without_any_evidence_costs_one():
    cameras = [near_cameras(30.0)[i : i + 1] for i in range(4)]
    nothing = [torch.zeros(0, 2, dtype=torch.float64)] * 4
    assert pair_cost(Matches.none(1, 3), nothing, cameras).tolist() == [1.0]


def test_each_end_of_a_match_is_looked_up_in_its_own_mask_as_x_y():
    masks = torch.zeros(2, 32, 48)
    masks[0, 3, 40] = 1  # row 3, column 40
    masks[1, 20, 5] = 1
    first = torch.tensor(
        [[40.5, 3.5], [5.5, 20.5], [3.5, 40.5], [40.5, 3.5], [-1.0, 3.5]], dtype=torch.float64
    )
    second = torch.tensor(
        [[5.5, 20.5], [40.5, 3.5], [20.5, 5.5], [20.5, 5.5], [5.5, 20.5]], dtype=torch.float64
    )
    matches = Matches(0, 1, first, second, torch.ones(5, dtype=torch.float64))
    kept = on_object(matches, masks)
    assert kept.points_first.tolist() == [[40.5, 3.5]]
    assert kept.points_second.tolist() == [[5.5, 20.5]]


def test_epipolar_distance_is_that_of_the_lines():
    """A point moved by d across its line is d / sqrt(2) away where both lines' slopes are alike (Sampson)."""
    cameras = near_cameras(20.0)
    points = (torch.rand(40, 3, generator=torch.Generator().manual_seed(0)) - 0.5) * 0.5
    pixels = project(points.expand(4, -1, -1), cameras)[0].double()
    ones = torch.ones(40, dtype=torch.float64)
    exact = epipolar_distance(Matches(0, 1, pixels[0], pixels[1], ones), cameras[0:1], cameras[1:2])
    assert exact.max() < 1e-3
    # the two cameras stand above each other: lines run up and down, so a step to the side is off them
    off = pixels[1] + torch.tensor([2.0, 0.0])
    moved = epipolar_distance(Matches(0, 1, pixels[0], off, ones), cameras[0:1], cameras[1:2])
    assert moved.mean() == pytest.approx(2 / 2**0.5, rel=0.1)


def test_outline_of_a_disc_is_its_circle_and_empty_masks_have_none():
    y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(80) + 0.5, indexing="ij")
    radius = ((x - 50).square() + (y - 30).square()).sqrt()
    found = outline((20 - radius + 0.5).clamp(0, 1))
    distance = (found - torch.tensor([50.0, 30.0])).norm(dim=-1)
    assert len(found) > 20
    assert (distance - 20).abs().max() < 0.2
    assert len(outline(torch.zeros(8, 8))) == 0
    assert len(outline(torch.ones(8, 8))) == 8  # a square without its outermost half pixels at the corners


def test_tangent_planes_of_a_ball_agree_only_for_the_true_size():
    cameras = near_cameras(20.0)
    _, masks = draw_ball(20.0)
    outlines = [outline(m) for m in masks]
    for a, b in ((0, 2), (2, 3), (1, 3)):
        same = tangent_distance(outlines[a], outlines[b], cameras[a : a + 1], cameras[b : b + 1])
        assert same.max() < 1.0
        centre = outlines[b].mean(0)
        larger = centre + (outlines[b] - centre) * 1.1
        assert tangent_distance(outlines[a], larger, cameras[a : a + 1], cameras[b : b + 1]).min() > 4.0


@pytest.mark.parametrize("elevation", [-8.0, 25.0, 62.0])
def test_a_textured_ball_by_its_texture_alone(elevation):
    """Its outline is the same from everywhere, so this is the matcher's work."""
    images, masks = draw_ball(elevation)
    found = estimate_elevation(images, masks, matcher=ClassicalMatcher())
    assert found.degrees == pytest.approx(elevation, abs=1.0)
    assert found.confidence > 0.5


def test_small_pictures():
    images, masks = draw_ball(35.0, size=96)
    assert estimate_elevation(images, masks, matcher=ClassicalMatcher()).degrees == pytest.approx(
        35.0, abs=3.0
    )


def test_a_plain_ball_says_nothing_and_says_why():
    images, masks = draw_ball(35.0, plain=True)
    estimator = ElevationEstimator(matcher=ClassicalMatcher(), threshold=0.0)
    found = estimator.estimate(images, masks)
    assert (found.degrees, found.confidence) == (None, 0.0)
    assert "symmetric" in found.reason
    assert not estimator.trusts(found)  # whatever the threshold


def test_pictures_of_nothing():
    found = estimate_elevation(IMAGES, torch.zeros(4, 256, 256), matcher=ClassicalMatcher())
    assert (found.degrees, found.confidence) == (None, 0.0)
    assert "near view 0 shows no object" in found.reason


@pytest.mark.slow
@pytest.mark.parametrize(("index", "elevation"), [(1, 12.0), (4, 33.0), (7, 58.0)])
def test_analytic_shapes(index, elevation):
    shape = random_shape(11, index=index)
    picture = shape.render(near_cameras(elevation, azimuth=40.0))
    found = estimate_elevation(picture.rgb, picture.mask, matcher=ClassicalMatcher())
    assert found.degrees == pytest.approx(elevation, abs=5.0)


def test_the_same_pictures_give_the_same_bytes():
    images, masks = draw_ball(25.0)
    once, again = (estimate_elevation(images, masks, matcher=ClassicalMatcher()) for _ in range(2))
    assert once == again


def test_an_estimate_is_trusted_from_the_threshold_on():
    matcher = ExactMatcher(40.0)
    found = ElevationEstimator(matcher=matcher).estimate(IMAGES, square_masks())
    assert found.degrees == pytest.approx(40.0, abs=0.5)
    assert ElevationEstimator(matcher=matcher, threshold=found.confidence).trusts(found)
    assert not ElevationEstimator(matcher=matcher, threshold=found.confidence + 1e-6).trusts(found)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"masks": torch.ones(4, 64, 64)}, "expected"),
        ({"offsets": ((0.0, 10.0),)}, "4 near views with 1 offsets"),
        ({"offsets": ((0.0, 10.0), (0.0, -10.0), (0.0, 5.0), (0.0, -5.0))}, "azimuth"),
        ({"K": torch.eye(4)}, "K has shape"),
        ({"images": torch.full((4, 3, 256, 256), torch.nan)}, "NaN"),
    ],
)
def test_input_that_does_not_fit_is_named(changes, words):
    given = {"images": IMAGES, "masks": square_masks(), "matcher": ExactMatcher(10.0)} | changes
    images, masks = given.pop("images"), given.pop("masks")
    with pytest.raises(InputError, match=words):
        estimate_elevation(images, masks, **given)


@pytest.mark.parametrize("wrong", [{"threshold": 1.5}, {"threshold": float("nan")}, {"prior": 120.0}])
def test_settings_outside_their_range(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        ElevationEstimator(matcher=ExactMatcher(0.0), **wrong)
