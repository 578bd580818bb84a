"""Many downloads at a time: those that fail are counted and named, the others go on."""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from one2345.errors import InputError
from one2345.files import aside_name, is_abandoned
from one2345.terminal import Count

from .fetch import NotThere

log = logging.getLogger(__name__)

# So many failures without a success between them mean that the rest would fail as well.
GIVE_UP = 10
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_T = TypeVar("_T")


class OverBudget(InputError):
    """No further file fits what may be used of the disk; ends the whole run."""


def in_parallel(
    ids: Sequence[str],
    job: Callable[[str, threading.Event], _T],
    *,
    root: Path,
    what: str,
    workers: int,
    progress: bool,
    done: Callable[[str, _T], None],
    failed: Callable[[str, InputError], None],
    every: Callable[[], None],
    seconds: float,
) -> None:
    """Run `job` (id, event that calls it off) for every id in `workers` threads.

    done, failed: hear of each job, in this thread. every: called after about so many `seconds`, and at the
    end. A file that is not on the server is no sign that the others would fail; other failures in a row are.

    Raises InputError when the disk is full, the budget is used up, or GIVE_UP jobs in a row fail.
    """
    stop = threading.Event()
    pool = ThreadPoolExecutor(max(1, workers))
    futures: dict[Future[_T], str] = {}
    had, in_a_row, failures, written = 0, 0, 0, time.monotonic()
    try:
        with Count("downloading", total=len(ids), enabled=progress) as bar:
            futures |= {pool.submit(job, id, stop): id for id in ids}
            for future in as_completed(list(futures)):
                id = futures.pop(future)
                try:
                    done(id, future.result())
                    had, in_a_row = had + 1, 0
                except OverBudget:
                    raise
                except InputError as error:
                    failed(id, error)
                    failures += 1
                    in_a_row += not isinstance(error, NotThere)
                    log.info("%s: %s", id, error)
                    if in_a_row >= GIVE_UP:
                        raise InputError(f"{in_a_row} downloads in a row failed; {id}: {error}") from error
                bar.advance(f"{failures} failed" if failures else "")
                if time.monotonic() - written > seconds:
                    every()
                    written = time.monotonic()
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise InputError(
            f"{root}: {error.strerror}, after {had} {what}; the same command goes on from there"
        ) from error
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        for future, id in futures.items():  # what came in the meantime counts too
            if not future.cancelled() and future.exception() is None:
                done(id, future.result())
        with suppress(OSError):  # on a full disk; the next run records the files that are there
            every()


@contextmanager
def alone(work: Path) -> Iterator[None]:
    """Hold the folder of unfinished work for one process, whose lock a dead one may have left."""
    work.mkdir(parents=True, exist_ok=True)
    lock = work / "lock"
    try:
        if lock.is_file() and is_abandoned(lock.read_text(encoding="utf-8")):
            lock.unlink(missing_ok=True)
        with lock.open("x", encoding="utf-8") as handle:
            handle.write(aside_name())
    except FileExistsError as error:
        raise InputError(
            f"{lock}: another download into this folder is running; if not, delete that file"
        ) from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
    with suppress(OSError):  # parts of what failed stay, to be resumed
        work.rmdir()
