"""The checkpoint to resume from: written aside and renamed, every so many steps and at the end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class LastCheckpoint(Callback):
    """Keeps FOLDER/last.ckpt: the state after the latest multiple of `every_steps` steps, or after the last one.

    A reader never sees half a file: it is written under another name in the same folder and then renamed.
    """

    def __init__(self, *, folder: str, every_steps: int) -> None:
        self.file = Path(folder) / "last.ckpt"
        self.every_steps = every_steps
        self._saved = -1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step % self.every_steps == 0:
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Called on every rank; a step that is saved already is not saved again."""
        if trainer.global_step == self._saved:
            return
        self._saved = trainer.global_step
        aside = self.file.with_name("last.ckpt.partial")
        trainer.save_checkpoint(aside)
        if trainer.is_global_zero:
            os.replace(aside, self.file)
        trainer.strategy.barrier()
