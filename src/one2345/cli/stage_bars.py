"""One progress bar per stage on a terminal; in a log, a line when a stage ends."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class StageBars:
    """Takes (stage, done, total) from a pipeline. quiet: say nothing."""

    def __init__(self, *, quiet: bool = False) -> None:
        console = Console(stderr=True)
        self._tasks: dict[str, object] = {}
        self._begun: dict[str, float] = {}
        self._console = console
        self._quiet = quiet
        columns = [
            TextColumn("{task.description:<10}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        ]
        self._bars = Progress(*columns, console=console) if console.is_terminal and not quiet else None

    def __enter__(self) -> "StageBars":
        if self._bars is not None:
            self._bars.start()
        return self

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._bars is not None:
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(stage, total=total)
            self._bars.update(self._tasks[stage], completed=done, total=total)  # type: ignore[arg-type]
        elif not self._quiet:
            begun = self._begun.setdefault(stage, time.monotonic())
            if done == total and total > 0:
                self._console.print(f"{stage}: {time.monotonic() - begun:.1f} s", highlight=False)
                del self._begun[stage]

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
