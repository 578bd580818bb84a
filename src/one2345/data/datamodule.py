"""The LightningDataModule: finds or prepares the objects, and serves batches of them to any number of ranks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from one2345.errors import InputError
from one2345.views import SCHEMA_NAME

from .batch import collate
from .dataset import SceneSizes, ViewsDataset
from .inputs import Inputs
from .ledger import failures
from .loader import EvalLoader, TrainLoader
from .object_list import ObjectList, load_object_list
from .prepare import STAGE, PrepareSummary, dataset_description, prepare_objects
from .recipe import Recipe, recipe_hash
from .sampler import ObjectSampler
from .sources import Source
from .sources.folder import few
from .stores import JoinedStore, Store, is_remote, open_store

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")


class ReconstructionDataModule(L.LightningDataModule):
    """Posed views with labels for training, validation and test.

    root: prepared data. With `source`, its objects are prepared there by `recipe` on first use; root then
    defaults to data/<kind>-<hash of source and recipe>, so that another recipe gets another folder.
    also: more prepared folders, whose objects of split train are trained on too, mixed with those of root.
    inputs, eval_inputs: what becomes of the source views in training, and in validation and test (default:
    the same).
    sizes: what one example holds. batch_size: examples per process and step; eval_batch_size likewise.
    ids: only these objects, the same in training, validation and test (overfitting). list: only the objects of
    this list, in its splits where it has any; partial: go on without those of it that are not there.
    test_split: which objects are the test: 'test', 'val', 'train' or 'all'. samples_per_epoch: draws
    over all processes; None: each object once. num_workers, prepare_workers: processes that load, prepare.
    bad_budget: so many damaged objects an epoch are skipped in training, each for another one; more stop it.
    For packed objects: window: chunks that training mixes the objects of at a time. root may be an address in object
    storage; shard_cache, shard_cache_gb: folder that its chunks are kept in, and how much of them (see `ShardStore`).

    In a root whose objects carry no split, all of them are both training and test objects and there is no
    validation. Raises InputError when the root is no prepared data, or a wanted split or id isn't there.
    """

    def __init__(
        self,
        *,
        root: Path | str | None = None,
        also: Sequence[Path | str] = (),
        source: Source | None = None,
        recipe: Recipe | None = None,
        sizes: SceneSizes | None = None,
        inputs: Inputs | None = None,
        eval_inputs: Inputs | None = None,
        batch_size: int = 1,
        eval_batch_size: int = 1,
        ids: Sequence[str] | None = None,
        list: ObjectList | str | Path | None = None,
        partial: bool = False,
        test_split: str = "test",
        samples_per_epoch: int | None = None,
        seed: int = 0,
        cache_mb: float = 512.0,
        bad_budget: int = 0,
        window: int = 8,
        shard_cache: Path | str | None = None,
        shard_cache_gb: float = 50.0,
        num_workers: int = 0,
        prepare_workers: int | None = None,
        progress: bool = True,
    ) -> None:
        super().__init__()
        self.prepare_data_per_node = False
        if root is None and source is None:
            raise InputError(
                "data.root is not given; it is the folder that prepare.py wrote (data=shapes needs none)"
            )
        if test_split not in (*SPLITS, "all"):
            raise InputError(f"data.test_split={test_split!r}: use one of {', '.join(SPLITS)}, all")
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("eval_batch_size", eval_batch_size, 1),
            ("window", window, 1),
            ("bad_budget", bad_budget, 0),
        ):
            if value < least:
                raise InputError(f"data.{name}={value}: must be at least {least}")
        self.source, self.recipe = source, recipe if recipe is not None else Recipe()
        self.root: Path | str = self._default_root() if root is None else _address(root)
        self.sizes = sizes if sizes is not None else SceneSizes()
        self.inputs = inputs
        self.eval_inputs = eval_inputs if eval_inputs is not None else inputs
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.wanted = None if ids is None else [str(i) for i in ids]
        self.list = list if isinstance(list, ObjectList | None) else load_object_list(list)
        self.partial = partial
        self.test_split = test_split
        self._splits: dict[str, str | None] = {}
        self._store: Store | None = None
        self.samples_per_epoch = samples_per_epoch
        self.seed, self.cache_mb = seed, cache_mb
        self.bad_budget, self.window = bad_budget, window
        self.shard_cache, self.shard_cache_gb = shard_cache, shard_cache_gb
        self.also = [self._open(_address(folder)) for folder in also]
        self.num_workers, self.prepare_workers, self.progress = num_workers, prepare_workers, progress
        if source is None:
            self._store = self._open(self.root)

    def prepare_data(self) -> None:
        """Prepare what is missing (one process does this, before all others read)."""
        self.ensure_prepared()

    def ensure_prepared(self, split: str | None = None) -> PrepareSummary | None:
        """Prepare what the source has (of `split`, as in `ids`; None: all) and the root hasn't.

        None when there is nothing to prepare from.
        """
        if self.source is None:
            return None
        ids = self.wanted
        if ids is None and split is not None:
            ids = self._offered(self.source, split)
        log.info("data: %s (objects that are there are kept)", self.root)
        summary = prepare_objects(
            self.source,
            out=self.root,
            recipe=self.recipe,
            workers=self.prepare_workers,
            progress=self.progress,
            ids=ids,
        )
        log.log(logging.WARNING if summary.failed else logging.INFO, "%s", summary)
        return summary

    @property
    def store(self) -> Store:
        """Where the objects are read from."""
        if self._store is None:
            self._store = self._open(self.root)
        return self._store

    def _open(self, root: Path | str) -> Store:
        return open_store(root, cache=self.shard_cache, cache_gb=self.shard_cache_gb)

    def ids(self, split: str) -> list[str]:
        """Sorted ids of 'train', 'val', 'test' or 'all'.

        Raises InputError when the root is no prepared data, lacks objects of the list, or the split is empty (but
        for 'val').
        """
        present = self.store.ids()
        if self.wanted is not None:
            for id in self.wanted:
                if id not in present:
                    raise InputError(f"{self.root}: has no object {id!r}{self._why(id)}")
            return self.wanted
        wanted = self.test_split if split == "test" else split
        if self.source is not None:
            found = sorted(set(self._offered(self.source, split)) & set(present))
        else:
            found = present if wanted == "all" else self._stored_split(present, wanted)
        if self.list is not None:
            found = self._listed(self.list, present, found, wanted)
        if not found and split != "val":
            raise InputError(f"{self.root}: has no objects of split {wanted!r}{self._known_splits(present)}")
        return found

    def labelled(self, split: str) -> bool:
        """Whether the objects of a split come with labels of their shape."""
        return any(self.store.record(id).sample_counts is not None for id in self.ids(split)[:1])

    def dataset(self, split: str) -> ViewsDataset:
        """The examples of a split: drawn for 'train', fixed for the others."""
        train = split == "train"
        store, ids = self.store, self.ids(split)
        if train and self.also:
            ids = [*ids, *(id for other in self.also for id in other.ids() if other.split(id) == "train")]
            store = JoinedStore([store, *self.also])
        return ViewsDataset(
            root=store,
            ids=ids,
            sizes=self.sizes,
            inputs=self.inputs if train else self.eval_inputs,
            seed=self.seed,
            train=train,
            cache_mb=self.cache_mb / max(1, self.num_workers),
        )

    def train_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.dataset("train"), train=True)

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        data = self.dataset("val")
        return self._loader(data, train=False) if len(data) else []

    def test_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.dataset("test"), train=False)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """From page-locked memory to a GPU while it still works at what came before."""
        return batch.to(device, non_blocking=device.type == "cuda")

    collate = staticmethod(collate)

    def _loader(self, data: Any, *, train: bool) -> DataLoader[Any]:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        size = self.batch_size if train else self.eval_batch_size
        sampler = ObjectSampler(
            data,
            seed=self.seed,
            shuffle=train,
            batch=size * world if train else 1,
            samples=self.samples_per_epoch if train else None,
            rank=rank,
            world=world,
            groups=data.store.groups(data.ids) if train else None,
            window=self.window,
        )
        pinned = bool(self.trainer) and self.trainer.strategy.root_device.type == "cuda"
        if train:
            return TrainLoader(
                data,
                sampler=sampler,
                batch_size=size,
                collate=self.collate,
                bad_budget=self.bad_budget,
                num_workers=self.num_workers,
                pin_memory=pinned,
            )
        workers = min(self.num_workers, len(sampler))
        return EvalLoader(
            data,
            sampler=sampler,
            batch_size=size,
            collate=self.collate,
            num_workers=workers,
            pin_memory=pinned,
        )

    def _offered(self, source: Source, split: str) -> Sequence[str]:
        wanted = self.test_split if split == "test" else split
        return source.ids(None if wanted == "all" else wanted)

    def _stored_split(self, present: list[str], wanted: str) -> list[str]:
        if not any(self._split_of(id) for id in present):
            return [] if wanted == "val" else present
        return [id for id in present if self._split_of(id) == wanted]

    def _listed(self, wanted: ObjectList, present: list[str], found: list[str], split: str) -> list[str]:
        """The objects of the list's own split; those of `found` where it has none."""
        lost = wanted.missing(present)
        if lost:
            what = f"{self.root}: lacks {few(lost)} of the {len(wanted)} objects of the list {wanted.name}"
            if not self.partial:
                raise InputError(f"{what}{self._why(lost[0])}; data.partial=true goes on with the others")
            log.warning(what)
        if not wanted.has_splits:
            return [id for id in found if id in wanted]
        there = set(present)
        return [id for id in wanted.ids(None if split == "all" else split) if id in there]

    def _split_of(self, id: str) -> str | None:
        if id not in self._splits:
            self._splits[id] = self.store.split(id)
        return self._splits[id]

    def _known_splits(self, present: list[str]) -> str:
        if self.source is not None:
            return "; raise the count of that split in data.source"
        known = sorted({str(self._split_of(id)) for id in present})
        return f"; it has {', '.join(known)} (data.test_split=all takes every object)" if known else ""

    def _why(self, id: str) -> str:
        reason = failures(self.store.root, STAGE).get(id)
        return f": it could not be prepared ({reason})" if reason else ""

    def _default_root(self) -> Path:
        assert self.source is not None
        description = dataset_description(self.source, self.recipe)
        kind = description["source"].get("kind", SCHEMA_NAME)
        return Path("data") / f"{kind}-{recipe_hash(description)}"


def _address(root: Path | str) -> Path | str:
    """An address in object storage as it is, else the path."""
    return root if is_remote(root) else Path(root).expanduser()
