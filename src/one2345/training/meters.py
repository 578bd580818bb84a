"""Throughput and memory of training, logged with the losses."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


def peak_memory_mib() -> float:
    """Peak resident memory of this process in MiB; on a CUDA device, peak allocated device memory."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


class ThroughputMeter(Callback):
    """Logs, over every `window` batches: objects per second of this process, seconds of a step of the optimiser, the
    share of the time in which it waited for data, and the peak memory.

    The time of validation doesn't count. A run that continues goes on in the window in which it was saved.
    """

    def __init__(self, *, window: int = 20) -> None:
        self.window = window
        self._since: tuple[float, float] | None = None  # clock, and seconds that the loader had waited then
        self._seconds, self._waited = 0.0, 0.0  # before that
        self._objects = 0
        self._batches = 0

    def state_dict(self) -> dict[str, Any]:
        return {
            "seconds": self._seconds, "waited": self._waited, "objects": self._objects, "batches": self._batches,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seconds, self._waited = float(state_dict["seconds"]), float(state_dict.get("waited", 0.0))
        self._objects, self._batches = int(state_dict["objects"]), int(state_dict["batches"])

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._since is None:
            self._since = time.perf_counter(), _waited(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._objects += len(batch.ids)
        self._batches += 1
        self._count(trainer)
        if self._batches == self.window:
            seconds, steps = max(self._seconds, 1e-9), self._batches / trainer.accumulate_grad_batches
            pl_module.log("speed/objects_per_second", self._objects / seconds)
            pl_module.log("speed/step_seconds", seconds / steps)
            pl_module.log("speed/waiting_for_data", min(self._waited / seconds, 1.0))
            pl_module.log("speed/peak_memory_mib", peak_memory_mib())
            self._seconds, self._waited, self._objects, self._batches = 0.0, 0.0, 0, 0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._count(trainer)
        self._since = None

    def _count(self, trainer: Trainer) -> None:
        """Add the time since the last look to that of the window."""
        if self._since is not None:
            now = time.perf_counter(), _waited(trainer)
            self._seconds += now[0] - self._since[0]
            self._waited += now[1] - self._since[1]
            self._since = now


def _waited(trainer: Trainer) -> float:
    """Seconds that training has waited for its loader so far; 0 of a loader that does not count them."""
    return float(getattr(trainer.train_dataloader, "waited", 0.0))
