"""Which object comes when: a permutation per (seed, epoch), dealt out to the ranks in turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.utils.data import Dataset, DistributedSampler

from one2345.errors import InputError
from one2345.seeding import torch_rng


class Draw(NamedTuple):
    """Which object of the data set, and which draw of it: workers need no epoch of their own."""

    index: int
    epoch: int
    repeat: int


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
    ) -> None:
        super().__init__(data, num_replicas=world, rank=rank, shuffle=shuffle, seed=seed)
        count = len(data)  # type: ignore[arg-type]
        if count == 0:
            raise InputError("there are no objects to draw from")
        if batch % world and shuffle:
            raise InputError(f"a global batch of {batch} can't be split evenly over {world} ranks")
        self.count = count
        if shuffle:
            self.total = max((samples or count) // batch, 1) * batch
        else:
            self.total = -(-count // world) * world

    def __iter__(self) -> Iterator[Draw]:  # type: ignore[override]
        if not self.shuffle:
            yield from (Draw(i % self.count, 0, 0) for i in range(self.rank, self.total, self.num_replicas))
            return
        repeat, order = -1, torch.empty(0)
        for position in range(self.total):
            if position // self.count != repeat:
                repeat = position // self.count
                generator = torch_rng(self.seed, "order", self.epoch, repeat)
                order = torch.randperm(self.count, generator=generator)
            if position % self.num_replicas == self.rank:
                yield Draw(int(order[position % self.count]), self.epoch, repeat)

    def __len__(self) -> int:
        return len(range(self.rank, self.total, self.num_replicas))
