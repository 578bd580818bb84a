"""The data module: prepares on first use, splits, restricts to ids, and says what is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.data.spheres import RECIPE, Balls, tree

from one2345.data import ListedObject, ObjectList, SceneSizes
from one2345.data.datamodule import ReconstructionDataModule
from one2345.errors import InputError

SIZES = SceneSizes(views=8, rays=16, sdf_points=20, surface_points=10, targets=1)


def module(**changes) -> ReconstructionDataModule:
    return ReconstructionDataModule(**({"sizes": SIZES, "prepare_workers": 1} | changes))


def test_a_source_is_prepared_on_first_use_and_kept(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = module(source=Balls(4), recipe=RECIPE, batch_size=2)
    assert data.root.parent == Path("data")
    assert data.root.name.startswith("balls-")
    data.prepare_data()
    before = tree(data.root)
    assert data.ensure_prepared().made == 0
    assert tree(data.root) == before
    assert (data.ids("train"), data.ids("val"), data.ids("test")) == (
        ["ball-0", "ball-3"],
        ["ball-1"],
        ["ball-2"],
    )
    batch = next(iter(data.train_dataloader()))
    assert sorted(batch.ids) == ["ball-0", "ball-3"]
    assert next(iter(data.val_dataloader())).ids == ("ball-1",)
    assert next(iter(data.test_dataloader())).occupancy_64.shape == (1, 64, 64, 64)
    # Another recipe gets another folder; a source that wants fewer objects uses only those.
    assert module(source=Balls(4), recipe=replace(RECIPE, targets=1)).root != data.root
    assert module(source=Balls(1), recipe=RECIPE).ids("train") == ["ball-0"]


def test_one_split_alone_is_prepared(tmp_path: Path) -> None:
    data = module(root=tmp_path / "x", source=Balls(4), recipe=RECIPE)
    data.ensure_prepared("test")
    assert data.ids("all") == data.ids("test") == ["ball-2"]
    data = module(root=tmp_path / "x", source=Balls(4), recipe=RECIPE, test_split="val")
    data.ensure_prepared("test")
    assert data.ids("test") == ["ball-1"]
    assert data.ids("all") == ["ball-1", "ball-2"]


def test_a_prepared_root_is_split_as_stored(balls: Path) -> None:
    data = module(root=balls)
    assert (data.ids("train"), data.ids("val"), data.ids("test")) == (
        ["ball-0", "ball-3", "ball-4"],
        ["ball-1"],
        ["ball-2"],
    )
    assert len(module(root=balls, test_split="all").ids("test")) == 5
    assert module(root=balls, test_split="val").ids("test") == ["ball-1"]


def test_a_root_without_splits_is_all_test_and_training(tmp_path: Path) -> None:
    from one2345.data import prepare_objects

    class Loose(Balls):
        def split(self, id: str) -> None:
            return None

    prepare_objects(Loose(3), out=tmp_path, recipe=RECIPE, workers=1)
    data = module(root=tmp_path)
    assert data.ids("test") == data.ids("train") == ["ball-0", "ball-1", "ball-2"]
    assert data.ids("val") == []
    assert data.val_dataloader() == []


def test_ids_restrict_all_splits_alike(balls: Path) -> None:
    data = module(root=balls, ids=["ball-2"], samples_per_epoch=6, batch_size=3)
    assert data.ids("train") == data.ids("val") == data.ids("test") == ["ball-2"]
    batches = list(data.train_dataloader())
    assert [len(b) for b in batches] == [3, 3]
    assert len({seed for b in batches for seed in b.seeds}) == 6
    assert next(iter(data.val_dataloader())).ids == ("ball-2",)


def named(*rows: tuple[str, str]) -> ObjectList:
    return ObjectList("a list", tuple(ListedObject(id, split=split) for id, split in rows))


def test_a_list_restricts_and_splits(balls: Path, caplog: pytest.LogCaptureFixture) -> None:
    unsplit = module(root=balls, list=named(("ball-0", ""), ("ball-2", "")))
    assert (unsplit.ids("train"), unsplit.ids("val"), unsplit.ids("test")) == (["ball-0"], [], ["ball-2"])
    assert unsplit.ids("all") == ["ball-0", "ball-2"]
    split = named(("ball-0", "test"), ("ball-1", "train"), ("ball-2", "test"))
    data = module(root=balls, list=split)
    assert (data.ids("train"), data.ids("val"), data.ids("test")) == (["ball-1"], [], ["ball-0", "ball-2"])
    assert module(root=balls, list=split, test_split="all").ids("test") == ["ball-0", "ball-1", "ball-2"]
    lost = named(("ball-0", "test"), ("ball-8", "test"), ("ball-9", "train"))
    with pytest.raises(InputError, match=r"lacks 2 \(ball-8, ball-9\) of the 3 .* a list; data.partial=true"):
        module(root=balls, list=lost).ids("test")
    assert module(root=balls, list=lost, partial=True).ids("test") == ["ball-0"]
    assert "lacks 2 (ball-8, ball-9)" in caplog.text


def test_a_file_is_a_list(balls: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("id\nball-3\n")
    assert module(root=balls, list=tmp_path / "list.csv").ids("train") == ["ball-3"]
    with pytest.raises(InputError, match=r"no list of the package \(gso_dev"):
        module(root=balls, list="gso")


def test_what_is_missing_is_named(balls: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data.root is not given"):
        module()
    with pytest.raises(InputError, match="there is no such folder"):
        module(root=tmp_path / "gone")
    with pytest.raises(InputError, match=r"holds no dataset.json"):
        module(root=tmp_path)
    with pytest.raises(InputError, match="no object 'zz'"):
        module(root=balls, ids=["zz"]).ids("train")
    with pytest.raises(InputError, match="test, all"):
        module(root=balls, test_split="dev")
    with pytest.raises(InputError, match=r"data.batch_size=0"):
        module(root=balls, batch_size=0)
    source = module(source=Balls(1), recipe=RECIPE, root=tmp_path / "one")
    source.prepare_data()
    with pytest.raises(InputError, match="no objects of split 'test'; raise the count"):
        source.ids("test")


def test_an_object_that_could_not_be_prepared_says_why(tmp_path: Path) -> None:
    data = module(source=Balls(4, bad=("ball-3",)), recipe=RECIPE, root=tmp_path)
    data.prepare_data()
    assert data.ids("train") == ["ball-0"]
    with pytest.raises(InputError, match=r"could not be prepared \(ball-3: is bad\)"):
        module(root=tmp_path, ids=["ball-3"]).ids("train")


@pytest.mark.slow
def test_loading_processes_change_nothing(balls: Path) -> None:
    here = list(module(root=balls).train_dataloader())
    loader = module(root=balls, num_workers=2).train_dataloader()
    for _ in range(2):
        there = list(loader)
        assert [b.ids for b in here] == [b.ids for b in there]
        assert all(torch.equal(a.rays.rgb, b.rays.rgb) for a, b in zip(here, there, strict=True))


def test_training_objects_of_other_folders_are_mixed_in(balls: Path, tmp_path: Path) -> None:
    from one2345.data import prepare_objects

    class Others(Balls):
        def ids(self, split: str | None = None) -> list[str]:
            return [id.replace("ball", "other") for id in super().ids(split)]

    prepare_objects(Others(3), out=tmp_path, recipe=RECIPE, workers=1)
    data = module(root=balls, also=[tmp_path], batch_size=4)
    trained = sorted(id for batch in data.train_dataloader() for id in batch.ids)
    assert trained == ["ball-0", "ball-3", "ball-4", "other-0"]
    assert data.ids("val") == ["ball-1"] and data.ids("all") == module(root=balls).ids("all")
    with pytest.raises(InputError, match="'ball-0'"):
        module(root=balls, also=[balls]).train_dataloader()
