"""Packed objects as training data: the same examples in the same order as from the folder, resumed anywhere, and what
is damaged is named, skipped within the budget and stops all ranks alike above it."""

from __future__ import annotations

import hashlib
import pickle
import re
import shutil
import struct
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import lightning.pytorch as pl
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from tests.data.spheres import RECIPE, Ball, Balls

from one2345.data import LoadedObject, ObjectSampler, SceneSizes, prepare_objects
from one2345.data.datamodule import ReconstructionDataModule
from one2345.data.loader import TrainLoader
from one2345.data.pack import pack_objects
from one2345.data.pair_datamodule import PairDataModule
from one2345.data.stores import FolderStore, ShardStore, open_store
from one2345.data.stores.chunks import CATALOGUE, chunk_name
from one2345.errors import InputError, SharedError
from one2345.views import object_folder

SIZES = SceneSizes(views=4, rays=16, sdf_points=20, surface_points=10, targets=1)
SOON = timedelta(seconds=60)  # after which a rank that waits in vain fails
_ON_CPU = SimpleNamespace(root_device=torch.device("cpu"))


@dataclass
class Many(Balls):
    """Balls of any number, all of them for training."""

    def split(self, id: str) -> str:
        return "train"

    def load(self, id: str, *, shading: float = 0.0) -> LoadedObject:
        ball = Ball(id, 0.3 + 0.001 * (int(id.split("-")[1]) % 100))
        return LoadedObject(object=ball, provenance={"licence": "CC0-1.0"})


@pytest.fixture(scope="session")
def dozen(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("dozen")
    prepare_objects(Many(12), out=root, recipe=RECIPE, workers=1, progress=False)
    return root


@pytest.fixture(scope="session")
def packed(dozen: Path, tmp_path_factory) -> Path:
    """Six chunks of two objects."""
    out = tmp_path_factory.mktemp("packed") / "pack"
    assert pack_objects(dozen, out=out, chunk_mb=0.07, progress=False).chunks == 6
    return out


def digest(value: Any) -> str:
    """Hash of every tensor and text in a batch."""
    found = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, torch.Tensor):
            found.update(f"{part.dtype}{tuple(part.shape)}".encode() + part.numpy().tobytes())
        elif is_dataclass(part):
            for field in fields(part):
                add(getattr(part, field.name))
        else:
            found.update(repr(part).encode())

    add(value)
    return found.hexdigest()


def loader(
    root: Path, *, rank: int = 0, world: int = 1, batch: int = 1, workers: int = 0, **more: Any
) -> TrainLoader:
    """As the data module makes it, for one of several ranks."""
    settings = {"samples": None, "window": 2, "bad_budget": 0} | more
    module = ReconstructionDataModule(root=root, sizes=SIZES, batch_size=batch)
    data = module.dataset("train")
    sampler = ObjectSampler(
        data,
        seed=0,
        shuffle=True,
        batch=batch * world,
        samples=settings["samples"],
        rank=rank,
        world=world,
        window=settings["window"],
        groups=open_store(settings.get("groups", root)).groups(data.ids),
    )
    return TrainLoader(
        data,
        sampler=sampler,
        batch_size=batch,
        collate=module.collate,
        num_workers=workers,
        bad_budget=settings["bad_budget"],
    )


def epoch_of(made: TrainLoader, epoch: int = 0) -> list[tuple[tuple[str, ...], str]]:
    made.sampler.set_epoch(epoch)
    return [(batch.ids, digest(batch)) for batch in made]


def interleaved(ranks: Sequence[list]) -> list:
    return [batch for turn in zip(*ranks, strict=True) for batch in turn]


def test_the_same_examples_in_the_same_order_as_from_the_folder(dozen: Path, packed: Path) -> None:
    """One by one, on one rank or two; the folder dealt in the shards' order."""
    alone = epoch_of(loader(packed))
    assert sorted(ids for ids, _ in alone) == [(i,) for i in FolderStore(dozen).ids()]
    assert epoch_of(loader(dozen, groups=packed)) == alone
    assert interleaved([epoch_of(loader(packed, rank=r, world=2)) for r in range(2)]) == alone
    assert epoch_of(loader(packed), 1) != alone == epoch_of(loader(packed))


def test_objects_are_the_same_without_their_order(dozen: Path, packed: Path) -> None:
    """A plain module on either: every object's example is the same, whenever it comes."""
    one, two = (
        {b.ids: digest(b) for b in ReconstructionDataModule(root=r, sizes=SIZES).train_dataloader()}
        for r in (dozen, packed)
    )
    assert one == two
    assert len(one) == 12


def test_each_chunk_is_read_once_and_few_at_a_time(packed: Path) -> None:
    groups = ShardStore(packed).groups(ShardStore(packed).ids())
    sampler = ObjectSampler(range(12), seed=0, shuffle=True, groups=groups, window=3)  # type: ignore[arg-type]
    for epoch in range(4):
        sampler.set_epoch(epoch)
        order = [draw.index for draw in sampler]
        assert sorted(order) == list(range(12))
        for half in (order[:6], order[6:]):
            assert len({groups[i] for i in half}) == 3
    sampler.set_epoch(0)
    first = [draw.index for draw in sampler]
    assert first != order
    whole = ObjectSampler(range(12), seed=0, shuffle=True, groups=groups, window=6)  # type: ignore[arg-type]
    mixed = [groups[draw.index] for draw in whole]
    assert mixed != sorted(mixed, key=mixed.index), "objects of a window are not mixed"


@pytest.mark.parametrize("kind", ["folder", "shards"])
@pytest.mark.parametrize("done", [0, 1, 3, 6])
def test_an_epoch_goes_on_where_it_was_left(dozen: Path, packed: Path, kind: str, done: int) -> None:
    """Batches of two; the last place is the next epoch's begin."""
    root = dozen if kind == "folder" else packed
    whole, after = epoch_of(loader(root, batch=2), 3), epoch_of(loader(root, batch=2), 4)
    made = loader(root, batch=2)
    made.sampler.set_epoch(3)
    batches = iter(made)
    for _ in range(done):
        next(batches)
    state = pickle.loads(pickle.dumps(made.state_dict()))
    resumed = loader(root, batch=2)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    rest = [(b.ids, digest(b)) for b in resumed]
    assert rest == (whole[done:] if done < 6 else after)
    assert len(resumed) == 6
    # Only that epoch begins within; two ranks share the rest of it.
    assert epoch_of(resumed, 3) == whole
    halves = []
    for rank in range(2):
        half = loader(root, rank=rank, world=2, batch=1)
        half.load_state_dict(state)
        halves.append([b.ids[0] for b in half])
    assert interleaved(halves) == [id for ids, _ in rest for id in ids]


def test_a_place_holds_within_repeated_objects(packed: Path) -> None:
    """30 draws of twelve objects; the place lies in the third pass over them."""
    made = loader(packed, batch=2, samples=30)
    whole = epoch_of(made)
    batches = iter(made)
    for _ in range(13):
        next(batches)
    resumed = loader(packed, batch=2, samples=30)
    resumed.load_state_dict(made.state_dict())
    assert epoch_of(resumed) == whole[13:]
    assert len(whole) == 15


def test_another_order_begins_the_epoch_anew(packed: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = loader(packed)
    next(iter(made))
    other = loader(packed, window=3)
    other.load_state_dict(made.state_dict())
    assert "begun anew" in caplog.text
    assert len(epoch_of(other)) == 12


def flip(root: Path, id: str) -> str:
    """Flip a bit of the object's labels, the last byte of its item; names the chunk."""
    store = ShardStore(root)
    row = store.catalogue.find(id)
    assert row is not None
    file = root / chunk_name(int(store.catalogue.chunks[row]))
    data = bytearray(file.read_bytes())
    (end,) = struct.unpack_from("<I", data, 4 * (2 + int(store.catalogue.places[row])))
    data[end - 1] ^= 1
    file.write_bytes(data)
    return file.name


@pytest.fixture
def hurt(packed: Path, tmp_path: Path) -> Path:
    shutil.copytree(packed, tmp_path / "hurt")
    flip(tmp_path / "hurt", "ball-3")
    return tmp_path / "hurt"


def test_a_flipped_bit_is_named(hurt: Path) -> None:
    store = open_store(hurt)
    with pytest.raises(InputError, match=r"hurt/chunk-0-\d.bin: object 'ball-3' is damaged \(its sha256"):
        store.record("ball-3")
    for id in store.ids():
        if id != "ball-3":
            store.record(id).check()
    with pytest.raises(InputError, match=r"object 'ball-3' is damaged.*data.bad_budget=N goes on"):
        epoch_of(loader(hurt))


@pytest.mark.parametrize("change", ["offset", "cut", "gone", "count"])
def test_other_damage_is_named_too(packed: Path, tmp_path: Path, change: str) -> None:
    shutil.copytree(packed, tmp_path / "p")
    store = ShardStore(tmp_path / "p")
    id = store.ids()[0]
    file = tmp_path / "p" / chunk_name(store.groups([id])[0])
    data = bytearray(file.read_bytes())
    if change == "offset":
        data[4:12] = b"\xff" * 8
    elif change == "cut":
        del data[100:]
    elif change == "count":
        (tmp_path / "p" / CATALOGUE).write_text(
            (tmp_path / "p" / CATALOGUE).read_text().replace('"ball-11",\n', "", 1)
        )
        with pytest.raises(InputError, match=rf"{CATALOGUE}: column"):
            ShardStore(tmp_path / "p").record(id)
        return
    file.write_bytes(data)
    if change == "gone":
        file.unlink()
    with pytest.raises(InputError, match=re.escape(file.name)):
        [store.record(one) for one in store.ids()]


@pytest.mark.parametrize("kind", ["folder", "shards"])
def test_damage_within_the_budget_is_skipped(
    dozen: Path, hurt: Path, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    root = hurt
    if kind == "folder":
        root = tmp_path / "folder"
        shutil.copytree(dozen, root)
        file = object_folder(root, "ball-3") / "samples.npz"
        file.write_bytes(file.read_bytes()[:1000])
    made = loader(root, bad_budget=1, batch=2)
    for epoch in range(2):
        ids = [id for found, _ in epoch_of(made, epoch) for id in found]
        assert len(ids) == 12
        # The next in the order of ids stands in.
        assert sorted(set(ids)) == sorted({f"ball-{i}" for i in range(12)} - {"ball-3"})
        assert ids.count("ball-4") == 2
    assert caplog.text.count("skipped ball-3 (1 of at most 1)") == 2
    assert list(made.state_dict()["damaged"]) == ["ball-3"]
    resumed = loader(root, bad_budget=1, batch=2)
    resumed.load_state_dict(made.state_dict())
    with pytest.raises(InputError, match=r"data.bad_budget=-1"):
        ReconstructionDataModule(root=root, bad_budget=-1)


def test_damage_beyond_the_budget_stops(hurt: Path) -> None:
    for id in ("ball-4", "ball-8"):
        flip(hurt, id)
    assert len(epoch_of(loader(hurt, bad_budget=3))) == 12
    with pytest.raises(
        InputError, match=r"3 damaged objects in this epoch, data.bad_budget=2 allows no more"
    ):
        epoch_of(loader(hurt, bad_budget=2))
    # Neighbours all the way: nothing stands in, whatever the budget.
    for id in set(ShardStore(hurt).ids()) - {"ball-3", "ball-4", "ball-8"}:
        flip(hurt, id)
    with pytest.raises(InputError, match="12 damaged objects"):
        epoch_of(loader(hurt, bad_budget=50))


def _train(rank: int, folder: str, root: str) -> None:
    """With a budget of 1, then with none."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    for budget in (1, 0):
        seen, message = [], ""
        try:
            for batch in loader(Path(root), rank=rank, world=2, bad_budget=budget):
                seen.append((batch.ids, digest(batch)))
        except InputError as error:
            message = str(error)
        torch.save((seen, message), f"{folder}/{budget}-{rank}")
    dist.barrier()
    dist.destroy_process_group()


def test_ranks_skip_and_stop_together(hurt: Path, tmp_path: Path) -> None:
    """One rank meets the damaged object; both go on, or both stop at that step with the same message."""
    alone = epoch_of(loader(hurt, bad_budget=1))
    mp.spawn(_train, args=(str(tmp_path), str(hurt)), nprocs=2)
    (first, none), (second, nothing) = (torch.load(tmp_path / f"1-{rank}") for rank in range(2))
    assert none == nothing == ""
    assert interleaved([first, second]) == alone
    (first, one), (second, other) = (torch.load(tmp_path / f"0-{rank}") for rank in range(2))
    assert one == other
    assert "object 'ball-3' is damaged" in one
    assert len(first) == len(second) < 6


def _validate(rank: int, folder: str, root: str) -> None:
    """A validation whose every step waits for the other rank, as metrics do."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2, timeout=SOON
    )
    module = ReconstructionDataModule(root=Path(root), sizes=SIZES, test_split="all")
    module.trainer = cast(Any, SimpleNamespace(global_rank=rank, world_size=2, strategy=_ON_CPU))
    seen, message = [], ""
    try:
        for batch in module.test_dataloader():
            dist.all_reduce(torch.ones(1))
            seen.append(batch.ids)
    except SharedError as error:
        message = str(error)
    torch.save((seen, message), f"{folder}/{rank}")
    dist.barrier()
    dist.destroy_process_group()


def test_ranks_stop_together_in_validation(hurt: Path, tmp_path: Path) -> None:
    """The damaged object comes to one rank alone; the other hears of it before it waits for that one's metrics."""
    mp.spawn(_validate, args=(str(tmp_path), str(hurt)), nprocs=2)
    (first, one), (second, other) = (torch.load(tmp_path / f"{rank}") for rank in range(2))
    assert one == other
    assert re.search(r"object 'ball-3' is damaged .*validation and test leave no object out", one)
    order = sorted(f"ball-{i}" for i in range(12))
    before = order.index("ball-3") // 2
    assert (first, second) == tuple([(id,) for id in order[rank::2]][:before] for rank in range(2))


def test_validation_without_damage_is_whole(packed: Path) -> None:
    module = ReconstructionDataModule(
        root=packed, sizes=SIZES, test_split="all", eval_batch_size=5, num_workers=1
    )
    found = [batch.ids for batch in module.test_dataloader()]
    assert [id for ids in found for id in ids] == sorted(f"ball-{i}" for i in range(12))
    assert [len(ids) for ids in found] == [5, 5, 2]


def test_chunks_come_from_object_storage_through_a_cache(packed: Path, tmp_path: Path) -> None:
    """Through litdata's downloader of local folders; the cache holds one chunk and what is being read."""
    size = (packed / "chunk-0-0.bin").stat().st_size
    url = f"local:{packed}"
    module = ReconstructionDataModule(
        root=url, sizes=SIZES, shard_cache=tmp_path / "cache", shard_cache_gb=1.5 * size / 2**30
    )
    found = {b.ids: digest(b) for b in module.train_dataloader()}
    assert found == {
        b.ids: digest(b) for b in ReconstructionDataModule(root=packed, sizes=SIZES).train_dataloader()
    }
    (folder,) = (tmp_path / "cache").iterdir()
    assert len(list(folder.glob("*.bin"))) == 1
    store = ShardStore(url, cache=tmp_path / "cache")
    assert len({chunk for chunk in store.groups(store.ids()) if store.record(store.ids()[chunk])}) == 6
    shutil.rmtree(folder)
    assert pickle.loads(pickle.dumps(store)).record("ball-1").id == "ball-1"
    with pytest.raises(InputError, match=r"nowhere/catalogue.json: can't be fetched"):
        ShardStore(f"local:{tmp_path}/nowhere", cache=tmp_path / "cache").ids()


def test_pairs_of_views_come_from_shards_too(dozen: Path, packed: Path) -> None:
    one, two = (
        {b.ids: digest(b) for b in PairDataModule(root=root, size=24).train_dataloader()}
        for root in (dozen, packed)
    )
    assert one == two


@pytest.mark.slow
def test_workers_and_ranks_change_nothing(packed: Path) -> None:
    alone = epoch_of(loader(packed))
    for workers in (1, 2):
        ranks = [epoch_of(loader(packed, rank=r, world=2, workers=workers)) for r in range(2)]
        assert interleaved(ranks) == epoch_of(loader(packed, workers=workers)) == alone
    made = loader(packed, workers=2)
    batches = iter(made)
    for _ in range(5):
        next(batches)
    resumed = loader(packed, workers=1)
    resumed.load_state_dict(made.state_dict())
    assert epoch_of(resumed) == alone[5:]


@pytest.mark.slow
def test_two_hundred_objects(tmp_path: Path) -> None:
    """0, 1 and 2 workers, 1 and 2 ranks, folder and shards, png and webp: one global order of the same examples."""
    root = tmp_path / "root"
    prepare_objects(Many(200), out=root, recipe=RECIPE, workers=2, progress=False)
    packs = {images: tmp_path / images for images in ("png", "webp")}
    for images, out in packs.items():
        pack_objects(root, out=out, images=images, chunk_mb=0.5, progress=False)
    groups = packs["png"]
    alone = epoch_of(loader(groups, window=4))
    assert len(alone) == 200
    assert epoch_of(loader(root, window=4, groups=groups)) == alone
    assert sorted(epoch_of(loader(packs["webp"], window=4))) == sorted(alone)
    for workers in (1, 2):
        assert epoch_of(loader(groups, window=4, workers=workers)) == alone
    for workers in (0, 2):
        ranks = [epoch_of(loader(groups, window=4, rank=r, world=2, workers=workers)) for r in range(2)]
        assert interleaved(ranks) == alone


@pytest.mark.slow
def test_memory_of_loading_processes_stays(packed: Path) -> None:
    """Two processes whose cache holds some of the objects; benchmarks/loader_memory.py does 10,000 examples."""
    module = ReconstructionDataModule(
        root=packed, sizes=SIZES, batch_size=2, samples_per_epoch=1600, num_workers=2, cache_mb=0.5
    )
    made = module.train_dataloader()
    held = []
    for count, _ in enumerate(made):
        if count in (400, 799):
            pids = [worker.pid for worker in made._iterator._workers]
            held.append(sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids))
    assert held[1] < 1.01 * held[0]


class _Counting(pl.LightningModule):
    """Remembers what it is trained on."""

    def __init__(self, save_at: int, file: Path) -> None:
        super().__init__()
        self.save_at, self.file = save_at, file
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[str, ...]] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.seen.append(batch.ids)
        return self.weight.sum() * batch.images.mean()

    def on_train_batch_end(self, *_: Any) -> None:
        if self.global_step == self.save_at:
            self.trainer.save_checkpoint(self.file)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("steps", [4, 6, 8])
def test_lightning_resumes_within_an_epoch(packed: Path, tmp_path: Path, steps: int, workers: int) -> None:
    """Gone on with from a checkpoint after some steps of epochs of six batches: what an uninterrupted run sees."""
    file = tmp_path / "a.ckpt"

    def train(checkpoint: Path | None = None) -> list[tuple[str, ...]]:
        module = _Counting(steps if checkpoint is None else -1, file)
        trainer = pl.Trainer(
            max_steps=15,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        data = ReconstructionDataModule(root=packed, sizes=SIZES, batch_size=2, num_workers=workers)
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        return module.seen

    whole = train()
    assert len(whole) == 15
    assert train(file) == whole[steps:]
