"""Progress of training: a live bar with losses and remaining time on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar

SHOWN = ("loss/total", "val/iou", "val/hull_iou", "val/psnr", "val/psnr_mean_image", "val/psnr_shuffled_pose")


def progress_callback(*, every_seconds: float = 15.0) -> Callback:
    """The progress callback that suits standard output: `RichProgressBar` on a terminal, else `ProgressLines`."""
    return RichProgressBar(leave=False) if sys.stdout.isatty() else ProgressLines(every_seconds=every_seconds)


class ProgressLines(ProgressBar):
    """Prints step, losses, speed and remaining time every so many seconds, from rank zero."""

    def __init__(self, *, every_seconds: float = 15.0) -> None:
        super().__init__()
        self.every_seconds = every_seconds
        self._start = (0.0, 0)
        self._last = 0.0

    def disable(self) -> None:
        """Called by the Trainer on the other ranks, which print nothing anyway."""

    def enable(self) -> None:
        """Part of the interface of progress bars."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = (time.monotonic(), trainer.global_step)
        self._last = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if not trainer.is_global_zero or now - self._last < self.every_seconds:
            return
        self._last = now
        print(self.line(trainer, now), flush=True)

    def line(self, trainer: Trainer, now: float) -> str:
        """One line of text on the state of the run."""
        begun, first = self._start
        rate = (trainer.global_step - first) / max(now - begun, 1e-9)
        left = (trainer.max_steps - trainer.global_step) / max(rate, 1e-9)
        values = [f"{k} {float(v):.4f}" for k in SHOWN if (v := trainer.callback_metrics.get(k)) is not None]
        remaining = timedelta(seconds=round(left))
        shown = "  ".join([*values, f"{rate:.2f} steps/s", f"left {remaining}"])
        return f"step {trainer.global_step}/{trainer.max_steps}  {shown}"
