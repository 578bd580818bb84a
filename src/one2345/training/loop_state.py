"""Where a training loop of Lightning stands: the little of it that has no public name, in one place.

The names are those of Lightning 2.6; tests/training/test_resume.py fails where another version means something else.
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer


def ends_step(trainer: Trainer) -> bool:
    """Whether the latest batch ended a step of the optimiser, rather than lying inside an accumulation."""
    return (trainer.fit_loop.batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch


def validation_due(trainer: Trainer) -> bool:
    """Whether the validation after the latest batch is still to come, or under way."""
    if trainer.validating:
        return True
    loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
    return fetcher is not None and loop._should_check_val_fx(fetcher)


def pending_row(trainer: Trainer) -> dict[str, float]:
    """What Lightning will log of the latest batch once the hooks at its end are through; empty if nothing."""
    if trainer.validating or trainer.global_step % trainer.log_every_n_steps:  # pyright: ignore[reportAttributeAccessIssue]
        return {}
    values = trainer._logger_connector.metrics["log"]
    row = {name: float(value) for name, value in values.items()}
    return {"epoch": float(trainer.current_epoch), **row} if row else {}


def as_after_batch(loops: dict[str, Any], *, validation_due: bool, ended: bool) -> None:
    """Rewrite the loops' part of a checkpoint to what it is right after a batch, whenever it was taken.

    Lightning goes on from there with the next batch, and with the validation first if that is due: it
    takes the progress for that of a validation which has just begun. ended: taken at the end of training, where
    the epoch counts as complete. (Only the count of complete epochs can be relied on: Lightning leaves the others
    behind where it goes on at the end of an epoch.)
    """
    fit = loops["fit_loop"]
    epoch, batch = fit["epoch_progress"], fit["epoch_loop.batch_progress"]
    for which in ("total", "current"):
        complete = epoch[which]["completed"] - (1 if ended else 0)
        epoch[which] |= _counts(complete + 1, done=complete)
        ready = batch[which]["ready"]
        batch[which] |= _counts(ready, processed=ready, done=ready if validation_due else ready - 1)
        validated = fit["epoch_loop.val_loop.batch_progress"][which]
        begun = 1 if validation_due and which == "total" else 0
        validated |= _counts(begun, done=0)
    steps = fit["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]["completed"]
    fit["epoch_loop.state_dict"]["_batches_that_stepped"] = steps - 1


def _counts(ready: int, *, done: int, processed: int | None = None) -> dict[str, int]:
    processed = done if processed is None else processed
    return {"ready": ready, "started": ready, "processed": processed, "completed": done}
