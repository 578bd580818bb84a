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
    """Logs objects per second of this process, over the last `window` steps, and the peak memory."""

    def __init__(self, *, window: int = 20) -> None:
        self.window = window
        self._since: float | None = None
        self._objects = 0
        self._steps = 0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._since is None:
            self._since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._objects += len(batch.ids)
        self._steps += 1
        if self._steps == self.window and self._since is not None:
            elapsed = time.perf_counter() - self._since
            pl_module.log("speed/objects_per_second", self._objects / elapsed)
            pl_module.log("speed/peak_memory_mib", peak_memory_mib())
            self._since, self._objects, self._steps = None, 0, 0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since, self._objects, self._steps = None, 0, 0
