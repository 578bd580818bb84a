"""Working a list of objects off by claims in a `Ledger`, beside other runs that do the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from one2345.errors import One2345Error

from .ledger import LEASE, Content, Ledger

_WINDOW = 512


class Claims:
    """The objects `ids` of a stage, handed out one by one as this worker's alone.

    batch: how many are claimed at a time. retry: also those that failed before this run. policy: see
    `Ledger.claim`. Objects that other runs hold are asked for again every `poll` seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        stage: str,
        ids: Sequence[str],
        *,
        batch: int = 1,
        retry: bool = True,
        policy: str | None = None,
        lease: float = LEASE,
        poll: float = 1.0,
    ) -> None:
        self._ledger, self._stage, self._batch = ledger, stage, batch
        self._since = time.time() if retry else None
        self._policy, self._lease, self._poll = policy, lease, poll
        self._pending, self._held, self._mine = list(ids), list[str](), list[str]()
        self._next = 0.0

    def take(self) -> str | None:
        """An object to work on; None when none is free now (see `left`)."""
        if not self._mine and (self._pending or time.monotonic() >= self._next):
            self._claim()
        return self._mine.pop(0) if self._mine else None

    @property
    def left(self) -> bool:
        """Whether there may be more: to claim, or held by other runs, which may yet leave it to this one."""
        return bool(self._mine or self._pending or self._held)

    def rest(self) -> None:
        """Wait until it makes sense to ask again, if it does."""
        if self.left:
            time.sleep(max(0.0, self._next - time.monotonic()))

    def _claim(self) -> None:
        if not self._pending:
            self._pending, self._held = self._held, []
        while self._pending and not self._mine:
            window = self._pending[:_WINDOW]
            self._mine = self._ledger.claim(
                self._stage, self._batch, lease=self._lease, ids=window,
                failed_before=self._since, policy=self._policy,
            )  # fmt: skip
            if len(self._mine) == self._batch:
                taken = set(self._mine)
                self._pending[:_WINDOW] = [id for id in window if id not in taken]
                return
            others = self._ledger.rows(self._stage, ids=window, states=("claimed", "waiting"))
            self._held += [
                row.id for row in others if row.worker != self._ledger.worker or row.state == "waiting"
            ]
            del self._pending[:_WINDOW]
        self._next = time.monotonic() + self._poll


def reconcile(
    ledger: Ledger,
    stage: str,
    ids: Sequence[str],
    complete: Callable[[str], bool],
    content: Callable[[str], Content],
    *,
    check: bool = True,
) -> None:
    """Have the ledger know `ids`, and say of those that are complete, and only of those, that they are done.

    The files are the truth: a manifest that is missing or behind is filled from them. check: look at all of
    them; else what the manifest says is done is believed.
    """
    before = time.time()
    ledger.add(stage, ids)
    done = {row.id for row in ledger.rows(stage, ids=ids, states=("done",))}
    lost = []
    for id in ids:
        if id in done:
            if check and not complete(id):
                lost.append(id)
        elif complete(id):
            ledger.adopt(stage, id, content(id))
    if lost:
        ledger.reopen(stage, lost, before=before)


def reason_of(error: BaseException) -> str:
    """An error as a reason in the ledger: one line."""
    text = str(error) if isinstance(error, One2345Error) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
