"""An orderly end of training where the cluster asks for one: preemption, a time limit, scancel --signal."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from .. import signals
from ..errors import One2345Error, SharedError, Stopped
from .loop_state import ends_step
from .run_checkpoints import RunCheckpoints


class Preemption(Checkpoint):
    """Ends training with `Stopped`, its state saved, once SIGTERM, SIGUSR1 or SIGUSR2 has come to any of the ranks.

    A signal is only noted. At the end of the next step of the optimiser, or of the next batch of a validation between
    two steps, which is then abandoned, the ranks agree to stop, `RunCheckpoints` saves, and all raise `Stopped`. After
    the very last step the run goes on to the end of training and stops there. Meanwhile nobody else has the signals.

    patience: seconds that a rank which has failed, beside others, gets to close down. Then it is ended, so that its
    launcher ends the others, instead of waiting for them in some collective.

    It is a `Checkpoint` so that Lightning calls it after other callbacks, whose state is then of the same moment.
    """

    def __init__(self, *, patience: float = 20.0) -> None:
        self.patience = patience
        self.asked: str | None = None
        self._before: dict[int, Any] | None = None
        self._group: Any = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.asked = None
        self._before = signals.install(self._note)
        # Lightning would set a handler of SIGTERM before ours: one that calls a collective wherever the step happens
        # to be (pytorch-lightning#21406).
        trainer._signal_connector.register_signal_handlers = lambda: None
        if trainer.world_size > 1:
            self._group = dist.new_group(backend="gloo")  # on the CPU, so that no rank waits for its GPU

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if ends_step(trainer):
            self._stop_if_asked(trainer)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._before is not None and not trainer.sanity_checking and ends_step(trainer):
            self._stop_if_asked(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Training is complete: give the signals back; one that came after the last step is heeded now."""
        if self._before is None:
            return
        signals.restore(self._before)
        self._before = self._group = None
        if self.asked:
            raise Stopped(f"{self.asked} after the last step")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if trainer.world_size < 2 or isinstance(exception, Stopped | SharedError):  # which all ranks raise
            return
        print(
            f"rank {trainer.global_rank} failed: {type(exception).__name__}: {exception}",
            file=sys.stderr,
            flush=True,
        )
        end = threading.Timer(self.patience, _end, args=(exception,))
        end.daemon = True
        end.start()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = self.asked or signal.Signals(number).name

    def _stop_if_asked(self, trainer: Trainer) -> None:
        if not self._agreed():
            return
        keepers = [c for c in trainer.callbacks if isinstance(c, RunCheckpoints)]  # type: ignore[attr-defined]
        saved = bool(keepers) and all(keeper.save(trainer) for keeper in keepers)
        step = trainer.global_step
        if not saved and step >= trainer.max_steps >= 0:
            return  # what is left is soon done
        reason = self.asked or "a signal to another rank"
        raise Stopped(f"{reason} at step {step}" + ("" if saved else ", which could not be saved"))

    def _agreed(self) -> bool:
        """Whether any rank was asked. Every rank calls it at the same places."""
        if self._group is None:
            return self.asked is not None
        asked = torch.tensor([self.asked is not None], dtype=torch.uint8)
        dist.all_reduce(asked, op=dist.ReduceOp.MAX, group=self._group)
        return bool(asked)


def _end(exception: BaseException) -> None:
    traceback.print_exception(exception)
    sys.stderr.flush()
    os._exit(2 if isinstance(exception, One2345Error) else 1)
