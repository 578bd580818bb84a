"""How a run stands: `status.json` in its folder, which says `running` until whatever ends the run replaces it.

A process that is killed replaces nothing. While it lives it touches the file now and then, so that a reader on any
machine can tell a run that is at work from one whose end nobody recorded: `interrupted`.
"""

import json
import math
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from one2345.cli.compose import one_line
from one2345.cli.exit_codes import CRASH, DONE, INPUT, RESUMABLE
from one2345.cli.run_folder import STATUS
from one2345.errors import InputError, One2345Error
from one2345.files import write_atomic

BEAT = 30.0  # seconds between two signs of life
SILENT = 600.0  # without one for so many seconds a run on another machine counts as interrupted


class State(StrEnum):
    """How a run stands. `preempted`: stopped on request with a checkpoint saved, and to be continued."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    PREEMPTED = "preempted"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """One record. began: when this start was, in seconds since 1970. seconds: at work so far, over all starts that are
    over. restarts: starts before this one. job: of SLURM. overrides: what the run was asked for."""

    state: State
    began: float
    restarts: int = 0
    seconds: float = 0.0
    reason: str | None = None
    exit_code: int | None = None
    objective: float | None = None
    host: str = ""
    pid: int = 0
    job: str | None = None
    overrides: tuple[str, ...] = ()


@dataclass
class Outcome:
    """What the block of `recorded` hands back for the record."""

    objective: float | None = None


@contextmanager
def recorded(folder: Path, *, overrides: Sequence[str], rank: int = 0) -> Iterator[Outcome]:
    """Keep the record of `folder` while the block runs; what ends the block goes into it and on up.

    Rank 0 keeps it. The others only say why they failed, since what rank 0 then sees is that they are gone.
    """
    outcome = Outcome()
    if rank:
        try:
            yield outcome
        except BaseException as error:
            _say_why(folder, error, rank)
            raise
        return
    started, over = _begin(folder, overrides), threading.Event()
    _write(folder, started)
    beat = threading.Thread(target=_beat, args=(folder / STATUS, over), daemon=True, name="signs of life")
    beat.start()
    try:
        yield outcome
    except BaseException as error:
        ended = _ended(started, *_classify(error))
        with suppress(OSError, InputError):  # the error itself matters more than its record
            there = read_status(folder)
            if there is None or there.state is State.RUNNING or there.began != started.began:
                _write(folder, ended)  # else another rank has told the cause of what this one saw
        raise
    else:
        ended = _ended(started, State.FINISHED, None, 0)
        _write(folder, replace(ended, objective=_finite(outcome.objective)))
    finally:
        over.set()
        beat.join()


def record_failure(folder: Path, error: BaseException, *, overrides: Sequence[str]) -> None:
    """Keep why a task of a sweep could not even start."""
    with suppress(OSError):
        _write(folder, _ended(_begin(folder, overrides), *_classify(error)))


def read_status(folder: Path) -> RunStatus | None:
    """What the record of `folder` says, None without one; InputError if it is damaged."""
    path = folder / STATUS
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return RunStatus(
            **{**stored, "state": State(stored["state"]), "overrides": tuple(stored["overrides"])}
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is damaged ({one_line(error)}); delete it") from error


def status_now(folder: Path) -> RunStatus | None:
    """As `read_status`, but a run that has ended without a word is `interrupted`."""
    status = read_status(folder)
    if status is None or status.state is not State.RUNNING or _alive(folder, status):
        return status
    seconds = max(0.0, _touched(folder) - status.began)
    reason = "no end was recorded: killed, or its machine was lost"
    return replace(status, state=State.INTERRUPTED, reason=reason, seconds=status.seconds + seconds)


def _begin(folder: Path, overrides: Sequence[str]) -> RunStatus:
    try:
        before = status_now(folder)
    except InputError:
        before = None
    return RunStatus(
        state=State.RUNNING,
        began=time.time(),
        restarts=before.restarts + 1 if before else 0,
        seconds=before.seconds if before else 0.0,
        host=socket.gethostname(),
        pid=os.getpid(),
        job=_slurm_job(os.environ),
        overrides=tuple(overrides),
    )


def _ended(started: RunStatus, state: State, reason: str | None, code: int) -> RunStatus:
    seconds = started.seconds + time.time() - started.began
    return replace(started, state=state, reason=reason, exit_code=code, seconds=seconds)


def _classify(error: BaseException) -> tuple[State, str | None, int]:
    """State, reason and exit status of a run that ends with `error`."""
    if isinstance(error, KeyboardInterrupt):
        return State.INTERRUPTED, "stopped by the keyboard", 130
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if code == DONE:
            return State.FINISHED, None, code
        if code == RESUMABLE:
            return State.PREEMPTED, "stopped on request, its checkpoint is saved", code
        if code > 128:
            return State.INTERRUPTED, f"ended by signal {code - 128}", code
        return State.FAILED, f"exit status {code}", code
    text = one_line(error)
    if isinstance(error, One2345Error):
        return State.FAILED, text, INPUT
    return State.FAILED, f"{type(error).__name__}: {text}"[:1000], CRASH


def _say_why(folder: Path, error: BaseException, rank: int) -> None:
    """A rank beside the first puts the cause of its end into the record of the run that is at work."""
    state, reason, code = _classify(error)
    with suppress(OSError, InputError):
        there = read_status(folder)
        if state is State.FAILED and there is not None and there.state is State.RUNNING:
            _write(folder, _ended(there, state, f"rank {rank}: {reason}", code))


def _write(folder: Path, status: RunStatus) -> None:
    write_atomic(folder / STATUS, json.dumps(asdict(status), indent=1, allow_nan=False) + "\n")


def _beat(path: Path, over: threading.Event) -> None:
    while not over.wait(BEAT):
        with suppress(OSError):
            os.utime(path)


def _touched(folder: Path) -> float:
    try:
        return (folder / STATUS).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _alive(folder: Path, status: RunStatus) -> bool:
    if time.time() - _touched(folder) > SILENT:
        return False
    if status.host != socket.gethostname():
        return True
    try:
        os.kill(status.pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _slurm_job(environment: Mapping[str, str]) -> str | None:
    array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else environment.get("SLURM_JOB_ID")
