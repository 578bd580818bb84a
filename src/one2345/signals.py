"""Requests to stop: SIGTERM of preemption and scancel, SIGUSR1 or SIGUSR2 as the warning before a time limit."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any

STOP = tuple(getattr(signal, n) for n in ("SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, n))

Handler = Callable[[int, FrameType | None], Any]


def install(handler: Handler | signal.Handlers) -> dict[int, Any]:
    """Let `handler` have every request; what had them before, for `restore`.

    Only the main thread may choose what a signal does: elsewhere nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, handler) for number in STOP}


def restore(before: Mapping[int, Any]) -> None:
    """Undo an `install`."""
    for number, handler in before.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def deaf_children() -> Iterator[None]:
    """Processes that are started in the block never get a request: a cluster sends it to all processes of a job, and
    the one that started them decides when they end."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP)  # which children inherit
    try:
        resource_tracker.ensure_running()  # a child as well; that of Python unblocks SIGTERM when it is started
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def obey_parent() -> None:
    """In a deaf process: SIGTERM ends it after all if it comes from the one that started it."""
    if hasattr(signal, "sigwaitinfo"):
        threading.Thread(target=_obey, args=(os.getppid(),), daemon=True, name="obey parent").start()


def _obey(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
