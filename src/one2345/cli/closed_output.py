"""Output that nobody reads any more, as in `python prepare.py stage=status out=DIR | head`."""

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STATUS = 128 + signal.SIGPIPE
"""What a shell reports of a program that wrote to a pipe without a reader."""


@contextmanager
def ends_with_its_reader() -> Iterator[None]:
    """Leave the process with `STATUS`, saying nothing, once standard output is a pipe that its reader has closed."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        # What is left in the buffer is written at the end of the process, to nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(STATUS)


def _reader_is_gone() -> bool:
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # errors and hang-ups are always told
    return bool(poll.poll(0))
