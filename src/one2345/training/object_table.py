"""What validation measured of each object, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer

from .media import Media

OBJECTS = "objects"
"""Under this key a `validation_step` returns the scores of its objects: id → {name: value}."""


class ObjectTable(Callback):
    """After every validation: FOLDER/tables/step-0000250-validation.csv, a row an object; also in the loggers."""

    def __init__(self, *, folder: str) -> None:
        self.folder = Path(folder)
        self._rows: dict[str, Mapping[str, float]] = {}

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._rows = {}

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if isinstance(outputs, Mapping):
            self._rows |= outputs.get(OBJECTS, {})

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rows = self._rows
        if trainer.world_size > 1:
            shares: list[Any] = [None] * trainer.world_size
            dist.all_gather_object(shares, rows)
            rows = {id: row for share in shares for id, row in share.items()}
        if trainer.sanity_checking or not trainer.is_global_zero or not rows:
            return
        names = list(dict.fromkeys(name for row in rows.values() for name in row))
        Media(self.folder, trainer.loggers).table(
            "tables",
            "validation",
            ["object", *names],
            [[id, *(rows[id].get(name) for name in names)] for id in sorted(rows)],
            trainer.global_step,
        )
