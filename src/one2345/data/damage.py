"""Damaged objects: named, counted over all ranks, and in training skipped while they are few."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.data import Dataset

from one2345.errors import InputError, SharedError

from .sampler import Draw

log = logging.getLogger(__name__)

Notes = dict[str, str]
"""id -> what is wrong with it."""


class StandIns(Dataset[tuple[Any, Notes]]):
    """Another data set's examples, with a note of the damaged objects that were met instead of an error.

    The example of a damaged object is that of the next object that is not, in the order of the data set and with the
    same draw; None once more than `budget` were tried. So what stands in depends neither on ranks nor on processes.
    """

    def __init__(self, data: Any, *, budget: int) -> None:
        self.data, self.budget = data, budget

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, draw: Draw) -> tuple[Any, Notes]:
        notes: Notes = {}
        assert isinstance(draw, Draw), "the order comes from an ObjectSampler"
        for step in range(min(self.budget + 1, len(self.data))):
            index = (draw.index + step) % len(self.data)
            try:
                return self.data[draw._replace(index=index)], notes
            except InputError as error:
                notes[self.data.ids[index]] = str(error)
        return None, notes


class NotedCollate:
    """`collate` of examples with notes: a batch, or None where one of them is missing, and all notes."""

    def __init__(self, collate: Callable[[Sequence[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, examples: Sequence[tuple[Any, Notes]]) -> tuple[Any, Notes]:
        notes = {id: reason for _, found in examples for id, reason in found.items()}
        if any(example is None for example, _ in examples):
            return None, notes
        return self.collate([example for example, _ in examples]), notes


class Tally:
    """The damaged objects of an epoch, the same on all ranks, of which there may be `budget`.

    advice: what to do, for the message where there may be none.
    """

    def __init__(self, *, budget: int, advice: str) -> None:
        self.budget, self.advice = budget, advice
        self.found: Notes = {}
        self._group: Any = None

    def add(self, notes: Notes, *, lost: bool) -> None:
        """Count what the ranks met in this step; all of them call it. lost: no example could be had.

        Raises the same SharedError on all ranks, once there are more than the budget or an example is lost anywhere.
        """
        alone = not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)
        met = [(notes, lost)] if alone else self._gathered(notes, lost)
        new = {id: reason for found, _ in met for id, reason in found.items() if id not in self.found}
        self.found |= new
        if len(self.found) > self.budget or any(one for _, one in met):
            raise SharedError(self._message(new))
        if new and (alone or dist.get_rank() == 0):
            for id, reason in new.items():
                log.warning("skipped %s (%d of at most %d): %s", id, len(self.found), self.budget, reason)

    def _gathered(self, notes: Notes, lost: bool) -> list[tuple[Notes, bool]]:
        """What every rank met; a sum of one number where nobody met anything."""
        if self._group is None:
            self._group = dist.new_group(backend="gloo")  # in memory: waits for no GPU
        count = torch.tensor([len(notes) + lost])
        dist.all_reduce(count, group=self._group)
        if not count.item():
            return []
        met: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(met, (notes, lost), group=self._group)
        return met

    def _message(self, new: Notes) -> str:
        reasons = "; ".join(list((new or self.found).values())[:3])
        if not self.budget:
            return f"{reasons} ({self.advice})"
        return (
            f"{len(self.found)} damaged objects in this epoch, data.bad_budget={self.budget} allows no more; "
            f"the last: {reasons}"
        )
