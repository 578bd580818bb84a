"""A sweep: a folder with one run folder for each task, one command at work in it at a time."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from one2345.cli.run_folder import overrides_hash
from one2345.cli.run_status import RunStatus, State, status_now
from one2345.cli.summary import relative
from one2345.errors import InputError

LOCK = ".sweep.lock"
# Overrides that say where a sweep runs or how much of it.
_NEUTRAL = re.compile(r"\+{0,2}(resume=|hydra[./]launcher|hydra\.sweeper\.(n_trials|n_jobs)=)")
_FOLDER = re.compile(r"(\d+)-[0-9a-f]+")
_SUBMITTED = "_submitted.pkl"  # how submitit ends the name of the file with which it hands a task to SLURM


@dataclass(frozen=True)
class Task:
    """One run of a sweep. problem: why its record cannot be used, None where it can."""

    number: int
    folder: Path
    status: RunStatus
    problem: str | None = None


def sweep_name(told: Iterable[str]) -> str:
    """Name of the sweep's folder, the same again for the same overrides."""
    return f"sweep-{overrides_hash(sorted(o for o in told if not _NEUTRAL.match(o)))}"


def tasks_of(folder: Path) -> list[Task]:
    """The tasks of the sweep in `folder` that have begun, by number."""
    found = []
    for inner in folder.iterdir() if folder.is_dir() else ():
        if (match := _FOLDER.fullmatch(inner.name)) and inner.is_dir():
            found.append(_task(int(match[1]), inner))
    return sorted(found, key=lambda task: (task.number, task.folder.name))


def waiting_jobs(folder: Path, tasks: list[Task]) -> int:
    """How many jobs were handed to SLURM by submitit and have not begun yet."""
    names = {f.name.removesuffix(_SUBMITTED) for f in (folder / ".submitit").glob(f"*/*{_SUBMITTED}")}
    return len(names - {str(task.status.job) for task in tasks})


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other commands from working on the sweep in `folder`; InputError where one does."""
    import filelock

    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise InputError(
            f"another command works on the sweep in {folder}; wait for its end, "
            "or run.id=NAME starts a sweep of its own"
        ) from None
    try:
        yield
    finally:
        lock.release()


def summary_line(folder: Path) -> str:
    """How many tasks ended how, and what tells more."""
    counts = Counter(task.status.state for task in tasks_of(folder))
    said = ", ".join(f"{counts[state]} {state}" for state in State if counts[state]) or "no task began"
    return f"sweep: {said}; python -m one2345.cli.sweep_report {relative(folder)}"


def _task(number: int, folder: Path) -> Task:
    nothing = RunStatus(state=State.INTERRUPTED, began=folder.stat().st_mtime, reason="it left no record")
    try:
        return Task(number, folder, status_now(folder) or nothing)
    except InputError as error:
        return Task(number, folder, nothing, problem=str(error))
