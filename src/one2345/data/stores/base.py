"""Where prepared objects are read from: a folder of them, packed shards, the published training set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from one2345.views import ObjectRecord


class Store(Protocol):
    """Prepared objects by id. It can be pickled, and a process that opens it anew reads the same.

    root: where it lies, for messages. Records read pictures and labels when they are asked for, and raise
    InputError naming what is damaged.
    """

    root: Path

    def ids(self) -> list[str]:
        """Sorted ids of all objects."""
        ...

    def record(self, id: str) -> ObjectRecord:
        """One object. Raises InputError when there is none of that id or it is damaged."""
        ...

    def split(self, id: str) -> str | None:
        """train, val, test, or None where the store says none."""
        ...

    def groups(self, ids: Sequence[str]) -> list[int] | None:
        """For each of ids the number of the file that it lies in with others, so that those can be read together;
        None where every object is read by itself."""
        ...
