"""A training of some numbers, stopped by signals: in the test's own process, or as ranks of torchrun.

As a script: small_run.py FOLDER WHAT, of which every rank prints how it ended.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.environments import TorchElasticEnvironment
from torch import Tensor
from torch.utils.data import DataLoader

from one2345.errors import Stopped
from one2345.training import Preemption, RunCheckpoints


class Line(pl.LightningModule):
    """Fits a line; calls `at[where, batch index]` on the way."""

    def __init__(self, at: dict[tuple[str, int], Any] | None = None) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.at = at or {}
        self.seen: list[tuple[str, int]] = []

    def _pass(self, where: str, batch_idx: int) -> None:
        self.seen.append((where, batch_idx))
        if (action := self.at.get((where, batch_idx))) is not None:
            action()

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self._pass("train", batch_idx)
        return (self.layer(batch) - 2 * batch).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self._pass("validate", batch_idx)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.1)


def loader(count: int) -> DataLoader[Tensor]:
    return DataLoader(torch.linspace(0, 1, count)[:, None], batch_size=1)  # type: ignore[arg-type]


def fit(folder: Path, module: Line, *, ckpt: Path | None = None, **options: Any) -> pl.Trainer:
    """12 batches an epoch, a validation of 4 after every 4th; Preemption and a checkpoint every 100 steps."""
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        val_check_interval=4,
        callbacks=[RunCheckpoints(folder=str(folder), every_steps=100), Preemption(patience=5)],
        default_root_dir=folder,
        **{"max_steps": 12, "devices": 1, **options},
    )
    trainer.fit(module, loader(12), loader(4), ckpt_path=ckpt, weights_only=True)
    return trainer


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def main(folder: str, what: str) -> None:
    """WHAT: `signal` to the last rank alone, or it `raise`s, or is `kill`ed."""
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    actions = {
        "signal": lambda: send(signal.SIGUSR2),
        "raise": lambda: (_ for _ in ()).throw(ValueError("of its own")),
        "kill": lambda: send(signal.SIGKILL),
        "nothing": None,
    }
    module = Line({("train", 5): actions[what]} if rank == world - 1 else None)
    plugins = [TorchElasticEnvironment()]
    try:
        trainer = fit(Path(folder), module, devices=world, strategy="ddp", plugins=plugins)
    except Stopped as stopped:
        print(f"rank {rank}: {stopped}", flush=True)
    else:
        print(f"rank {rank}: done, step {trainer.global_step}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
