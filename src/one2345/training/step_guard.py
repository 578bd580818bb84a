"""What is done about a loss or a gradient that is not finite, and the gradient's norm in the log."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from ..errors import InputError
from .batch_file import save_batch

log = logging.getLogger(__name__)


class StepGuard(Callback):
    """Skips a step whose loss or gradient is not finite on any rank, on all ranks alike, and counts it.

    A skipped step leaves weights and the optimiser's averages as they are; schedule and step count go on. More than
    `in_a_row` of them without a good one between, or more than `in_all` in the run, end it with InputError. The batch
    and the weights are left in FOLDER then, as `load_batch` reads them: of every rank, its batch that had the bad
    loss, or its latest where only the gradient was bad. Under a scaled loss (16-mixed) gradients that overflow are the
    scaler's affair.

    Logs the norm of the gradient before clipping, gradient/total and of each part of the network, and
    train/skipped_steps once there are any.
    """

    def __init__(self, *, folder: str, in_a_row: int = 5, in_all: int = 100) -> None:
        if in_a_row < 0 or in_all < 0:
            raise InputError(f"callbacks.guard: in_a_row={in_a_row} and in_all={in_all} must not be negative")
        self.folder, self.in_a_row, self.in_all = Path(folder), in_a_row, in_all
        self.row, self.total = 0, 0
        self._batch: Any = None
        self._bad_loss = False

    def state_dict(self) -> dict[str, Any]:
        return {"row": self.row, "total": self.total}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.row, self.total = int(state_dict["row"]), int(state_dict["total"])

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if not self._bad_loss:
            self._batch = batch

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self._bad_loss = self._bad_loss or not bool(torch.isfinite(loss))

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        norms = _gradient_norms(pl_module)
        norm = torch.linalg.vector_norm(torch.stack(list(norms.values()))) if norms else torch.zeros(())
        pl_module.log_dict({"gradient/total": norm, **{f"gradient/{k}": v for k, v in norms.items()}})
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        bad = self._bad_loss or not (scaled or bool(torch.isfinite(norm)))
        if not _anywhere(trainer, bad):
            self.row, self._bad_loss = 0, False
            return
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None  # which the optimiser passes over
        self.row, self.total = self.row + 1, self.total + 1
        pl_module.log("train/skipped_steps", float(self.total))
        what = "loss" if self._bad_loss else "gradient" if bad else "loss or gradient of another rank"
        found = f"step {trainer.global_step}: the {what} is not finite"
        log.warning("%s; skipped, %d in a row, %d in all", found, self.row, self.total)
        if self.row > self.in_a_row or self.total > self.in_all:
            raise InputError(self._end(trainer, pl_module, found))
        self._bad_loss = False

    def _end(self, trainer: Trainer, module: LightningModule, found: str) -> str:
        """Leave the batch; the message."""
        file = self.folder / f"bad-batch-step-{trainer.global_step:08d}-rank-{trainer.global_rank}.pt"
        ids = ", ".join(getattr(self._batch, "ids", ()))
        try:
            save_batch(file, self._batch, step=trainer.global_step, weights=module.state_dict())
            left = f"batch ({ids}) and weights are in {file}"
        except OSError as error:
            left = f"its batch ({ids}) can't be left in {file}: {error}"
        return (
            f"{found}, after {self.total} skipped steps, {self.row} of them in a row; {left}; a lower optim.lr, or "
            "resume=PATH of an earlier checkpoint, may get past it"
        )


def _gradient_norms(module: LightningModule) -> dict[str, Tensor]:
    """Norm () of the gradient of each part of `module.model`; of a module without that, of its own parts."""
    network = getattr(module, "model", module)
    found: dict[str, list[Tensor]] = {}
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            found.setdefault(name.partition(".")[0], []).append(parameter.grad)
    return {part: torch.nn.utils.get_total_norm(gradients) for part, gradients in found.items()}


def _anywhere(trainer: Trainer, flag: bool) -> bool:
    """Whether `flag` is up on any rank."""
    if trainer.world_size == 1:
        return flag
    raised = torch.tensor(float(flag), device=trainer.strategy.root_device)
    return bool(trainer.strategy.reduce(raised, reduce_op="max"))
