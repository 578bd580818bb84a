"""Run a program that may hang, crash or eat all memory, and outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from one2345.errors import InputError

LOG = "log.txt"
# Seconds between looks at the program: how long it may go on after it has ended or gone too far.
LOOK = 0.05


@dataclass(frozen=True, kw_only=True)
class Limits:
    """seconds: of wall clock. memory_mb: resident, of the program and its children together; looked at
    some times a second (Linux). address_mb: of address space of each process, which the kernel itself refuses
    to exceed; None for none. file_mb: of each file that it writes.
    """

    seconds: float
    memory_mb: float
    address_mb: float | None
    file_mb: float


def run_limited(
    command: Sequence[str], *, folder: Path, limits: Limits, env: Mapping[str, str] | None = None
) -> None:
    """Run `command` in `folder`, in a session of its own, and end all of it, whatever happens.

    What it prints goes to folder/log.txt. Raises InputError that says why it did not end well: the time or memory
    it took, the signal that killed it, or its status and last words.
    """
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            list(command), cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            _limit(process.pid, limits)
            reason = _watch(process.pid, limits)
        finally:
            # The leader is not reaped yet, so that its number can't have become another process's.
            os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
    if reason is None and status != 0:
        reason = f"{_status(status)}{_last_words(folder / LOG)}"
    if reason is not None:
        raise InputError(reason)


def _limit(pid: int, limits: Limits) -> None:
    """Limits that the kernel keeps (Linux); they hold for children too."""
    try:
        import resource
    except ImportError:
        return
    if not hasattr(resource, "prlimit"):
        return
    chosen = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: round(limits.file_mb * 2**20)}
    if limits.address_mb is not None:
        chosen[resource.RLIMIT_AS] = round(limits.address_mb * 2**20)
    for kind, most in chosen.items():
        hard = resource.prlimit(pid, kind)[1]
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.prlimit(pid, kind, (value, value))


def _watch(pid: int, limits: Limits) -> str | None:
    """Wait for the program's end, or for a reason to end it."""
    end, looks = time.monotonic() + limits.seconds, 0
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > end:
            return f"took more than timeout={limits.seconds:g} seconds"
        if looks % 4 == 0 and resident_mb(pid) > limits.memory_mb:
            return f"took more than memory_mb={limits.memory_mb:g} MB of memory"
        looks += 1
        time.sleep(LOOK)
    return None


def resident_mb(session: int) -> float:
    """Resident memory, MB, of all processes of a session; 0 where the system doesn't tell."""
    pages = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if len(fields) > 21 and fields[3] == str(session):
            pages += int(fields[21])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _status(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    name = signal.Signals(-status).name if -status in list(signal.Signals) else str(-status)
    return f"was killed by {name}"


def _last_words(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4000))
        lines = file.read().decode("utf-8", "replace").splitlines()
    said = [line.strip() for line in lines if line.strip()]
    if not said:
        return ""
    return ": " + "".join(c for c in said[-1] if c.isprintable())[:300]
