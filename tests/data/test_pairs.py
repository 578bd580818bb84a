"""Pairs of views: poses against the cameras, pictures against the files, draws that no worker changes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.data.spheres import RECIPE, Balls

from one2345.data import Draw, PairBatch, PairsDataset, PairSettings, prepare_objects
from one2345.data.pair_datamodule import PairDataModule
from one2345.errors import InputError
from one2345.views import object_folder, read_object

RECIPE_NEAR = replace(RECIPE, plan="ring8_near")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("pairs")
    prepare_objects(Balls(4), out=out, recipe=RECIPE_NEAR, workers=1, progress=False)
    return out


def drawn(root: Path, count: int, **settings) -> list[PairBatch]:
    data = PairsDataset(root=root, ids=["ball-0"], size=24, settings=PairSettings(**settings), train=True)
    return [data[Draw(0, epoch, 0)] for epoch in range(count)]


def matching(pair: PairBatch, root: Path) -> tuple[list[int], list[int]]:
    """Which stored views the source and target of a single pair are."""
    images = read_object(object_folder(root, pair.ids[0])).views().images
    return tuple(
        [i for i, image in enumerate(images) if torch.equal(image, shown[0])]
        for shown in (pair.sources, pair.targets)
    )


def test_poses_are_those_of_the_cameras_of_the_pictures(root):
    record = read_object(object_folder(root, "ball-0"))
    position = record.cameras.centres / 1.2
    seen = set()
    for pair in drawn(root, 30, near=0.5):
        (source,), (target,) = matching(pair, root)
        seen.add((source, target))
        a, b = position[source], position[target]
        azimuth = [math.atan2(float(x[0]), -float(x[1])) for x in (a, b)]
        turn = azimuth[1] - azimuth[0]
        wanted = [math.acos(float(b[2])) - math.acos(float(a[2])), math.sin(turn), math.cos(turn), 0.0]
        assert pair.poses[0].tolist() == pytest.approx(wanted, abs=1e-4)
    assert len(seen) > 15


def test_near_pairs_are_as_frequent_as_asked_for_and_go_both_ways(root):
    assert all(pair.near.all() for pair in drawn(root, 20, near=1.0))
    record = read_object(object_folder(root, "ball-0"))
    roles = [tuple(record.roles[v[0]] for v in matching(p, root)) for p in drawn(root, 20, near=1.0)]
    assert {("stage1", "near"), ("near", "stage1")} == set(roles)
    some = sum(bool(p.near) for p in drawn(root, 400, near=0.5))
    assert abs(some / 400 - 0.5) < 0.12


def test_a_mirrored_pair_is_mirrored_and_turns_the_other_way(root):
    plain, mirrored = drawn(root, 40, near=0.0), drawn(root, 40, near=0.0, mirror=True)
    flipped = 0
    for a, b in zip(plain, mirrored, strict=True):
        if torch.equal(a.sources, b.sources) and torch.equal(a.poses, b.poses):
            continue
        flipped += 1
        assert torch.equal(a.sources.flip(-1), b.sources) and torch.equal(a.targets.flip(-1), b.targets)
        assert torch.equal(a.poses * torch.tensor([1.0, -1.0, 1.0, 1.0]), b.poses)
    assert 8 < flipped < 32


def test_channels_are_permuted_alike_in_source_and_target(root):
    orders = set()
    for a, b in zip(drawn(root, 30, near=0.0), drawn(root, 30, near=0.0, permute=True), strict=True):
        found = [
            order
            for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
            if torch.equal(a.sources[:, order], b.sources) and torch.equal(a.targets[:, order], b.targets)
        ]
        assert found
        orders.update(found)
    assert len(orders) > 3


def test_evaluation_takes_the_plan_always_the_same(root):
    data = PairsDataset(root=root, ids=["ball-1"], size=24)
    pairs = data[0]
    record = read_object(object_folder(root, "ball-1"))
    images = record.views().images
    assert torch.equal(pairs.targets, images[:24])
    assert torch.equal(pairs.sources[:8], images[:1].expand(8, -1, -1, -1))
    assert torch.equal(pairs.sources[8:], images[[k // 2 for k in range(16)]])
    assert pairs.near.tolist() == [False] * 8 + [True] * 16
    up, side = pairs.poses[8], pairs.poses[9]
    assert up.tolist() == pytest.approx([-math.radians(10), 0, 1, 0], abs=1e-5)
    assert side.tolist() == pytest.approx(
        [0, math.sin(math.radians(10)), math.cos(math.radians(10)), 0], abs=1e-5
    )
    assert len(set(pairs.seeds)) == 24
    again = data[0]
    assert again.seeds == pairs.seeds and torch.equal(again.targets, pairs.targets)


def test_pictures_are_resampled_to_the_size_of_the_model(root):
    pairs = PairsDataset(root=root, ids=["ball-1"], size=12)[0]
    fine = PairsDataset(root=root, ids=["ball-1"], size=24)[0]
    assert pairs.targets.shape == (24, 3, 12, 12)
    assert torch.allclose(pairs.targets.mean((2, 3)), fine.targets.mean((2, 3)), atol=0.02)


@pytest.mark.parametrize("workers", [0, 2])
def test_draws_do_not_depend_on_workers(root, workers):
    data = PairDataModule(
        root=root,
        size=24,
        pairs=PairSettings(mirror=True, permute=True),
        batch_size=2,
        samples_per_epoch=6,
        num_workers=workers,
    )
    batches = list(data.train_dataloader())
    assert [len(b) for b in batches] == [2, 2, 2]
    reference = PairDataModule(
        root=root, size=24, pairs=PairSettings(mirror=True, permute=True), batch_size=2, samples_per_epoch=6
    )
    for a, b in zip(batches, reference.train_dataloader(), strict=True):
        assert a.ids == b.ids and a.seeds == b.seeds
        assert torch.equal(a.targets, b.targets) and torch.equal(a.poses, b.poses)


def test_objects_without_a_plan_are_refused(root, tmp_path):
    record = read_object(object_folder(root, "ball-0"))
    from one2345.data.pairs import plan_pairs

    with pytest.raises(InputError, match="no stage-1 views"):
        plan_pairs(replace(record, roles=("target",) * len(record)))
