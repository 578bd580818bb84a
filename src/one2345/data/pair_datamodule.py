"""The LightningDataModule of view pairs: finds, prepares and deals objects as that of scenes does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .datamodule import ReconstructionDataModule
from .pairs import PairBatch, PairsDataset, PairSettings
from .recipe import Recipe
from .sources import Source


class PairDataModule(ReconstructionDataModule):
    """Pairs of views for view synthesis; see `ReconstructionDataModule` for what is not said here.

    size: edge of the pictures in pixels, to which views of another size are resampled. pairs: how they are drawn.
    batch_size: pairs per process and step. Validation and test take one object at a time, with all pairs of its
    view plan; val_objects: only so many of the validation objects, None: all.
    """

    def __init__(
        self,
        *,
        size: int,
        pairs: PairSettings | None = None,
        root: Path | str | None = None,
        source: Source | None = None,
        recipe: Recipe | None = None,
        batch_size: int = 1,
        val_objects: int | None = None,
        ids: Sequence[str] | None = None,
        list: Any = None,
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
        super().__init__(
            root=root,
            source=source,
            recipe=recipe,
            batch_size=batch_size,
            ids=ids,
            list=list,
            partial=partial,
            test_split=test_split,
            samples_per_epoch=samples_per_epoch,
            seed=seed,
            cache_mb=cache_mb,
            bad_budget=bad_budget,
            window=window,
            shard_cache=shard_cache,
            shard_cache_gb=shard_cache_gb,
            num_workers=num_workers,
            prepare_workers=prepare_workers,
            progress=progress,
        )
        self.size, self.pairs, self.val_objects = size, pairs, val_objects

    def dataset(self, split: str) -> PairsDataset:  # type: ignore[override]
        """The pairs of a split: drawn for 'train', those of the view plan for the others."""
        ids = self.ids(split)
        return PairsDataset(
            root=self.store,
            ids=ids[: self.val_objects] if split == "val" else ids,
            size=self.size,
            settings=self.pairs,
            seed=self.seed,
            train=split == "train",
            cache_mb=self.cache_mb / max(1, self.num_workers),
        )

    collate = staticmethod(PairBatch.cat)  # type: ignore[assignment]
