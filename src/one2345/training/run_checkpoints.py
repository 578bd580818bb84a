"""The checkpoints that a run continues from, taken so that it ends as if it had never stopped."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from ..checkpoint_folder import by_step, newest, step_name
from ..errors import CheckpointError, InputError
from ..weight_files import check_names
from .checkpoint_io import AtomicCheckpointIO
from .loop_state import as_after_batch, ends_step, pending_row, validation_due
from .rng_state import rng_state, set_rng_state

__all__ = ["RunCheckpoints", "newest"]

log = logging.getLogger(__name__)
KEY = "run"
NEEDED = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks", "global_step", KEY)


class RunCheckpoints(Checkpoint):
    """Keeps FOLDER/step-00000123.ckpt: the state after every `every_steps` steps of the optimiser and after the last.

    keep: so many of the latest are kept. Beside what Lightning stores, a checkpoint holds the generators of every rank,
    which runs of the loggers it belongs to, and what had not reached the loggers. Validation does not disturb the
    generators. A run that continues does what came next, the validation first if one was due.

    It is a `Checkpoint` so that Lightning calls it after all other callbacks, whose state is then of the same moment.
    """

    def __init__(self, *, folder: str, every_steps: int, keep: int = 2) -> None:
        if every_steps < 1 or keep < 1:
            raise InputError(f"callbacks.last: every_steps={every_steps} and keep={keep} must be at least 1")
        self.folder, self.every_steps, self.keep = Path(folder), every_steps, keep
        self.io = AtomicCheckpointIO()
        self._saved = -1
        self._ended = False
        self._before_validation: dict[str, Any] | None = None
        self._loaded: dict[str, Any] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        trainer.strategy.checkpoint_io = self.io

    def save(self, trainer: Trainer) -> bool:
        """Save the state after the latest step; whether it is on the disk now. Called on every rank alike.

        For hooks at the end of a batch of training, during validation and at the end of training. False, and nothing
        is done, inside an accumulation, and after the very last step while its validation is to come (a run that had
        done all its steps would not make up for that). A disk that takes no more is a warning, and False.
        """
        step = trainer.global_step
        if step == self._saved:
            return True
        last = trainer.max_steps >= 0 and step >= trainer.max_steps
        if step == 0 or not ends_step(trainer) or (last and not self._ended):
            return False
        for logger in trainer.loggers:
            logger.save()
        trainer.save_checkpoint(self.folder / step_name(step))
        failure = trainer.strategy.broadcast(self.io.failure)
        if failure is None:
            self._saved = step
            if trainer.is_global_zero:
                self._prune(step)
        return failure is None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step % self.every_steps == 0:
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ended = True
        if not self.save(trainer) and (failure := trainer.strategy.broadcast(self.io.failure)) is not None:
            raise InputError(
                f"{failure}: it is the last checkpoint of the run; make room, or mend what keeps the folder from being "
                "written, and start the same command again"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """All is set up: from here on the generators and the loggers go on where they were."""
        self._ended = False
        for logger in trainer.loggers:
            if (resume_at := getattr(logger, "resume_at", None)) is not None:
                resume_at(trainer.global_step)
        if self._loaded is None:
            return
        states, row = self._loaded["rng"], self._loaded["row"]
        if len(states) == trainer.world_size:
            set_rng_state(states[trainer.global_rank])
        else:
            log.warning(
                "%s was made by %d ranks, this run has %d: their global random numbers begin anew",
                trainer.ckpt_path, len(states), trainer.world_size,
            )  # fmt: skip
        if row:
            for logger in trainer.loggers:
                logger.log_metrics(row, trainer.global_step - 1)
                logger.save()
        self._loaded = None

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._before_validation = rng_state()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._before_validation is not None:
            set_rng_state(self._before_validation)
            self._before_validation = None

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Called on every rank, whoever saves."""
        due = not self._ended and validation_due(trainer)
        as_after_batch(checkpoint["loops"], validation_due=due, ended=self._ended)
        checkpoint[KEY] = {
            "rng": _of_all_ranks(trainer, self._before_validation or rng_state()),
            "row": pending_row(trainer),
            "loggers": {type(logger).__name__: str(logger.version) for logger in trainer.loggers},
        }

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        stored = checkpoint.get(KEY)
        if not isinstance(stored, dict):
            raise CheckpointError(
                f"{trainer.ckpt_path}: holds weights, but not the state of a run to continue"
            )
        self._loaded = stored
        self._saved = int(checkpoint["global_step"])

    def _prune(self, step: int) -> None:
        """Remove what is older than the latest `keep`, and what an abandoned continuation of this run left."""
        found = by_step(self.folder)
        kept = [s for s in found if s <= step][: self.keep]
        for other, file in found.items():
            if other not in kept:
                with suppress(OSError):
                    file.unlink()


def check_state(checkpoint: Mapping[str, Any], module: LightningModule) -> None:
    """Raise CheckpointError for what is not the state of a run of this module: called by it, before all else."""
    file = module.trainer.ckpt_path
    if missing := [key for key in NEEDED if key not in checkpoint]:
        raise CheckpointError(
            f"{file}: holds no state of a run to continue (without {', '.join(missing)}); it can be evaluated at most"
        )
    check_names(module.state_dict(), checkpoint["state_dict"], where=file)


def _of_all_ranks(trainer: Trainer, state: dict[str, Any]) -> list[dict[str, Any]]:
    """`state` of every rank, in their order."""
    if trainer.world_size == 1:
        return [state]
    states: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(states, state)
    return states
