"""The order of objects: complete, reproducible, and the same global batches on any number of ranks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import BatchSampler

from one2345.data import Draw, ObjectSampler
from one2345.errors import InputError


class Numbers(torch.utils.data.Dataset):
    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return index


def batches(
    count: int, world: int, size: int, *, epoch: int = 0, samples: int | None = None
) -> list[list[set]]:
    """Per rank the local batches of an epoch."""
    result = []
    for rank in range(world):
        sampler = ObjectSampler(
            Numbers(count), seed=3, shuffle=True, batch=world * size, samples=samples, rank=rank, world=world
        )
        sampler.set_epoch(epoch)
        result.append([set(batch) for batch in BatchSampler(sampler, size, drop_last=False)])
    return result


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 30),
    world=st.sampled_from([1, 2, 3, 4]),
    size=st.integers(1, 3),
    epoch=st.integers(0, 3),
)
def test_ranks_together_see_the_batches_of_one(count: int, world: int, size: int, epoch: int) -> None:
    alone = batches(count, 1, world * size, epoch=epoch)[0]
    ranks = batches(count, world, size, epoch=epoch)
    assert len({len(r) for r in ranks}) == 1
    together = [set().union(*parts) for parts in zip(*ranks, strict=True)]
    assert together == alone
    assert all(len(batch) == world * size for batch in together)


def test_an_epoch_holds_every_object_once_and_epochs_differ() -> None:
    orders = []
    for epoch in (0, 1, 0):
        sampler = ObjectSampler(Numbers(10), seed=0, shuffle=True)
        sampler.set_epoch(epoch)
        orders.append([draw.index for draw in sampler])
        assert all(draw.epoch == epoch and draw.repeat == 0 for draw in sampler)
    assert sorted(orders[0]) == list(range(10))
    assert orders[0] == orders[2] != orders[1]
    assert [d.index for d in ObjectSampler(Numbers(10), seed=1, shuffle=True)] != orders[0]


def test_few_objects_are_repeated_with_other_draws() -> None:
    draws = list(ObjectSampler(Numbers(3), seed=0, shuffle=True, batch=4, samples=12))
    assert len(set(draws)) == 12
    assert sorted(d.index for d in draws if d.repeat == 2) == [0, 1, 2]
    assert len(list(ObjectSampler(Numbers(1), seed=0, shuffle=True, batch=4))) == 4


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 20), world=st.integers(1, 6), size=st.integers(1, 3))
def test_evaluation_deals_every_object_and_every_rank_the_same_number_of_batches(
    count: int, world: int, size: int
) -> None:
    samplers = [
        ObjectSampler(Numbers(count), seed=0, shuffle=False, rank=r, world=world) for r in range(world)
    ]
    ranks = [list(sampler) for sampler in samplers]
    assert len({len(list(BatchSampler(s, size, drop_last=False))) for s in samplers}) == 1
    assert [len(r) for r in ranks] == [len(s) for s in samplers] == [-(-count // world)] * world
    dealt = [draw for turn in zip(*ranks, strict=True) for draw in turn]
    assert dealt[:count] == [Draw(i, 0, 0) for i in range(count)]
    assert len(dealt) < count + world


def test_what_cannot_be_dealt_is_refused() -> None:
    with pytest.raises(InputError, match="no objects"):
        ObjectSampler(Numbers(0), seed=0, shuffle=True)
    with pytest.raises(InputError, match="batch of 3 can't be split"):
        ObjectSampler(Numbers(4), seed=0, shuffle=True, batch=3, world=2)
