"""Objects shared out over the processes of one evaluation (torchrun), and their results brought together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch.distributed as dist

Item = TypeVar("Item")


def mine(items: Sequence[Item]) -> list[Item]:
    """Those of `items` that this process is to measure: every n-th of n processes."""
    return list(items[dist.get_rank() :: dist.get_world_size()])


def gathered(part: list[Item]) -> list[Item] | None:
    """The parts of all processes in one list on the first process, None on the others."""
    rank, world = dist.get_rank(), dist.get_world_size()
    parts: list[Any] | None = [None] * world if rank == 0 else None
    dist.gather_object(part, parts)
    return None if parts is None else [item for one in parts for item in one]
