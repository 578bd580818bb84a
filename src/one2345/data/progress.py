"""A progress bar on a terminal, and an occasional line in a log file."""

from __future__ import annotations

import logging
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

log = logging.getLogger(__name__)


class Progress:
    """Counts steps towards `total`; on a terminal as a bar, else one log line every `every` seconds."""

    def __init__(self, title: str, *, total: int, enabled: bool = True, every: float = 30.0) -> None:
        console = Console(stderr=True)
        self._title, self._total, self._every = title, total, every
        self._done, self._logged = 0, time.monotonic()
        self._enabled = enabled and total > 0
        # Notes hold ids of objects, whose brackets are not markup.
        columns = [
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        ]
        shown = self._enabled and console.is_terminal
        self._bar = RichProgress(*columns, console=console) if shown else None

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._total, note="")
        return self

    def advance(self, note: str = "") -> None:
        """One step more."""
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._task, advance=1, note=note)
        elif self._enabled and time.monotonic() - self._logged > self._every:
            self._logged = time.monotonic()
            log.info("%s: %d of %d %s", self._title, self._done, self._total, note)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
