"""Objects shared out over the processes of one evaluation (torchrun), and their results brought together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch.distributed as dist

Item = TypeVar("Item")


def mine(items: Sequence[Item]) -> list[Item]:
    """Those of `items` that this process is to measure: every n-th of n processes."""
    rank, world = rank_of_world()
    return list(items[rank::world])


def gathered(part: list[Item]) -> list[Item] | None:
    """The parts of all processes in one list on the first process, None on the others."""
    rank, world = rank_of_world()
    if world == 1:
        return part
    parts: list[Any] | None = [None] * world if rank == 0 else None
    dist.gather_object(part, parts)
    return None if parts is None else [item for one in parts for item in one]


def rank_of_world() -> tuple[int, int]:
    """This process's rank and the number of processes; (0, 1) outside a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
