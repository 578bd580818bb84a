"""Examples: what they hold, and that their draws depend on (seed, epoch, repeat, id) alone."""

from __future__ import annotations

import math
import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from one2345.data import Draw, Scene, SceneSizes, TargetRays, ViewsDataset, collate
from one2345.data.cache import ObjectCache
from one2345.data.pixels import draw_rays
from one2345.data.stores import FolderStore
from one2345.errors import InputError
from one2345.geometry import Cameras, orbit_cameras, project
from one2345.views import ObjectRecord, list_objects, object_folder, read_object, write_object

SIZES = SceneSizes(views=8, rays=64, sdf_points=50, surface_points=20, targets=2)


def dataset(root: Path, **changes) -> ViewsDataset:
    values = {"root": root, "ids": list_objects(root), "sizes": SIZES, "train": True} | changes
    return ViewsDataset(**values)


def tensors(value: object) -> dict[str, torch.Tensor]:
    found = {}
    for field in fields(value):
        part = getattr(value, field.name)
        if isinstance(part, torch.Tensor):
            found[field.name] = part
        elif isinstance(part, (TargetRays, Cameras)):
            found |= {f"{field.name}.{k}": v for k, v in tensors(part).items()}
    return found


def same(first: Scene, second: Scene) -> bool:
    one, two = tensors(first), tensors(second)
    return (
        one.keys() == two.keys()
        and all(torch.equal(one[k], two[k]) for k in one)
        and first.seed == second.seed
    )


def test_shapes_of_an_example(balls: Path) -> None:
    scene = dataset(balls)[0]
    shapes = {k: tuple(v.shape) for k, v in tensors(scene).items()}
    assert shapes == {
        "images": (8, 3, 24, 24),
        "masks": (8, 24, 24),
        "cameras.K": (8, 3, 3),
        "cameras.c2w": (8, 4, 4),
        "rays.origins": (64, 3),
        "rays.directions": (64, 3),
        "rays.rgb": (64, 3),
        "rays.mask": (64,),
        "rays.t": (64,),
        "sdf_points": (50, 3),
        "sdf_values": (50,),
        "surface_points": (20, 3),
        "surface_normals": (20, 3),
        "surface_colours": (20, 3),
        "reference.K": (1, 3, 3),
        "reference.c2w": (1, 4, 4),
    }
    assert scene.target_images is None


def test_reference_is_a_view_of_stage_1_in_evaluation_always_the_first(balls: Path) -> None:
    record = read_object(object_folder(balls, list_objects(balls)[0]))
    stage1 = record.cameras[record.indices("stage1")].c2w
    seen = set()
    for epoch in range(40):
        for train in (True, False):
            examples = dataset(balls, train=train)
            examples.set_epoch(epoch)
            reference = examples[0].reference
            assert reference is not None
            (found,) = [i for i, c2w in enumerate(stage1) if torch.equal(c2w, reference.c2w[0])]
            assert train or found == 0
            seen.add(found)
    assert seen == set(range(len(stage1)))


def test_rays_end_on_the_surface_with_its_colour(balls: Path) -> None:
    """For every object: |o + t d| is the ball's radius, and the colour is that of the point hit."""
    for index, id in enumerate(list_objects(balls)):
        rays = dataset(balls)[index].rays
        hit = rays.t > 0
        points = (rays.origins + rays.t[:, None] * rays.directions)[hit]
        radius = 0.3 + 0.02 * int(id[-1])
        assert (points.norm(dim=-1) - radius).abs().max() < 1e-4
        assert (rays.rgb[hit] - (0.5 + points)).abs().max() < 0.5 / 255 + 1e-4
        assert torch.equal(rays.mask > 0, hit)
        assert (rays.rgb[~hit] == 1).all()
        assert torch.allclose(rays.directions.norm(dim=-1), torch.ones(64), atol=1e-6)


def test_a_quarter_of_the_rays_is_uniform_the_rest_near_the_object() -> None:
    rgba = torch.zeros(1, 40, 40, 4, dtype=torch.uint8)
    rgba[0, 10:14, 20:26, 3] = 255
    cameras = orbit_cameras([0.0], [0.0], size=40)
    rays = draw_rays(rgba, None, cameras, 8000, generator=torch.Generator().manual_seed(0))
    ahead = (rays.origins + rays.directions).expand(1, -1, -1)
    pixels = project(ahead, cameras)[0][0]
    assert (((pixels - 0.5) - (pixels - 0.5).round()).abs() < 1e-3).all()
    u, v = pixels.unbind(-1)
    near = (u > 18) & (u < 28) & (v > 8) & (v < 16)
    assert near[2000:].all()
    assert near[:2000].double().mean() == pytest.approx(80 / 1600, abs=0.02)
    assert rays.mask[2000:].mean() == pytest.approx(24 / 80, abs=0.03)


def test_views_without_depth_give_rays_without_distances(balls: Path, tmp_path: Path) -> None:
    for id in ("ball-0", "ball-1"):
        record = read_object(object_folder(balls, id))
        write_object(tmp_path, id, views=record.views(), samples=record.samples())
    shutil.copy(balls / "dataset.json", tmp_path)
    flat, deep = dataset(tmp_path), dataset(balls)
    assert flat[0].rays.t is None
    assert torch.equal(flat[0].rays.rgb, deep[0].rays.rgb)
    assert collate([flat[0], flat[1]]).to("cpu").rays.t is None
    for pair in ([flat[0], deep[1]], [deep[1], flat[0]]):
        with pytest.raises(ValueError, match=r"rays of ball-\d, ball-\d don't stack: some have it"):
            collate(pair)


def test_draws_depend_on_their_key_alone(balls: Path) -> None:
    data, other = dataset(balls), dataset(balls, cache_mb=0)
    draw = Draw(index=3, epoch=2, repeat=1)
    for index in (4, 0, 1):
        data[index]
    assert same(data[draw], other[draw])
    subset = dataset(balls, ids=[data.ids[3]])
    assert same(data[draw], subset[Draw(0, 2, 1)])
    data.set_epoch(2)
    assert same(data[3 + len(data)], data[draw])
    for changed in (Draw(3, 1, 1), Draw(3, 2, 0)):
        assert not torch.equal(data[changed].rays.directions, data[draw].rays.directions)
        assert not torch.equal(data[changed].sdf_points, data[draw].sdf_points)
    assert data[Draw(3, 1, 1)].seed != data[draw].seed != dataset(balls, seed=1)[draw].seed


def test_labels_are_drawn_without_repetition_and_belong_together(balls: Path) -> None:
    scene = dataset(balls, sizes=replace(SIZES, sdf_points=400))[0]
    assert len(scene.sdf_points.unique(dim=0)) == 400
    few = dataset(balls)[1]
    assert len(few.sdf_points.unique(dim=0)) == 50
    assert torch.allclose(few.sdf_values, few.sdf_points.norm(dim=-1) - 0.32, atol=1e-6)
    assert torch.allclose(few.surface_points, few.surface_normals * 0.32, atol=1e-3)
    assert torch.allclose(few.surface_colours, 0.5 + few.surface_points, atol=0.003)
    many = dataset(balls, sizes=replace(SIZES, surface_points=500))[0]
    assert many.surface_points.shape == (500, 3)


def test_fewer_sources_are_drawn_in_training_and_spread_in_evaluation(balls: Path) -> None:
    sizes = replace(SIZES, views=4)
    train, fixed = dataset(balls, sizes=sizes), dataset(balls, sizes=sizes, train=False)
    record = train.record(train.ids[0])
    seen = {train.sources(train.ids[0], epoch=e).names for e in range(12)}
    assert len(seen) > 6
    assert all(len(names) == 4 and set(names) <= set(record.names[:8]) for names in seen)
    assert fixed.sources(fixed.ids[0]).names == ("s0", "s2", "s4", "s6")
    everything = dataset(balls, sizes=replace(SIZES, views=None)).sources(train.ids[0])
    assert everything.names == record.names[:8]
    with pytest.raises(InputError, match="views=9 source views are wanted, but there are 8 of role stage1"):
        dataset(balls, sizes=replace(SIZES, views=9))[0]


def test_validation_is_fixed_and_carries_the_truth(balls: Path) -> None:
    data = dataset(balls, train=False, ids=["ball-1", "ball-2"])
    scene = data[0]
    data.set_epoch(5)
    assert same(scene, data[0])
    assert scene.target_images.shape == (2, 3, 24, 24)
    assert scene.target_depth.shape == scene.target_masks.shape == (2, 24, 24)
    expected = data.record("ball-1").views(["t0", "t1"], depth=True)
    assert torch.equal(scene.target_images, expected.images)
    assert torch.equal(scene.target_depth, expected.depth)
    assert torch.equal(scene.target_cameras.c2w, expected.cameras.c2w)
    volume = 4 / 3 * torch.pi * 0.32**3 / 0.96**3
    assert scene.occupancy_64.double().mean() == pytest.approx(volume, rel=0.02)


def test_held_out_views_give_no_rays_and_come_first_in_validation(balls: Path) -> None:
    sizes = replace(SIZES, rays=4000, held_out=2, targets=2)
    record = read_object(object_folder(balls, "ball-1"))
    held = record.cameras[[9, 10]].centres
    assert seen_from(dataset(balls, sizes=sizes)[1].rays, record) == {"t0"}
    scene = dataset(balls, sizes=sizes, train=False)[1]
    assert torch.equal(scene.target_cameras.centres, held)
    with pytest.raises(InputError, match="held_out=4, but there are 3"):
        dataset(balls, sizes=replace(SIZES, held_out=4))[0]


def test_rays_come_from_views_that_the_network_is_not_given(balls: Path) -> None:
    data = dataset(balls, sizes=replace(SIZES, rays=4000))
    assert seen_from(data[0].rays, data.record("ball-0")) == {"t0", "t1", "t2"}


def test_without_free_targets_rays_come_from_every_exact_render(balls: Path) -> None:
    data = dataset(balls, sizes=replace(SIZES, rays=4000, held_out=3))
    assert seen_from(data[0].rays, data.record("ball-0")) == {f"s{k}" for k in range(8)}


def test_rays_of_the_inputs_show_what_the_network_is_given(balls: Path) -> None:
    class Grey:
        wants_depth = False

        def __call__(self, record, sources, *, key):
            return replace(sources, images=1 - 0.5 * sources.masks[:, None].expand_as(sources.images))

    sizes = replace(SIZES, rays=4000, rays_of="inputs")
    data = dataset(balls, sizes=sizes, inputs=Grey())
    rays = data[0].rays
    assert rays.t is None
    assert seen_from(rays, data.record("ball-0")) == {f"s{k}" for k in range(8)}
    assert torch.allclose(rays.rgb, (1 - 0.5 * rays.mask)[:, None].expand(-1, 3), atol=3 / 255)
    assert 0.2 < rays.mask.mean() < 0.95
    two = dataset(balls, sizes=replace(sizes, ray_views=2))[0].rays
    assert len(two.origins.unique(dim=0)) == 2
    with pytest.raises(InputError, match="rays_of='predictions'"):
        replace(SIZES, rays_of="predictions")


def seen_from(rays: TargetRays, record: ObjectRecord) -> set[str]:
    """Names of the views in which the rays begin."""
    distance = torch.cdist(rays.origins.unique(dim=0), record.cameras.centres)
    assert (distance.amin(1) < 1e-5).all()
    return {record.names[int(i)] for i in distance.argmin(1)}


def test_rays_can_be_limited_to_some_views_of_an_example(balls: Path) -> None:
    data = dataset(balls, sizes=replace(SIZES, ray_views=2))
    counts = [len(data[Draw(0, e, 0)].rays.origins.unique(dim=0)) for e in range(3)]
    assert counts == [2, 2, 2]


def test_inputs_see_the_true_sources_and_the_key(balls: Path) -> None:
    class Grey:
        wants_depth = True

        def __call__(self, record, sources, *, key):
            self.seen = (record.id, key, sources.depth is not None)
            return replace(sources, images=sources.images * 0 + 0.5)

    grey = Grey()
    scene = dataset(balls, inputs=grey)[Draw(2, 7, 1)]
    assert grey.seen == ("ball-2", (0, 7, 1, "ball-2"), True)
    assert (scene.images == 0.5).all()
    assert scene.rays.rgb.std() > 0.1


def test_collate_and_move(balls: Path) -> None:
    data = dataset(balls)
    batch = collate([data[0], data[1]])
    assert batch.ids == ("ball-0", "ball-1")
    assert batch.cameras.c2w.shape == (2, 8, 4, 4)
    assert batch.rays.rgb.shape == (2, 64, 3)
    assert len(batch) == 2
    assert same_tensors(batch, batch.to("cpu"))
    meta = batch.to("meta")
    assert all(t.device.type == "meta" for t in tensors(meta).values())
    with pytest.raises(ValueError, match="sdf_points of ball-0, ball-1 don't stack"):
        collate([data[0], replace(data[1], sdf_points=torch.zeros(3, 3))])


def same_tensors(first: object, second: object) -> bool:
    one, two = tensors(first), tensors(second)
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_damage_is_named_when_the_object_is_read(balls: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy, [of] = 'é'"
    shutil.copytree(balls, root)
    file = object_folder(root, "ball-1") / "images" / "t1.png"
    file.write_bytes(file.read_bytes()[:60])
    data = dataset(root)
    data[0]
    with pytest.raises(InputError, match=r"t1.png: not a readable PNG"):
        data[1]


def test_the_cache_keeps_to_its_budget(balls: Path) -> None:
    data = dataset(balls)
    for index in range(5):
        data[index]
    one = data._cache.get("ball-0").nbytes
    cache = ObjectCache(FolderStore(balls), megabytes=2.5 * one / 2**20)
    for id in data.ids:
        item = cache.get(id)
        item.load(list(range(11)), depth=True)
        item.labels(occupancy=False)
        cache.trim()
    assert len(cache._objects) == 2
    assert "ball-4" in cache._objects


def test_a_step_draws_one_number_of_sources_for_all_its_examples(balls: Path) -> None:
    data = dataset(balls, sizes=replace(SIZES, fewest_views=2))
    counts = [{len(data[Draw(index, 0, 0, batch)].images) for index in range(3)} for batch in range(24)]
    assert all(len(found) == 1 for found in counts)
    assert len(set().union(*counts)) >= 4
    assert data[Draw(0, 0, 0, 5)].cameras.K.shape == data[Draw(1, 0, 0, 5)].cameras.K.shape
    assert len(dataset(balls, sizes=replace(SIZES, fewest_views=2), train=False)[0].images) == 8
    few = [data.sizes.drawn_views(0, 0, batch) for batch in range(4000)]
    assert set(few) == set(range(2, 9))
    share = sum(count < 4 for count in few) / len(few)  # as many below 4 as log(4 / 2) is of log(9 / 2)
    assert share == pytest.approx(math.log(2) / math.log(4.5), abs=0.03)


@pytest.mark.parametrize("views", [None, 4])
def test_the_fewest_sources_are_no_more_than_the_most(views: int | None) -> None:
    with pytest.raises(InputError, match=f"fewest_views=5: needs views={views}"):
        SceneSizes(views=views, fewest_views=5)
