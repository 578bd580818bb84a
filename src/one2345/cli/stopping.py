"""An orderly end where the system asks for one: preemption, a time limit, scancel."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def ends_on_sigterm() -> Iterator[None]:
    """While the block runs, SIGTERM unwinds it as Ctrl-C would, so that its claims are given back; exit status 143."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may choose what a signal does
        return

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
