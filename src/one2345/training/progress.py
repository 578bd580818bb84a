"""Progress of training: steps, losses, speed and the time left, in the form of all commands."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.trainer.states import TrainerFn

from ..terminal import Bars

TRAINING, VALIDATING = "training", "validating"
REFRESH = 0.5
"""Seconds after which the figures on the screen are renewed."""
SHOWN = {
    "loss/total": "loss", "val/iou": "IoU", "val/prior_iou": "prior IoU", "val/psnr": "PSNR",
    "val/psnr_mean_image": "mean picture", "val/psnr_shuffled_pose": "shuffled poses",
}  # fmt: skip


class TrainingProgress(ProgressBar):
    """A bar over all steps of the run, and one below it during a validation; in a log a line every so many seconds.

    It is a `ProgressBar` so that Lightning adds none of its own.
    """

    def __init__(self, *, every_seconds: float = 15.0) -> None:
        super().__init__()
        self.every_seconds = every_seconds
        self._bars: Bars | None = None
        self._begun = (0.0, 0)
        self._shown = 0.0

    def disable(self) -> None:
        """Called by the Trainer on the other ranks, which show nothing anyway."""

    def enable(self) -> None:
        """Part of the interface of progress bars."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begun = (time.monotonic(), trainer.global_step)
        self._show(trainer, TRAINING, trainer.global_step, _steps(trainer))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if now - self._shown > REFRESH or trainer.global_step == trainer.max_steps:
            self._shown = now  # not at every step: to read the losses waits for a GPU
            self._show(trainer, TRAINING, trainer.global_step, _steps(trainer), self._note(trainer))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show(trainer, VALIDATING, 0, _batches(trainer))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._show(trainer, VALIDATING, batch_idx + 1, _batches(trainer))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._bars is not None:
            self._bars.end(VALIDATING, keep=False)
        if trainer.state.fn != TrainerFn.FITTING:  # a validation by itself
            self._close()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def _show(self, trainer: Trainer, stage: str, done: int, total: int | None, note: str = "") -> None:
        if self._bars is None:
            self._bars = Bars(enabled=trainer.is_global_zero, every=self.every_seconds)
            self._bars.__enter__()
        self._bars(stage, done, total, note)

    def _close(self) -> None:
        if self._bars is not None:
            self._bars.__exit__(None, None, None)
            self._bars = None

    def _note(self, trainer: Trainer) -> str:
        """Losses and speed, those that there are."""
        since, first = self._begun
        found = {name: trainer.callback_metrics.get(key) for key, name in SHOWN.items()}
        values = [f"{name} {float(value):.4f}" for name, value in found.items() if value is not None]
        pace = (trainer.global_step - first) / max(time.monotonic() - since, 1e-9)
        return "  ".join([*values, f"{pace:.2f} steps/s"])


def _steps(trainer: Trainer) -> int | None:
    """Steps of the whole run, where they are known."""
    steps = trainer.max_steps if trainer.max_steps >= 0 else trainer.estimated_stepping_batches
    return None if steps == float("inf") else int(steps)


def _batches(trainer: Trainer) -> int | None:
    counts = trainer.num_val_batches
    count = sum(counts) if isinstance(counts, list) else counts
    return None if count == float("inf") else int(count)
