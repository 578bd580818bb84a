"""Processes that work objects off one at a time, each under a limit of time and memory.

What one of them does to itself (a crash in a native library, an endless loop, too much memory) costs its own object
and nothing else: the process is replaced and the queue goes on.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from one2345.errors import InputError
from one2345.signals import deaf_children

T = TypeVar("T")

_LOOK = 0.1  # seconds between two looks at the memory


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one object. seconds: of wall-clock time. memory_mb: that its process may hold (resident, in all, 2^20 bytes
    each), as far as the system tells: Linux does. Processes that it starts itself don't count."""

    seconds: float | None = None
    memory_mb: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("seconds", self.seconds), ("memory_mb", self.memory_mb)):
            if value is not None and value <= 0:
                raise InputError(f"limits.{name}={value}: must be positive, or null for no limit")

    @property
    def none(self) -> bool:
        return self.seconds is None and self.memory_mb is None


@dataclass(frozen=True)
class Died:
    """The process of an object came to an end before the object did."""

    reason: str
    seconds: float


class WorkerPool(Generic[T]):
    """`workers` processes that call `task(id)`, which must be picklable. Use it in a with block.

    An exception of the task ends the whole run: what concerns only the object, the task should return.
    """

    def __init__(self, task: Callable[[str], T], *, workers: int, limits: Limits) -> None:
        self._limits = limits
        self._workers = [_Worker(task) for _ in range(workers)]

    def __enter__(self) -> WorkerPool[T]:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.stop()

    def run(self, take: Callable[[], str | None]) -> Iterator[tuple[str, T | Died]]:
        """(id, outcome) in order of completion, of all that `take` hands out until it gives None and all is done."""
        while True:
            for worker in self._workers:
                if worker.id is None and (id := take()) is not None:
                    worker.give(id)
            busy = [w for w in self._workers if w.id is not None]
            if not busy:
                return
            wait([w.connection for w in busy], timeout=_LOOK if self._limits.memory_mb else 0.5)
            for worker in busy:
                id = str(worker.id)
                outcome = worker.look(self._limits)
                if outcome is not None:
                    yield id, outcome[0]


class _Worker:
    """A process, started when the first object comes and after each death, and what it works on."""

    def __init__(self, task: Callable[[str], Any]) -> None:
        self._task = task
        self._process: BaseProcess | None = None
        self.connection: Connection
        self.id: str | None = None
        self._begun: float | None = None

    def give(self, id: str) -> None:
        if self._process is None or not self._process.is_alive():
            context = get_context("spawn")
            self.connection, theirs = context.Pipe()
            process = context.Process(target=_work, args=(self._task, theirs, os.getpid()), daemon=False)
            with deaf_children():
                process.start()  # a request to end may come in here: then there is nothing to stop
            self._process = process
            theirs.close()
        self.id, self._begun = id, None
        with suppress(OSError):  # it is dead, which `look` tells
            self.connection.send(id)

    def look(self, limits: Limits) -> tuple[Any] | None:
        """The outcome in a tuple, once there is one. Raises what the task raised."""
        try:
            while self.connection.poll():
                kind, value = self.connection.recv()
                if kind == "begun":
                    self._begun = time.monotonic()
                    continue
                self.id = None
                if kind == "raised":
                    raise value
                return (value,)
        except (EOFError, ConnectionError):
            return self._end("the worker process died (crash in a native library, or out of memory)")
        assert self._process is not None
        spent = 0.0 if self._begun is None else time.monotonic() - self._begun
        if limits.seconds is not None and spent > limits.seconds:
            return self._end(f"took longer than limits.seconds={limits.seconds:g}")
        if limits.memory_mb is not None and _resident_mb(self._process.pid) > limits.memory_mb:
            return self._end(f"took more memory than limits.memory_mb={limits.memory_mb:g}")
        return None

    def _end(self, reason: str) -> tuple[Died]:
        spent = 0.0 if self._begun is None else time.monotonic() - self._begun
        self.stop()
        self.id = None
        return (Died(reason, spent),)

    def stop(self) -> None:
        """End the process, and what it started itself."""
        if self._process is None:
            return
        _kill(self._process)
        self._process.join()
        self.connection.close()
        self._process = None


def _kill(process: BaseProcess) -> None:
    with suppress(ProcessLookupError):
        if process.pid is not None and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _resident_mb(pid: int | None) -> float:
    """0 where the system doesn't tell, or the process is no more."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _work(task: Callable[[str], Any], connection: Connection, parent: int) -> None:
    """A group of its own, so that what it starts ends with it. One thread; Ctrl-C is the parent's to handle."""
    os.setpgid(0, 0)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    while True:
        try:
            id = connection.recv()
        except (EOFError, OSError):
            return
        connection.send(("begun", None))
        try:
            connection.send(("done", task(id)))
        except Exception as error:  # noqa: BLE001 - the parent raises it
            connection.send(("raised", error))


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.killpg(0, signal.SIGKILL)
