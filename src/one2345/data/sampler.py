"""Which object comes when: a permutation per (seed, epoch), dealt out to the ranks in turn."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from one2345.errors import InputError
from one2345.seeding import torch_rng

log = logging.getLogger(__name__)


class Draw(NamedTuple):
    """Which object of the data set, and which draw of it: workers need no epoch of their own.

    batch: number of the global batch in its epoch, for what all examples of a step have in common.
    """

    index: int
    epoch: int
    repeat: int
    batch: int = 0


class ObjectSampler(DistributedSampler):
    """Draws for one rank.

    The global order of an epoch is a permutation by (seed, epoch), started over (with other draws) until
    `samples` are dealt; rank r takes every world-th from the r-th on. So n ranks with batches of B/n
    see, together, the batches that one rank with batches of B sees.

    samples: draws per epoch over all ranks; None: each object once, or one global batch if that is more.
    batch: global batch size; the draws are cut to a multiple of it. shuffle=False (evaluation) deals each
    object once, in order; where the ranks don't divide their number, the first ones are dealt again, so that
    every rank has the same number and no collective waits for a rank that is done. Metrics keyed by object
    count each once.

    groups: for each object the file that it lies in with others (`Store.groups`). The permutation is then one of files,
    and of the objects of `window` of them at a time: an epoch reads each file once, few of them at any moment.

    A place in an epoch is a `state_dict`: `start` draws of the global order, counted over all ranks, are done. After it
    is loaded, the next pass over that epoch deals the others, whatever the numbers of ranks and loading processes; the
    length stays that of a whole epoch.
    """

    def __init__(
        self,
        data: Dataset,
        *,
        seed: int,
        shuffle: bool,
        batch: int = 1,
        samples: int | None = None,
        rank: int = 0,
        world: int = 1,
        groups: Sequence[int] | None = None,
        window: int = 8,
    ) -> None:
        super().__init__(data, num_replicas=world, rank=rank, shuffle=shuffle, seed=seed)
        count = len(data)  # type: ignore[arg-type]
        if count == 0:
            raise InputError("there are no objects to draw from")
        if batch % world and shuffle:
            raise InputError(f"a global batch of {batch} can't be split evenly over {world} ranks")
        if window < 1:
            raise InputError(f"data.window={window}: must be at least 1")
        if groups is not None and len(groups) != count:
            raise ValueError(f"{len(groups)} groups of {count} objects")
        self.count, self.batch, self.window = count, batch, window
        self.files = None if groups is None else _files(torch.as_tensor(groups))
        self.start = 0
        self._resumed: int | None = None
        if shuffle:
            self.total = max((samples or count) // batch, 1) * batch
        else:
            self.total = -(-count // world) * world

    def __iter__(self) -> Iterator[Draw]:  # type: ignore[override]
        if not self.shuffle:
            yield from (Draw(i % self.count, 0, 0) for i in range(self.rank, self.total, self.num_replicas))
            return
        repeat, order = -1, torch.empty(0)
        self.start = self.start if self._resumed == self.epoch else 0
        self._resumed = None  # a loaded place holds for one pass
        for position in range(self.start + self.rank, self._end, self.num_replicas):
            if position // self.count != repeat:
                repeat = position // self.count
                order = self._order(repeat)
            yield Draw(int(order[position % self.count]), self.epoch, repeat, position // self.batch)

    def __len__(self) -> int:
        return len(range(self.rank, self.total, self.num_replicas))

    def state_dict(self, *, batches: int = 0) -> dict[str, Any]:
        """The place after so many (global) batches of the present pass; the next epoch's begin, after its last one."""
        start = self.start + batches * self.batch
        place = (self.epoch, start) if start < self._end else (self.epoch + 1, 0)
        return {"epoch": place[0], "start": place[1], "order": self._identity}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there. Where seed, objects or window are others now, their order is; that epoch is begun anew."""
        if state["order"] == self._identity:
            self.epoch, self.start = int(state["epoch"]), int(state["start"])
            self._resumed = self.epoch
        else:
            log.warning(
                "the interrupted epoch dealt its objects in an order of %s, now it is one of %s: it is begun anew",
                state["order"],
                self._identity,
            )

    @property
    def _identity(self) -> dict[str, Any]:
        """What the order of an epoch depends on."""
        return {"seed": self.seed, "objects": self.count, "window": self.window if self.files else None}

    @property
    def _end(self) -> int:
        """Where the present pass ends: after its last whole batch."""
        return self.start + max(0, self.total - self.start) // self.batch * self.batch

    def _order(self, repeat: int) -> Tensor:
        """A permutation of the objects."""
        generator = torch_rng(self.seed, "order", self.epoch, repeat)
        if self.files is None:
            return torch.randperm(self.count, generator=generator)
        files = torch.randperm(len(self.files), generator=generator).tolist()
        parts = []
        for first in range(0, len(files), self.window):
            near = torch.cat([self.files[f] for f in files[first : first + self.window]])
            parts.append(near[torch.randperm(len(near), generator=generator)])
        return torch.cat(parts)


def _files(groups: Tensor) -> tuple[Tensor, ...]:
    """For every file the objects in it."""
    order = groups.argsort(stable=True)
    _, counts = groups.unique(return_counts=True)
    return order.split(counts.tolist())
