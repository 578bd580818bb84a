"""A callback that makes a run wait, or fail, at a step: what the tests do to it then does not depend on its speed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from one2345.training import Preemption


class Trial(Callback):
    """Before the steps of `gates` every rank leaves a file in `folder` and waits for a request to stop, or until the
    file `go` is there; once in the life of the run. Rank `fails` raises before the step `fails_at`."""

    def __init__(
        self,
        *,
        folder: str,
        go: str | None = None,
        gates: Sequence[int] = (),
        fails: int | None = None,
        fails_at: int = 2,
    ) -> None:
        self.folder, self.go = Path(folder), None if go is None else Path(go)
        self.gates, self.fails, self.fails_at = gates, fails, fails_at

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if self.fails == trainer.global_rank and step == self.fails_at:
            self._mark("failed")
            raise RuntimeError("made to fail")
        if step not in self.gates or (self.folder / self._name(trainer, step)).exists():
            return
        self._mark(self._name(trainer, step))
        (preemption,) = (c for c in trainer.callbacks if isinstance(c, Preemption))  # type: ignore[attr-defined]
        over = time.monotonic() + 240
        while not preemption.asked and not (self.go and self.go.exists()):
            if time.monotonic() > over:
                raise RuntimeError(f"nobody came at step {step}")
            time.sleep(0.05)

    def _name(self, trainer: Trainer, step: int) -> str:
        return f"step-{step}-rank-{trainer.global_rank}"

    def _mark(self, name: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).touch()
