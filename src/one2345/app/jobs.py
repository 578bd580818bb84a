"""Work in a thread of its own that tells how far it is, and can be stopped."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from one2345.errors import InputError, One2345Error

log = logging.getLogger(__name__)


class Cancelled(One2345Error):
    """The visitor asked for it."""


class TimeLimit(One2345Error):
    """It took longer than the page allows."""


@dataclass(frozen=True)
class Waiting:
    """Others are being served first."""


@dataclass(frozen=True)
class Step:
    """How much of a stage of the pipeline is done."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class ViewMade:
    """A picture came. azimuth, elevation: degrees from the input camera. rgba: (h, w, 4) uint8, straight alpha."""

    name: str
    azimuth: float
    elevation: float
    rgba: NDArray[np.uint8]


@dataclass(frozen=True)
class Finished:
    """The work's own result."""

    result: Any


@dataclass(frozen=True)
class Failed:
    """One sentence for the visitor. cancelled: whether they asked for it themselves."""

    message: str
    cancelled: bool = False


Event = Waiting | Step | ViewMade | Finished | Failed


class Slots:
    """So many jobs run at once, and so many more may wait."""

    def __init__(self, *, at_once: int = 1, waiting: int = 20) -> None:
        self._free = threading.Semaphore(at_once)
        self._most, self._inside = at_once + waiting, 0
        self._lock = threading.Lock()

    def join(self) -> None:
        """Stand in the queue. Raises InputError where it is full."""
        with self._lock:
            if self._inside >= self._most:
                raise InputError("too many people are waiting already; try again in some minutes")
            self._inside += 1

    def leave(self) -> None:
        """Undo `join`."""
        with self._lock:
            self._inside -= 1

    @contextmanager
    def turn(self, waiting: Callable[[], None], check: Callable[[], None]) -> Iterator[None]:
        """The block runs in its turn. waiting: called once where that is not at once. check: called meanwhile, often;
        it gives up by raising."""
        if not self._free.acquire(blocking=False):
            waiting()
            while not self._free.acquire(timeout=0.1):
                check()
        try:
            yield
        finally:
            self._free.release()


class Job:
    """Runs `work(job)` in a thread; `batches` tells what comes of it.

    seconds: after which `check` ends the work; the time in front of the `slots` doesn't count.
    """

    def __init__(
        self,
        work: Callable[[Job], Any],
        *,
        seconds: float,
        slots: Slots | None = None,
    ) -> None:
        self._work, self._seconds, self._slots = work, seconds, slots or Slots()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._begun: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="reconstruction")

    @property
    def running(self) -> bool:
        """Whether it may still tell something."""
        return not self._over.is_set()

    @property
    def seconds(self) -> float:
        """Since its turn came."""
        return 0.0 if self._begun is None else time.monotonic() - self._begun

    def start(self) -> Job:
        """Begin, or wait for its turn. Raises InputError where too many wait."""
        self._slots.join()
        self._thread.start()
        return self

    def cancel(self) -> None:
        """Ask it to end; it does at its next `check`."""
        self._stop.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Whether it has ended, after at most `timeout` seconds."""
        return self._over.wait(timeout)

    def check(self) -> None:
        """Called by the work, often. Raises Cancelled or TimeLimit."""
        if self._stop.is_set():
            raise Cancelled("cancelled")
        if self.seconds > self._seconds:
            raise TimeLimit(
                f"this took longer than the {self._seconds:g} seconds that one object may take here"
            )

    def tell(self, event: Event) -> None:
        """Pass an event on to whoever follows `batches`, unless the work is to end."""
        self.check()
        self._events.put(event)

    def progress(self, stage: str, done: int, total: int) -> None:
        """What a pipeline calls with its progress."""
        self.tell(Step(stage, done, total))

    def batches(self, seconds: float = 0.0) -> Iterator[list[Event]]:
        """What happens, as it does, `seconds` of it at a time; the very last event is Finished or Failed."""
        last: Event | None = None
        while not isinstance(last, Finished | Failed):
            batch = [last := self._events.get()]
            end = time.monotonic() + seconds
            with suppress(queue.Empty):
                while not isinstance(last, Finished | Failed) and (left := end - time.monotonic()) > 0:
                    batch.append(last := self._events.get(timeout=left))
            yield batch

    def _run(self) -> None:
        try:
            last: Event = Finished(self._in_turn())
        except Cancelled:
            last = Failed("Cancelled.", cancelled=True)
        except One2345Error as error:
            last = Failed(str(error))
        except MemoryError:
            last = Failed("the memory of this machine is not enough for it")
        except Exception as error:
            log.exception("a reconstruction failed")
            last = Failed(
                f"something failed here that should not ({type(error).__name__}); the log has the details"
            )
        self._slots.leave()
        self._over.set()
        self._events.put(last)

    def _in_turn(self) -> Any:
        with self._slots.turn(lambda: self.tell(Waiting()), self.check):
            self._begun = time.monotonic()
            self.check()
            return self._work(self)
