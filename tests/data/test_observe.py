"""What is rendered and sampled of an object, against closed forms of a ball."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from tests.data.spheres import RECIPE, Ball

from one2345.data.observe import observe, occupancy_grid
from one2345.data.recipe import Recipe, SampleSizes, recipe_hash
from one2345.data.renderers import BlenderRenderer
from one2345.errors import InputError
from one2345.geometry import evaluation_box, spherical
from one2345.objects import Render


def test_views_follow_the_plan_and_the_elevation_range() -> None:
    seen = observe(Ball("a"), recipe=RECIPE, split="train")
    azimuth, elevation, radius = spherical(seen.views.cameras.c2w)
    assert seen.views.names == (*(f"s{i}" for i in range(8)), "t0", "t1", "t2")
    assert seen.views.roles == ("stage1",) * 8 + ("target",) * 3
    assert elevation[0] == pytest.approx(seen.elevation, abs=1e-3)
    assert azimuth[:4].tolist() == pytest.approx([0, 90, 180, 270], abs=1e-3)
    assert ((elevation[8:] >= -10) & (elevation[8:] <= 70)).all()
    assert radius.tolist() == pytest.approx([1.2] * 11, abs=1e-5)


def test_elevations_are_spread_over_the_range() -> None:
    recipe = replace(
        RECIPE, targets=0, train_samples=SampleSizes(sdf_points=1, surface_points=1, occupancy=())
    )
    elevations = torch.tensor(
        [observe(Ball(f"b{k}"), recipe=recipe, split="train").elevation for k in range(40)]
    )
    assert elevations.min() > -10
    assert elevations.max() < 70
    assert elevations.mean() == pytest.approx(30, abs=12)
    assert elevations.std() == pytest.approx(80 / 12**0.5, abs=8)


def test_draws_depend_on_seed_and_id_alone() -> None:
    first, again = (observe(Ball("a"), recipe=RECIPE, split="train") for _ in range(2))
    other = observe(Ball("b"), recipe=RECIPE, split="train")
    reseeded = observe(Ball("a"), recipe=replace(RECIPE, seed=1), split="train")
    assert torch.equal(first.samples.sdf_points, again.samples.sdf_points)
    assert torch.equal(first.views.cameras.c2w, again.views.cameras.c2w)
    for changed in (other, reseeded):
        assert changed.elevation != first.elevation
        assert not torch.equal(first.samples.sdf_points, changed.samples.sdf_points)


def test_samples_have_the_stated_mix() -> None:
    sizes = SampleSizes(sdf_points=20000, surface_points=100, occupancy=(16,))
    samples = observe(Ball("a", 0.3), recipe=replace(RECIPE, train_samples=sizes), split="train").samples
    assert torch.allclose(samples.sdf_values, samples.sdf_points.norm(dim=-1) - 0.3, atol=1e-6)
    distance = samples.sdf_values
    assert distance[:6000].std() == pytest.approx(0.02, rel=0.05)
    assert distance[6000:12000].std() == pytest.approx(0.05, rel=0.06)
    uniform = samples.sdf_points[12000:]
    assert uniform.abs().max() <= 0.5
    assert uniform.std(0).tolist() == pytest.approx([1 / 12**0.5] * 3, rel=0.03)


def test_validation_objects_get_more_labels() -> None:
    seen = observe(Ball("a"), recipe=RECIPE, split="val").samples
    assert sorted(seen.occupancy) == [16, 64]
    assert len(seen.surface_points) == 300


@pytest.mark.parametrize("resolution", [16, 64])
def test_occupancy_in_blocks_equals_the_dense_one(resolution: int) -> None:
    ball = Ball("a", 0.37)
    dense = evaluation_box(resolution).nodes().norm(dim=-1) < 0.37
    assert torch.equal(occupancy_grid(ball, resolution), dense)
    assert torch.equal(occupancy_grid(ball, resolution, blockwise=False), dense)
    expected = 4 / 3 * torch.pi * 0.37**3 / 0.96**3
    assert dense.double().mean() == pytest.approx(expected, rel=0.05 if resolution == 16 else 0.01)


def test_axes_of_the_occupancy_are_x_y_z() -> None:
    @dataclass(frozen=True)
    class Shifted(Ball):
        def sdf(self, points: torch.Tensor) -> torch.Tensor:
            return (points - torch.tensor([0.2, 0.0, -0.1])).norm(dim=-1) - 0.1

    inside = occupancy_grid(Shifted("a"), 32).nonzero().double().mean(0)
    expected = [(0.2 + 0.48) / 0.03 - 0.5, 15.5, (-0.1 + 0.48) / 0.03 - 0.5]
    assert inside.tolist() == pytest.approx(expected, abs=0.3)


def test_bad_objects_are_refused() -> None:
    @dataclass(frozen=True)
    class Invisible(Ball):
        def render(self, cameras) -> Render:
            seen = super().render(cameras)
            seen.mask[2] = 0
            return seen

    @dataclass(frozen=True)
    class Hollow(Ball):
        def sdf(self, points: torch.Tensor) -> torch.Tensor:
            return super().sdf(points).abs()

    @dataclass(frozen=True)
    class Broken(Ball):
        def sdf(self, points: torch.Tensor) -> torch.Tensor:
            return super().sdf(points) * float("nan")

    for ball, message in (
        (Invisible("x"), "x: view s2 shows nothing"),
        (Hollow("x"), "x: nothing is inside"),
        (Broken("x"), "x: sdf_values hold NaN"),
    ):
        with pytest.raises(InputError, match=message):
            observe(ball, recipe=RECIPE, split="train")


def test_recipe_hash_and_checks() -> None:
    assert recipe_hash(Recipe().describe()) == recipe_hash(Recipe(plan="ring8").describe())
    seen = {
        recipe_hash(r.describe())
        for r in (Recipe(), Recipe(size=64), Recipe(seed=1), Recipe(plan="uniform8"))
    }
    assert len(seen) == 4
    for bad, message in (
        ({"size": 4}, "size=4"),
        ({"targets": -1}, "targets=-1"),
        ({"elevation": (30, 10)}, "elevation"),
        ({"plan": "ring9"}, "ring8"),
    ):
        with pytest.raises(InputError, match=message):
            Recipe(**bad)
    with pytest.raises(InputError, match="sdf_points=0"):
        SampleSizes(sdf_points=0)


def test_paint_reaches_pictures_and_samples_and_is_part_of_the_recipe() -> None:
    plain, painted = RECIPE, replace(RECIPE, pattern=1.0, occlusion=0.5)
    own, seen = (observe(Ball("a"), recipe=recipe, split="train") for recipe in (plain, painted))
    assert torch.equal(own.samples.sdf_values, seen.samples.sdf_values)
    assert torch.equal(own.views.masks, seen.views.masks)
    assert not torch.equal(own.views.images, seen.views.images)
    assert not torch.equal(own.samples.surface_colours, seen.samples.surface_colours)
    assert recipe_hash(plain.describe()) != recipe_hash(painted.describe())
    assert not {"pattern", "occlusion"} & plain.describe().keys()  # as of data older than paint


@pytest.mark.parametrize("name", ["pattern", "occlusion"])
def test_paint_out_of_range_or_for_blender(name: str) -> None:
    with pytest.raises(InputError, match=rf"{name}=2: must lie in"):
        _painted(name, 2)
    with pytest.raises(InputError, match=rf"{name}=0.5: is the ray caster's"):
        _painted(name, 0.5, renderer=BlenderRenderer(python=sys.executable))
    with pytest.raises(InputError, match=rf"{name}=0.5: paint goes over colours without shading=0.3"):
        _painted(name, 0.5, shading=0.3)


def _painted(name: str, value: float, **others: Any) -> Recipe:
    values: dict[str, Any] = {name: value, **others}
    return Recipe(**values)
