"""The published training set, in miniature: what is read of it, and that a network trains on it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.published_set import ball_depth, uid, write_published_set

from one2345.cli import app, train
from one2345.data import SceneSizes, ViewsDataset
from one2345.data.datamodule import ReconstructionDataModule
from one2345.data.pack import pack_objects
from one2345.data.stores import FolderStore, PublishedStore, open_store
from one2345.errors import InputError

SIZES = SceneSizes(views=None, rays=64, sdf_points=0, surface_points=0, ray_views=1, targets=2)


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("published")
    write_published_set(root, count=4, size=32)
    return root


@pytest.fixture
def copy(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "copy"))


def test_the_layout_is_recognised_from_either_folder(published: Path) -> None:
    for root in (published, published / "zero12345_narrow"):
        store = open_store(root)
        assert isinstance(store, PublishedStore)
        assert store.ids() == [uid(i) for i in range(4)]
        assert [store.split(uid(i)) for i in (0, 3)] == ["train", "val"]


def test_a_prepared_folder_is_still_a_folder(balls: Path) -> None:
    assert isinstance(open_store(balls), FolderStore)


def test_predictions_are_the_sources_and_true_views_are_compared_with(published: Path) -> None:
    record = open_store(published).record(uid(1))
    assert [record.roles[i] for i in record.source_indices()] == ["near"] * 32
    assert [record.names[i] for i in record.true_indices()] == [f"view_{i}" for i in range(8)]
    assert record.parents[record.index("view_5_3_10")] == "view_5"
    scene = ViewsDataset(root=published, ids=[uid(1)], sizes=SIZES, train=True)[0]
    assert scene.images.shape == (32, 3, 32, 32) and scene.sdf_points.shape == (0, 3)
    origins = scene.rays.origins.unique(dim=0)
    assert len(origins) == 1  # one true view gives the rays, as published
    true = record.cameras[record.true_indices()].c2w[:, :3, 3]
    assert (true - origins).norm(dim=1).min() < 1e-5
    predicted = record.cameras[record.source_indices()].c2w[:, :3, 3]
    assert (predicted - origins).norm(dim=1).min() > 0.05


def test_depth_is_in_thousandths_of_a_world_unit(published: Path) -> None:
    record = open_store(published).record(uid(2))
    view = record.index("view_6")
    depth = torch.from_numpy(record.stored_depth(view).astype(np.float32)) / 20000
    assert (depth - ball_depth(2, 6, 32)).abs().max() < 6e-4
    with pytest.raises(InputError, match="predicted views such as view_6_0_10 have no depth"):
        record.stored_depth(record.index("view_6_0_10"))


def test_a_prediction_on_white_gets_its_mask_from_the_white(published: Path) -> None:
    record = open_store(published).record(uid(0))
    near, true = record.rgba(record.index("view_0_0_10")), record.rgba(record.index("view_0"))
    with Image.open(record.folder / "view_0_0_10.png") as image:
        assert image.mode == "RGB"
        inside = np.asarray(image).min(-1) < 250
    assert ((near[..., 3] == 255) == inside).all() and 0.1 < inside.mean() < 0.6
    assert abs(inside.mean() - (true[..., 3] > 0).mean()) < 0.02


def test_every_fault_is_named(copy: Path) -> None:
    store = PublishedStore(copy)
    folder = copy / "zero12345_narrow" / "000-001" / uid(1)
    (folder / "view_2_1_10.png").unlink()
    record = store.record(uid(1))
    with pytest.raises(InputError, match=r"view_2_1_10\.png: the picture is missing"):
        record.rgba(record.index("view_2_1_10"))
    (folder / "view_3.png").write_bytes((folder / "view_3.png").read_bytes()[:70])
    with pytest.raises(InputError, match=r"view_3\.png: not a readable PNG"):
        record.rgba(record.index("view_3"))
    with pytest.raises(InputError, match="has no object 'nobody'"):
        store.record("nobody")
    with pytest.raises(InputError, match="holds no zero12345_narrow"):
        PublishedStore(copy / "zero12345_narrow" / "000-001")
    shutil.copytree(folder, copy / "zero12345_narrow" / "000-009" / uid(1))
    with pytest.raises(InputError, match="delete one"):
        PublishedStore(copy).ids()


def test_faults_of_the_two_files_beside_the_set_are_named(copy: Path) -> None:
    split = copy / "lvis_split_cc_by.json"
    split.write_text(json.dumps({"train": [{"uid": "a"}], "val": [{"uid": "a"}]}))
    with pytest.raises(InputError, match="a is in train and in val"):
        PublishedStore(copy).split("a")
    split.write_text(json.dumps({"train": [{"id": "a"}]}))
    with pytest.raises(InputError, match=r"train\[0\] has no uid"):
        PublishedStore(copy).split("a")
    poses = copy / "One2345_training_pose.json"
    document = json.loads(poses.read_text())
    document["intrinsics"][0][2] = 64
    poses.write_text(json.dumps(document))
    with pytest.raises(InputError, match="don't fit pictures of 32x32"):
        PublishedStore(copy).record(uid(0))
    poses.unlink()
    with pytest.raises(InputError, match=r"One2345_training_pose\.json is missing"):
        PublishedStore(copy).record(uid(0))


def test_the_data_module_takes_the_published_splits(published: Path) -> None:
    data = ReconstructionDataModule(root=published, sizes=SIZES, test_split="val")
    assert data.ids("train") == [uid(i) for i in range(3)]
    assert data.ids("val") == data.ids("test") == [uid(3)]
    assert not data.labelled("train")


@pytest.mark.slow
def test_fifty_steps_on_it(published: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    argv = [
        "experiment=sdf_published", f"data.root={published}", "scale=laptop", "run.id=a", "trainer.max_steps=50",
        "trainer.val_check_interval=25", "scale.volume=16", "scale.rays=64", "data.samples_per_epoch=100",
        "trainer.accelerator=cpu",
    ]  # fmt: skip
    assert app.execute(train.COMMAND, argv) == 0
    run = tmp_path / "experiments" / "runs" / "sdf_published" / "a"
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["loss/colour"]) for row in rows if row.get("loss/colour")]
    psnr = [float(row["val/psnr"]) for row in rows if row.get("val/psnr")]
    assert len(psnr) == 2 and psnr[1] > 10 and losses[-1] < losses[0]
    assert (run / "checkpoints" / "best.ckpt").is_file()


def test_a_term_that_needs_labels_says_so(published: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    argv = [
        "experiment=sdf_published", f"data.root={published}", "scale=laptop", "run.id=b", "trainer.max_steps=1",
        "loss.colour=0", "+loss.sdf=1", "scale.volume=16", "trainer.accelerator=cpu",
    ]  # fmt: skip
    assert app.execute(train.COMMAND, argv) == 2
    assert "no labels of the shape, which loss.sdf needs" in capsys.readouterr().err


def test_it_packs_into_shards_that_read_alike(published: Path, tmp_path: Path) -> None:
    pack_objects(published, out=tmp_path / "shards", progress=False)
    stores = open_store(published), open_store(tmp_path / "shards")
    for id in (uid(0), uid(3)):
        own, packed = (store.record(id) for store in stores)
        assert (packed.names, packed.roles, packed.parents, packed.sources, packed.split, packed.flags) == (
            own.names, own.roles, own.parents, own.sources, own.split, own.flags
        )  # fmt: skip
        assert torch.equal(packed.cameras.c2w, own.cameras.c2w)
        assert all((packed.rgba(v) == own.rgba(v)).all() for v in range(40))
        assert all((packed.stored_depth(v) == own.stored_depth(v)).all() for v in own.true_indices())
