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
    """Logs objects per second of this process, over every `window` batches, and the peak memory.

    The time of validation doesn't count. A run that continues goes on in the window in which it was saved.
    """

    def __init__(self, *, window: int = 20) -> None:
        self.window = window
        self._since: float | None = None
        self._seconds = 0.0  # before that
        self._objects = 0
        self._batches = 0

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self._elapsed(), "objects": self._objects, "batches": self._batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seconds = float(state_dict["seconds"])
        self._objects, self._batches = int(state_dict["objects"]), int(state_dict["batches"])

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._since is None:
            self._since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._objects += len(batch.ids)
        self._batches += 1
        if self._batches == self.window:
            pl_module.log("speed/objects_per_second", self._objects / max(self._elapsed(), 1e-9))
            pl_module.log("speed/peak_memory_mib", peak_memory_mib())
            self._since, self._seconds, self._objects, self._batches = None, 0.0, 0, 0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seconds, self._since = self._elapsed(), None

    def _elapsed(self) -> float:
        """Seconds of the present window so far."""
        return self._seconds + (time.perf_counter() - self._since if self._since is not None else 0.0)
