"""Which part of a list of objects this job does, of several jobs that share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from one2345.errors import InputError


@dataclass(frozen=True)
class Shard:
    """Part `index` (from 0) of `count`: every count-th object."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.index < self.count:
            raise InputError(f"shard={self.index}/{self.count}: the part must lie from 0 to below the count")

    def of(self, ids: Sequence[str]) -> list[str]:
        return list(ids[self.index :: self.count])


def shard_from(text: str | None, environment: Mapping[str, str]) -> Shard:
    """`i/n` with i from 0; None or `auto`: by SLURM's array task, else by the rank of several processes, else all.

    Raises InputError for anything else, and for an array whose tasks are not numbered by steps of 1.
    """
    if text not in (None, "auto"):
        index, _, count = str(text).partition("/")
        if not (index.strip().isdigit() and count.strip().isdigit()):
            raise InputError(f"shard={text}: expected i/n with i from 0 to n - 1, or auto")
        return Shard(int(index), int(count))
    if "SLURM_ARRAY_TASK_ID" in environment and "SLURM_ARRAY_TASK_COUNT" in environment:
        first = int(environment.get("SLURM_ARRAY_TASK_MIN", "0"))
        index, count = (
            int(environment["SLURM_ARRAY_TASK_ID"]) - first,
            int(environment["SLURM_ARRAY_TASK_COUNT"]),
        )
        if index >= count:
            raise InputError(
                "the tasks of this SLURM array are not numbered by steps of 1; shard=i/n says which part"
            )
        return Shard(index, count)
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return Shard(int(environment["RANK"]), int(environment["WORLD_SIZE"]))
    return Shard(0, 1)
