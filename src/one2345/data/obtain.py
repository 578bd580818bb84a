"""Download the files of a source's objects: one run does, others that need them wait for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from one2345.errors import InputError
from one2345.views import check_id

from .claims import Claims, reconcile
from .ledger import Content, Ledger
from .recipe import recipe_hash
from .sources.base import filters_of

STAGE = "download"

Record = Callable[[str, str, str | None, int, str | None], None]
"""Hears of each object: id, state ('done', 'failed' or 'rejected'), reason, bytes, licence."""


@runtime_checkable
class Fetching(Protocol):
    """A source whose files are downloaded."""

    def ids(self, split: str | None = None) -> list[str]: ...

    def file(self, id: str) -> Path:
        """Where the file of an object lies, or will lie."""
        ...

    def absent(self, ids: Sequence[str] | None = None) -> Sequence[str]:
        """Those of `ids` whose file is missing or cut short."""
        ...

    def fetch(self, ids: Sequence[str] | None = None, *, record: Record | None = None) -> object:
        """Download what is missing of `ids`. Raises InputError where nothing can go on, as with a full disk."""
        ...


def obtain_objects(
    source: Fetching, *, out: Path | str, ids: Sequence[str] | None = None, retry: bool = True
) -> dict[str, int]:
    """Download what is missing of `source` (all, or `ids`), and say so in the manifest of `out`.

    Returns how many objects are in each state.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    wanted = [check_id(id) for id in (source.ids() if ids is None else ids)]
    ledger = Ledger(out)
    absent = set(source.absent(wanted))
    reconcile(
        ledger,
        STAGE,
        wanted,
        lambda id: id not in absent and _size(source, id) > 0,
        lambda id: Content(_size(source, id)),
    )
    policy = recipe_hash({"filters": filters_of(source)})
    # All at once: a source downloads many at a time, and by one process only. Other runs wait, then see what is left.
    claims = Claims(ledger, STAGE, wanted, retry=retry, policy=policy, batch=max(1, len(wanted)))

    def record(id: str, state: str, reason: str | None, size: int, licence: str | None) -> None:
        if state == "done":
            ledger.finish(STAGE, id, Content(size, None, licence))
        elif state == "rejected":
            ledger.reject(STAGE, id, reason or "", policy=policy)
        else:
            ledger.fail(STAGE, id, reason or "")

    with ledger.holding(STAGE):
        while claims.left:
            while batch := _take(claims):
                source.fetch(batch, record=record)
                # An object that it said nothing of must not be asked for for ever.
                held = ledger.rows(STAGE, ids=batch, states=("claimed",))
                for row in held:
                    if row.worker == ledger.worker:
                        ledger.fail(STAGE, row.id, "the source said nothing of it")
            claims.rest()
    states = ("done", "failed", "rejected", "waiting")
    return {state: len(ledger.rows(STAGE, ids=wanted, states=(state,))) for state in states}


def _take(claims: Claims) -> list[str]:
    batch: list[str] = []
    while (id := claims.take()) is not None:
        batch.append(id)
    return batch


def _size(source: Fetching, id: str) -> int:
    try:
        file = source.file(id)
        return file.stat().st_size if file.is_file() else 0
    except InputError:
        return 0
