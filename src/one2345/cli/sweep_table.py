"""The tasks of a sweep as rows: how each stands, what set it apart, how far it got."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from one2345.cli.run_folder import stored_config
from one2345.cli.run_status import State
from one2345.cli.sweep import Task, tasks_of, waiting_jobs
from one2345.errors import InputError

SCORES = ("val/iou", "val/psnr")  # columns of metrics.csv whose course is shown: the first that is there


@dataclass(frozen=True, kw_only=True)
class Row:
    """One task. settings: what not all tasks have alike. step: so many of the optimiser's steps are known of. seconds:
    at work. curve: the score of validation by step."""

    number: int
    state: State
    settings: dict[str, str]
    objective: float | None
    step: int | None
    steps: int | None
    restarts: int
    seconds: float
    job: str | None
    reason: str | None
    folder: str
    score: str | None = None
    curve: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class SweepTable:
    """Rows by number. settings: names of those that vary. waiting: jobs that SLURM has not begun."""

    folder: Path
    rows: tuple[Row, ...]
    settings: tuple[str, ...]
    waiting: int

    @property
    def best(self) -> Row | None:
        """The finished task with the largest objective; of equal ones the first."""
        done = [r for r in self.rows if r.state is State.FINISHED and r.objective is not None]
        return max(done, key=lambda r: (r.objective, -r.number), default=None)

    def counts(self) -> dict[str, int]:
        """How many tasks stand how; those that wait for SLURM as `waiting`."""
        found = {state.value: sum(r.state is state for r in self.rows) for state in State}
        return {name: n for name, n in (found | {"waiting": self.waiting}).items() if n}


def sweep_table(folder: Path) -> SweepTable:
    """What lies in a sweep's folder. InputError where it is none."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name the one in which a sweep (-m) keeps its tasks")
    tasks = tasks_of(folder)
    waiting = waiting_jobs(folder, tasks)
    if not tasks and not waiting:
        raise InputError(
            f"{folder} holds no tasks of a sweep (folders like 0-1a2b3c4d); the sweep names its folder at its end"
        )
    told = {task.folder: _settings(task.status.overrides) for task in tasks}
    varying = _varying(told.values())
    rows = tuple(_row(task, {k: v for k, v in told[task.folder].items() if k in varying}) for task in tasks)
    return SweepTable(folder=folder, rows=rows, settings=varying, waiting=waiting)


def _settings(overrides: Sequence[str]) -> dict[str, str]:
    pairs = (text.lstrip("+").partition("=") for text in overrides)
    return {key: value for key, sign, value in pairs if sign}


def _varying(told: Iterable[dict[str, str]]) -> tuple[str, ...]:
    """Names, in the order of their first appearance, of which not all tasks that tell anything tell the same."""
    said = [settings for settings in told if settings]
    names = dict.fromkeys(name for settings in said for name in settings)
    return tuple(n for n in names if len({settings.get(n) for settings in said}) > 1)


def _row(task: Task, settings: dict[str, str]) -> Row:
    status, problem, steps = task.status, task.problem, None
    try:
        config = stored_config(task.folder) or {}
        steps = config.get("trainer", {}).get("max_steps")
    except InputError as error:
        problem = problem or str(error)
    step, score, curve = _progress(task.folder / "metrics.csv")
    return Row(
        number=task.number,
        state=status.state,
        settings=settings,
        objective=status.objective,
        step=step,
        steps=steps if isinstance(steps, int) else None,
        restarts=status.restarts,
        seconds=status.seconds,
        job=status.job,
        reason=problem or status.reason,
        folder=task.folder.name,
        score=score,
        curve=curve,
    )


def _progress(file: Path) -> tuple[int | None, str | None, tuple[tuple[int, float], ...]]:
    """Steps done, and name and course of the score; a row that a killed run left half written is passed over."""
    if not file.is_file():
        return None, None, ()
    with file.open(newline="", encoding="utf-8", errors="replace") as lines:
        table = csv.DictReader(lines)
        score = next((s for s in SCORES if s in (table.fieldnames or ())), None)
        last, curve = None, {}
        for row in table:
            step = _number(row.get("step"))
            if step is None:
                continue
            last = max(last or 0, int(step) + 1)  # loggers count from 0
            if score is not None and (value := _number(row.get(score))) is not None:
                curve[int(step)] = value
    return last, score, tuple(sorted(curve.items()))


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
