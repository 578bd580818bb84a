"""How far a job is, in one form for all of them: bars where somebody watches, else a line now and then."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

log = logging.getLogger(__name__)

WORTH_A_LINE = 2.0
"""Seconds that a stage must have taken for a log to say so."""


def watched(stream: IO[str] | None) -> bool:
    """Whether `stream` is a terminal that can move its cursor, and not that of an automatic build (CI)."""
    if stream is None or os.environ.get("CI", "").lower() not in ("", "0", "false"):
        return False
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def clock(seconds: float) -> str:
    """H:MM:SS."""
    return str(timedelta(seconds=round(seconds)))


def left(done: int, begun: int, total: int | None, seconds: float) -> float | None:
    """Seconds to `total`, at the mean pace of the `seconds` from `begun` to `done`; None where that is unknown."""
    return None if total is None or done <= begun else seconds * max(total - done, 0) / (done - begun)


class _Counts(ProgressColumn):
    """Steps done of how many, where there are several."""

    def render(self, task: Task) -> Text:
        if task.total is None or task.total <= 1:
            return Text("")
        return Text(f"{int(task.completed):,}/{int(task.total):,}", style="progress.download")


class _Times(ProgressColumn):
    """Time so far, and time left: by the mean pace, since a single step may take minutes."""

    def render(self, task: Task) -> Text:
        total = None if task.total is None else int(task.total)
        seconds = task.elapsed or 0.0
        if total is not None and task.completed >= total:
            return Text(f"{clock(task.finished_time or seconds):<20}")
        rest = left(int(task.completed), task.fields["begun"], total, seconds)
        return Text(f"{clock(seconds)} left {'-:--:--' if rest is None else clock(rest)}")


@dataclass
class _Stage:
    """done, total: told last; total None: unknown. begun: what was done when it was first told. said: when a line
    was last logged of it; complete: that its end was."""

    since: float
    begun: int
    done: int
    total: int | None
    note: str
    said: float
    complete: bool = False
    bar: TaskID | None = None


class Bars:
    """Takes (stage, done, total, note) of a job and shows it on standard error.

    On a terminal each stage has a bar; bars of a job within a job go below those of the outer one, and away with it.
    Elsewhere a stage gets a line in the log every `every` seconds, and one at its end if it took some seconds.
    """

    _shown: Progress | None = None  # that of the outermost job

    def __init__(self, *, enabled: bool = True, every: float = 30.0) -> None:
        self.enabled, self.every = enabled, every
        self._stages: dict[str, _Stage] = {}
        self._owner = False

    def __enter__(self) -> Bars:
        if self.enabled and Bars._shown is None and watched(sys.stderr):
            # What is printed meanwhile goes above the bars, but for output that goes elsewhere.
            Bars._shown = Progress(
                TextColumn("{task.description:<10}", markup=False),
                BarColumn(bar_width=24),
                _Counts(),
                _Times(),
                # Notes hold ids of objects, whose brackets are not markup.
                TextColumn(
                    "{task.fields[note]}",
                    markup=False,
                    table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
                ),
                console=Console(stderr=True, highlight=False),
                refresh_per_second=4,
                redirect_stdout=watched(sys.stdout),
                expand=True,
            )
            self._owner = True
            Bars._shown.start()
        return self

    def __call__(self, stage: str, done: int, total: int | None, note: str = "") -> None:
        """total None: nobody knows."""
        if not self.enabled:
            return
        now, shown = time.monotonic(), Bars._shown
        known = self._stages.get(stage)
        if known is None:
            known = self._stages[stage] = _Stage(now, done, done, total, note, now)
            if shown is not None:
                known.bar = shown.add_task(stage, total=total, completed=done, note=note, begun=done)
        known.done, known.total, known.note = done, total, note
        if known.bar is not None and shown is not None:
            shown.update(known.bar, completed=done, total=total, note=note)
            return
        complete = total is not None and done >= total
        if complete and not known.complete:
            self._line(stage, known, now)
        elif not complete and total is not None and now - known.said > self.every:
            known.said = now
            self._line(stage, known, now)
        known.complete = complete

    def end(self, stage: str, *, keep: bool = True) -> None:
        """The stage is over. keep: leave its bar on the terminal."""
        known = self._stages.pop(stage, None)
        if known is None:
            return
        if known.bar is None or Bars._shown is None:
            now = time.monotonic()
            if not known.complete and now > known.said:
                self._line(stage, known, now)
        elif keep:
            if known.total is None:
                Bars._shown.update(known.bar, total=1, completed=1)
            Bars._shown.stop_task(known.bar)
        else:
            Bars._shown.remove_task(known.bar)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._stages):
            self.end(name, keep=self._owner)
        if self._owner and Bars._shown is not None:
            Bars._shown.stop()
            Bars._shown = None
            self._owner = False

    @staticmethod
    def _line(stage: str, known: _Stage, now: float) -> None:
        seconds, total = now - known.since, known.total
        over = total is None or known.done >= total
        if seconds < WORTH_A_LINE:
            return
        parts = [] if total in (None, 1) else [f"{known.done:,} of {total:,}"]
        parts.append(f"{seconds:.1f} s" if seconds < 60 else clock(seconds))
        if (rest := left(known.done, known.begun, total, seconds)) is not None and not over:
            parts.append(f"left {clock(rest)}")
        log.info("%s: %s%s", stage, ", ".join(parts), f"  {known.note}" if known.note else "")


class Count:
    """One stage that counts its steps towards `total`."""

    def __init__(self, title: str, *, total: int, enabled: bool = True, every: float = 30.0) -> None:
        self._title, self._total, self._done = title, total, 0
        self._bars = Bars(enabled=enabled and total > 0, every=every)

    def __enter__(self) -> Count:
        self._bars.__enter__()
        self._bars(self._title, 0, self._total)
        return self

    def advance(self, note: str = "") -> None:
        """One step more."""
        self._done += 1
        self._bars(self._title, self._done, self._total, note)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.__exit__(kind, value, trace)


@contextmanager
def busy(what: str, *, enabled: bool = True) -> Iterator[None]:
    """Something of which nobody knows how long it takes."""
    with Bars(enabled=enabled) as bars:
        bars(what, 0, None)
        yield
