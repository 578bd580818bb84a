"""An orderly end where the system asks for one: preemption, a time limit, scancel."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from one2345 import signals
from one2345.cli import slurm
from one2345.cli.exit_codes import CRASH, DONE, RESUMABLE
from one2345.cli.run_folder import global_rank
from one2345.errors import Stopped


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


def end_with(parent: int) -> None:
    """End this process as soon as `parent`, which started it, is no more: a further rank would wait for it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(CRASH)

    threading.Thread(target=watch, daemon=True, name="end with parent").start()


@contextmanager
def resumable() -> Iterator[None]:
    """While the block runs, a request to stop ends it with exit status RESUMABLE, and its job is requeued.

    Outside of training it ends at once: there is nothing that starting again would not make up for. In training the
    `Preemption` callback takes the request and raises `Stopped` once all is saved. One rank asks for the requeue, the
    first; it alone leaves with RESUMABLE, since a launcher would end it with the first of the others that did.
    """
    stopping = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            raise Stopped(signal.Signals(number).name)

    resubmit = slurm.submitit_requeue()
    before = signals.install(end)
    try:
        yield
    except Stopped as stopped:
        signals.install(signal.SIG_IGN)  # the cluster repeats itself, and a requeue itself sends SIGTERM
        if global_rank() != 0:
            sys.exit(DONE)
        print(f"stopped ({stopped}); {slurm.requeue(resubmit)}", flush=True)
        sys.exit(RESUMABLE)
    except BaseException:
        signals.restore(before)
        raise
    else:
        signals.restore(before)
