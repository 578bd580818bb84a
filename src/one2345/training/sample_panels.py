"""Preview panels of view synthesis: the picture that is given, what is made of it, and the truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from ..data.pairs import PairBatch
from .media import Media
from .previews import row, stack_rows

SAMPLED = "sampled"
"""Under this key a `validation_step` returns the pictures (n, 3, h, w) that it made of its pairs."""


class SamplePanels(Callback):
    """After every validation: one panel, of the first object, as FOLDER/previews/step-0000250-<id>.png, and in the
    loggers. Rows: sources, what was sampled, targets. columns: so many pairs at most, evenly over the view plan."""

    def __init__(self, *, folder: str, columns: int = 12) -> None:
        self.folder, self.columns = Path(folder), columns

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: PairBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx or not trainer.is_global_zero or trainer.sanity_checking:
            return
        if not isinstance(outputs, Mapping) or SAMPLED not in outputs:
            return
        shown = torch.linspace(0, len(batch) - 1, min(self.columns, len(batch))).round().long()
        rows = [
            row(images[shown.to(images.device)])
            for images in (batch.sources, outputs[SAMPLED], batch.targets)
        ]
        Media(self.folder, trainer.loggers).picture(
            "previews", batch.ids[0], stack_rows(rows), trainer.global_step
        )
