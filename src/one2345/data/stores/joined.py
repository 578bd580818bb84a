"""Objects of several stores as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from one2345.errors import InputError
from one2345.views import ObjectRecord

from .base import Store


class JoinedStore:
    """The objects of `stores`, the first of which gives the name in messages.

    Raises InputError where two of them have an object of the same id.
    """

    def __init__(self, stores: Sequence[Store]) -> None:
        self.stores = tuple(stores)
        self.root: Path = self.stores[0].root
        self._of: dict[str, int] = {}
        for index, store in enumerate(self.stores):
            for id in store.ids():
                if id in self._of:
                    first = self.stores[self._of[id]].root
                    raise InputError(
                        f"{store.root}: has an object {id!r}, as {first} has; objects need ids of their own"
                    )
                self._of[id] = index

    def ids(self) -> list[str]:
        return sorted(self._of)

    def record(self, id: str) -> ObjectRecord:
        if id not in self._of:
            raise InputError(f"{', '.join(str(store.root) for store in self.stores)}: no object {id!r}")
        return self.stores[self._of[id]].record(id)

    def split(self, id: str) -> str | None:
        return self.stores[self._of[id]].split(id)

    def groups(self, ids: Sequence[str]) -> list[int] | None:
        """Files are numbered through; an object that is read by itself counts as a file."""
        numbers: dict[str, int] = {}
        first, shared = 0, False
        for index, store in enumerate(self.stores):
            own = [id for id in ids if self._of[id] == index]
            groups = store.groups(own)
            shared = shared or groups is not None
            groups = list(range(len(own))) if groups is None else groups
            numbers |= {id: first + group for id, group in zip(own, groups, strict=True)}
            first += max(groups, default=-1) + 1
        return [numbers[id] for id in ids] if shared else None
