"""Loaders whose ranks stop together at a damaged object; that of training can also skip some, and save its place."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.util import Finalize
from typing import Any

import torch
from torch.utils.data import DataLoader

from one2345.errors import InputError
from one2345.signals import deaf_children, obey_parent

from .damage import NotedCollate, StandIns, Tally
from .sampler import ObjectSampler


def end_without_teardown(_: int = 0) -> None:
    """For `worker_init_fn`: a loading process that is done ends at once, after what multiprocessing has to end.

    Left to tear itself down, it aborts now and then in the threads of a native library, and the abort of a loading
    process fails the whole run.
    """
    obey_parent()
    Finalize(None, _end, exitpriority=-100)


def _end() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


class PlainLoader(DataLoader[Any]):
    """A DataLoader whose loading processes leave requests to stop to the one that has started them.

    It draws nothing from torch's global generator: a pass that a resumed run begins once more changes no number.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"generator": torch.Generator(), **options})

    def __iter__(self) -> Any:
        with deaf_children():
            return super().__iter__()


class EvalLoader(PlainLoader):
    """Batches of `data` in the order of `sampler`, which all ranks take in step.

    A damaged object that one rank meets raises SharedError on all ranks, before any of them goes on: none is left
    waiting for another. waited: seconds in which a batch was wanted and not there, over all passes.
    """

    sampler: ObjectSampler
    advice = "validation and test leave no object out; prepare it anew, or name the others in data.ids or data.list"

    def __init__(
        self,
        data: Any,
        *,
        sampler: ObjectSampler,
        batch_size: int,
        collate: Callable[[Sequence[Any]], Any],
        bad_budget: int = 0,
        num_workers: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(
            StandIns(data, budget=bad_budget),
            sampler=sampler,
            batch_size=batch_size,
            collate_fn=NotedCollate(collate),
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            multiprocessing_context="spawn" if num_workers else None,
            worker_init_fn=end_without_teardown,
            **options,
        )
        self._tally = Tally(budget=bad_budget, advice=self.advice)
        self.waited = 0.0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        since = time.perf_counter()
        for batch, notes in super().__iter__():
            self.waited += time.perf_counter() - since
            self._tally.add(notes, lost=batch is None)
            yield batch
            since = time.perf_counter()


class TrainLoader(EvalLoader):
    """That of training: few damaged objects don't stop it.

    state_dict, load_state_dict (which Lightning keeps in its checkpoints): the first batch that was not handed out yet
    is the next one, also with other numbers of ranks and workers. bad_budget: so many damaged objects an epoch, over
    all ranks, are replaced by others; one more raises SharedError on all ranks.
    """

    advice = "data.bad_budget=N goes on without up to N damaged objects"

    def __init__(self, data: Any, *, bad_budget: int = 0, **options: Any) -> None:
        if bad_budget < 0:
            raise InputError(f"data.bad_budget={bad_budget}: must not be negative")
        super().__init__(data, bad_budget=bad_budget, **options)
        self._handed_out = 0
        self._resumed = False

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self._handed_out = 0
        if not self._resumed:
            self._tally.found.clear()
        self._resumed = False
        for batch in super().__iter__():
            self._handed_out += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """The place in the epoch, and the damaged objects that it had so far."""
        place = self.sampler.state_dict(batches=self._handed_out)
        return {**place, "damaged": dict(self._tally.found)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.sampler.load_state_dict(state)
        self._tally.found = dict(state.get("damaged", {}))
        self._handed_out, self._resumed = 0, True
