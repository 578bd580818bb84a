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
        self._stage: tuple[str, float] | None = None  # in a log: the one that runs, and since when
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
        elif self._stage is None or self._stage[0] != stage:
            self._end_stage()
            self._stage = (stage, time.monotonic())

    def _end_stage(self) -> None:
        if self._stage is not None and not self._quiet:
            name, begun = self._stage
            self._console.print(f"{name}: {time.monotonic() - begun:.1f} s", highlight=False)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_stage()
        if self._bars is not None:
            self._bars.stop()
