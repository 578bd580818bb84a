"""Simulated inputs: keyed, harmless at zero, worse with angle and with a chain, still pictures on white."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import max_pool2d

from one2345.data.inputs import SimulatedInputs
from one2345.errors import InputError
from one2345.geometry import Cameras, camera_rays, load_plan, orbit, orbit_cameras
from one2345.seeding import torch_rng
from one2345.views import PosedViews, read_object, write_object
from one2345.views.simulation.drift import Amplitudes, Draw, angle_between, ball_depth, displace, growth, lift
from one2345.views.simulation.fill import extend
from one2345.views.simulation.lineage import lineage
from one2345.views.simulation.simulated import _inverse

SIZE = 64
ELEVATION = 20.0
RECORD = SimpleNamespace(folder="cup", names=(), provenance={"elevation": ELEVATION})


def ellipsoid(cameras: Cameras) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images, masks and z-depth of a striped ellipsoid (half axes 0.4, 0.25, 0.3), ray traced."""
    axes = torch.tensor([0.4, 0.25, 0.3])
    rays = camera_rays(cameras)
    o, d = rays.origins / axes, rays.directions / axes
    a, b, c = (d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - 1
    root = b * b - a * c
    t = (-b - root.clamp_min(0).sqrt()) / a
    masks = (root > 0).float()
    points = rays.origins + t[..., None] * rays.directions
    colour = (0.5 + 0.4 * torch.sin(12 * points)).movedim(-1, 1)
    forward = cameras.forward[:, None, None]
    depth = ((points - cameras.centres[:, None, None]) * forward).sum(-1) * masks
    return colour * masks[:, None] + 1 - masks[:, None], masks, depth


@cache
def plan_views() -> PosedViews:
    """All 40 views of the published plan."""
    plan = load_plan("published")
    views = plan.views(ELEVATION)
    cameras = plan.cameras(ELEVATION, SIZE)
    images, masks, depth = ellipsoid(cameras)
    return PosedViews(
        images=images,
        masks=masks,
        cameras=cameras,
        names=tuple(v.name for v in views),
        roles=tuple(v.role for v in views),
        parents=tuple(v.parent for v in views),  # the plan lists its stage-1 views first
        depth=depth,
    )


def whole_record() -> SimpleNamespace:
    views = plan_views()
    return SimpleNamespace(
        folder="cup",
        names=views.names,
        parents=tuple(None if p is None else views.names[p] for p in views.parents),
        cameras=views.cameras,
        index=views.names.index,
        indices=views.indices,
        provenance={"elevation": ELEVATION},
    )


def error(a: PosedViews, b: PosedViews) -> torch.Tensor:
    """(v,) mean squared difference of the images."""
    return (a.images - b.images).square().mean((1, 2, 3))


@pytest.mark.parametrize("chain", [False, True])
def test_same_key_same_bytes(chain: bool) -> None:
    inputs = SimulatedInputs(chain=chain)
    first = inputs(RECORD, plan_views(), key=(0, 1, "cup"))
    again = SimulatedInputs(chain=chain)(RECORD, plan_views(), key=(0, 1, "cup"))
    assert torch.equal(first.images, again.images) and torch.equal(first.masks, again.masks)


@pytest.mark.parametrize("key", [(1, 1, "cup"), (0, 2, "cup"), (0, 1, "jug")])
def test_every_part_of_the_key_matters(key: tuple[int, int, str]) -> None:
    inputs = SimulatedInputs()
    one, other = (inputs(RECORD, plan_views(), key=k) for k in ((0, 1, "cup"), key))
    assert (error(one, other) > 1e-5).all()


def test_global_random_state_is_neither_read_nor_changed() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one = SimulatedInputs()(RECORD, plan_views(), key=(0,))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(4)
    assert torch.equal(one.images, SimulatedInputs()(RECORD, plan_views(), key=(0,)).images)


@pytest.mark.parametrize("chain", [False, True])
def test_order_and_company_of_the_views_do_not_matter(chain: bool) -> None:
    record, inputs = whole_record(), SimulatedInputs(chain=chain)
    whole = inputs(record, plan_views(), key=(0, 0, "cup"))
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0)).tolist()
    turned = inputs(record, plan_views()[order], key=(0, 0, "cup"))
    assert turned.names == tuple(whole.names[i] for i in order)
    assert torch.equal(turned.images, whole.images[order]) and torch.equal(turned.masks, whole.masks[order])
    # Near views whose stage-1 view is not given: the record knows it.
    few = [9, 20, 33]
    alone = inputs(record, plan_views()[few], key=(0, 0, "cup"))
    assert alone.parents == (None,) * 3
    assert torch.allclose(alone.images, whole.images[few], atol=1e-5)


@pytest.mark.parametrize("chain", [False, True])
def test_zero_amplitudes_change_nothing(chain: bool) -> None:
    views = plan_views()
    made = SimulatedInputs(chain=chain, geometry=0, appearance=0)(RECORD, views, key=(0,))
    assert torch.equal(made.images, views.images) and torch.equal(made.masks, views.masks)
    # The limit is continuous: a vanishing drift passes through everything and gives the picture back.
    nearly = SimulatedInputs(chain=chain, geometry=1e-6, appearance=1e-6)(RECORD, views, key=(0,))
    assert torch.allclose(nearly.images, views.images, atol=1e-3)
    assert torch.allclose(nearly.masks, views.masks, atol=1e-3)


def test_cameras_stay_and_truth_is_not_passed_on() -> None:
    views = plan_views()
    made = SimulatedInputs()(RECORD, views, key=(0,))
    assert made.cameras is views.cameras
    assert (made.names, made.roles, made.parents) == (views.names, views.roles, views.parents)
    assert made.depth is None and made.normals is None


def test_drift_grows_with_the_angle_to_the_input_view() -> None:
    angles = torch.tensor([0.0, 30.0, 60.0, 90.0, 135.0, 180.0])
    n = len(angles)
    cameras = orbit_cameras(angles, torch.zeros(n), size=SIZE)
    # One picture for all, so that only the angle differs.
    images, masks, depth = ellipsoid(orbit_cameras(torch.zeros(n), torch.zeros(n), size=SIZE))
    views = PosedViews(
        images=images, masks=masks, cameras=cameras, depth=depth,
        names=tuple(f"v{i}" for i in range(n)), roles=("stage1",) * n, parents=(None,) * n,
    )  # fmt: skip
    record = SimpleNamespace(provenance={"elevation": 0.0})
    inputs = SimulatedInputs()
    made = [inputs(record, views, key=(0, i)) for i in range(80)]
    colour = torch.stack([error(m, views) for m in made]).mean(0)
    shape = torch.stack([(m.masks - masks).abs().mean((1, 2)) for m in made]).mean(0)
    assert (colour.diff() > 0).all() and (shape.diff() > 0).all()
    assert shape[-1] > 3 * shape[0] > 0


def test_growth_and_angle_in_closed_form() -> None:
    assert torch.allclose(growth(torch.tensor([0.0, 60.0, 180.0]), 0.2), torch.tensor([0.2, 0.6, 1.0]))
    centres = orbit(torch.tensor([0.0, 10.0, 180.0]), torch.tensor([0.0, 0.0, 0.0]), 1.2)[:, :3, 3]
    assert torch.allclose(
        angle_between(centres, 3 * centres[:1]), torch.tensor([0.0, 10.0, 180.0]), atol=1e-3
    )


def test_a_chain_makes_near_views_worse_and_leaves_stage_one_alone() -> None:
    views = plan_views()
    stage1, near = views.indices("stage1"), views.indices("near")
    runs = [[SimulatedInputs(chain=c)(RECORD, views, key=(0, i)) for i in range(8)] for c in (False, True)]
    assert torch.allclose(runs[0][0].images[stage1], runs[1][0].images[stage1], atol=1e-5)
    mean = [torch.stack([error(m, views)[near] for m in made]).mean() for made in runs]
    assert mean[1] > 2 * mean[0]


def test_a_near_view_inherits_the_drift_of_its_stage_one_view() -> None:
    """In a chain near views look like their own stage-1 view's drift, not like that of another draw."""
    views = plan_views()
    inputs = SimulatedInputs(chain=True)
    chosen = [views.names.index(n) for n in ("s2", "s2_n0", "s2_n1", "s2_n2", "s2_n3")]
    views = views[chosen]
    made = [inputs(RECORD, views, key=(i,)).images - views.images for i in range(12)]
    errors = torch.nn.functional.normalize(torch.stack(made).flatten(2), dim=-1)
    # Cosine of the errors of the near views of draw i with those of the stage-1 view of draw j.
    alike = torch.einsum("inp,jp->ijn", errors[:, 1:], errors[:, 0]).mean(-1)
    own = alike.diagonal().mean()
    others = (alike.sum() - alike.trace()) / (12 * 11)
    assert own > 0.6 and own > others.abs() + 0.4


def test_masks_and_images_stay_in_range_and_the_background_white() -> None:
    views = plan_views()
    for chain in (False, True):
        made = SimulatedInputs(chain=chain, geometry=2, appearance=3)(RECORD, views, key=(0,))
        for values in (made.images, made.masks):
            assert values.isfinite().all() and values.min() >= 0 and values.max() <= 1
        assert (made.images[(made.masks == 0)[:, None].expand(-1, 3, -1, -1)] == 1).all()
        # Mask and image drift together, and not far: all is white beyond the true mask widened by 1/8 frame.
        wide = max_pool2d(views.masks[:, None], 2 * (SIZE // 8) + 1, 1, SIZE // 8)
        calm = SimulatedInputs(chain=chain)(RECORD, views, key=(0,)).images
        assert (calm[(wide == 0).expand(-1, 3, -1, -1)] == 1).all()
        assert (made.masks != views.masks).any()


def test_an_empty_picture_stays_empty() -> None:
    views = plan_views()[[0, 1]]
    empty = replace(
        views,
        images=torch.ones_like(views.images),
        masks=torch.zeros_like(views.masks),
        depth=torch.zeros_like(views.masks),
    )
    made = SimulatedInputs()(RECORD, empty, key=(0,))
    assert (made.images == 1).all() and (made.masks == 0).all()


def test_depth_is_used_where_there_is_one_and_not_needed() -> None:
    views = plan_views()
    inputs = SimulatedInputs(appearance=0, rotation=15.0, warp=0, stretch=0, shift=0)
    deep = inputs(RECORD, views, key=(0,))
    flat = inputs(RECORD, replace(views, depth=None), key=(0,))
    assert (deep.images - flat.images).abs().max() > 0.05
    assert (error(flat, views) > 0).all() and error(deep, flat).mean() < error(deep, views).mean()


def test_a_turned_object_looks_like_one_seen_from_another_camera() -> None:
    """Drift of rotation alone is a reprojection: it is the picture of a camera that stands elsewhere."""
    camera = orbit_cameras([0.0], [0.0], size=SIZE)
    images, masks, depth = ellipsoid(camera)
    views = PosedViews(images, masks, camera, ("a",), ("stage1",), (None,), depth=depth)
    inputs = SimulatedInputs(appearance=0, rotation=6.0, warp=0, stretch=0, shift=0, floor=1.0)
    made = inputs(SimpleNamespace(provenance={"elevation": 0.0}), views, key=(0,))
    angles = torch.deg2rad(6.0 * Draw.named(("a",), (0,)).rotation)[0]
    skew = torch.linalg.cross(angles.expand(3, 3), torch.eye(3), dim=-1).mT
    axes = camera.c2w[0, :3, :3]
    turn = torch.eye(4)
    turn[:3, :3] = axes @ torch.linalg.matrix_exp(skew) @ axes.T
    expected = ellipsoid(Cameras(camera.K, turn.T @ camera.c2w, camera.size))[0]
    inside = 1 - max_pool2d(1 - masks[:, None], 9, 1, 4)  # the rim moves by extended depth, so only nearly
    assert (((made.images - expected) * inside) ** 2).mean() < 0.01 * (
        ((images - expected) * inside) ** 2
    ).mean()


def test_lineage_of_sources() -> None:
    views = plan_views()
    found = lineage(RECORD, views)
    assert found.near.tolist() == [False] * 8 + [True] * 32
    angles = angle_between(views.cameras.centres, found.origins)
    assert torch.allclose(angles[8:].amax(), torch.tensor(10.0), atol=1e-2)
    assert torch.allclose(angles[:4], torch.tensor([0.0, 83.28, 140.0, 83.28]), atol=0.1)
    assert found.parent_names[8:12] == ("s0",) * 4
    with pytest.raises(InputError, match=r"'s0_n0'.*parent"):
        lineage(RECORD, views[[8]])


def test_lineage_from_a_record_on_disk(tmp_path: Path) -> None:
    views = plan_views()
    folder = write_object(
        tmp_path, "cup", views=views, sources=("near",), provenance={"elevation": ELEVATION}
    )
    record = read_object(folder)
    near = record.views(record.source_indices())
    assert near.parents == (None,) * 32
    found = lineage(record, near)
    assert found.parent_names == tuple(f"s{i}" for i in range(8) for _ in range(4))
    assert torch.allclose(found.input_centre, views.cameras.centres[0], atol=1e-5)
    assert torch.allclose(found.origins, lineage(RECORD, views).origins[8:], atol=1e-5)


@pytest.mark.parametrize("bad", [{"warp": -1.0}, {"geometry": float("nan")}, {"floor": 1.5}])
def test_bad_amplitudes_are_named(bad: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(bad))):
        SimulatedInputs(**bad)


def test_extend_keeps_what_is_known_and_fills_the_rest() -> None:
    weight = torch.zeros(2, 1, 20, 13)
    weight[0, :, 3:6, 2:5] = 1
    values = torch.full((2, 3, 20, 13), 0.3)
    filled = extend(values * weight, weight)
    assert torch.allclose(filled[0], values[0], atol=1e-5)  # a constant is extended as that constant
    assert (filled[1] == 0).all()
    noise = torch.rand(2, 3, 20, 13, generator=torch_rng(0))
    known = weight[0, 0] > 0
    assert torch.allclose(extend(noise * weight, weight)[0][:, known], noise[0][:, known])


def test_similarity_in_closed_form() -> None:
    cameras = orbit_cameras([30.0], [20.0], size=32)
    points = torch.randn(1, 50, 3, generator=torch_rng(1)) * 0.2
    draw = Draw.named(("a",), (0,))
    only = Amplitudes(rotation=0, stretch=0, shift=1.0, warp=0, texture=0, shade=0, tint=0)
    moved = displace(points, cameras, draw, only, torch.tensor([0.5]))
    expected = points + 0.5 * (cameras.c2w[:, :3, :3] @ draw.shift[..., None]).mT
    assert torch.allclose(moved, expected, atol=1e-5)
    turned = displace(points, cameras, draw, replace(only, shift=0, rotation=20.0), torch.tensor([1.0]))
    assert torch.allclose(turned.norm(dim=-1), points.norm(dim=-1), atol=1e-5)
    assert not torch.allclose(turned, points, atol=1e-2)


def test_ball_depth_and_lift() -> None:
    cameras = orbit_cameras([30.0, 200.0], [20.0, -10.0], size=32)
    depth = ball_depth(cameras)
    assert torch.allclose(depth[:, 0, 0], torch.tensor(1.2))
    assert torch.allclose(depth.amin((1, 2)), torch.tensor(0.9), atol=2e-3)
    points = lift(depth, cameras).reshape(2, 32, 32, 3)
    rays = camera_rays(cameras)
    along = torch.nn.functional.normalize(points - cameras.centres[:, None, None], dim=-1)
    assert torch.allclose(along, rays.directions.expand_as(along), atol=1e-5)


def test_inverse_flow_undoes_the_flow() -> None:
    y, x = torch.meshgrid(*[(torch.arange(32) + 0.5) / 16 - 1] * 2, indexing="ij")
    flow = 0.05 * torch.stack([torch.sin(2 * y), torch.cos(2 * x)])[None]
    offset = _inverse(flow)
    at = torch.stack([x, y], -1) + offset.permute(0, 2, 3, 1)
    back = torch.nn.functional.grid_sample(flow, at, align_corners=False, padding_mode="border")
    assert (back + offset)[..., 4:-4, 4:-4].abs().max() < 1e-3
