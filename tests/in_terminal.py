"""A Python program in a terminal of its own, beside the same in a pipe."""

import os
import pty
import struct
import subprocess
import sys
from pathlib import Path

PLAIN = {"CI": "", "COLUMNS": "", "LINES": "", "TERM": "xterm-256color", "NO_COLOR": "", "FORCE_COLOR": ""}


def in_terminal(
    *argv: str, cwd: Path, columns: int = 100, stdout: int | None = None, **environment: str
) -> tuple[int, str]:
    """Status of `python argv` in a terminal so many columns wide, and all that was written to it.

    stdout: descriptor that its standard output goes to instead.
    """
    import fcntl
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    child = subprocess.Popen(
        [sys.executable, *argv], cwd=cwd, env=_environment(environment), stdin=theirs, stderr=theirs,
        stdout=theirs if stdout is None else stdout,
    )  # fmt: skip
    os.close(theirs)
    written = b""
    while True:
        try:
            block = os.read(ours, 65536)
        except OSError:  # how Linux says that nobody holds the other end any more
            break
        if not block:
            break
        written += block
    os.close(ours)
    return child.wait(timeout=60), written.decode()


def in_pipe(*argv: str, cwd: Path, **environment: str) -> tuple[int, str, str]:
    """Status of `python argv`, and what it wrote to standard output and standard error."""
    done = subprocess.run(
        [sys.executable, *argv], cwd=cwd, env=_environment(environment), capture_output=True, timeout=600
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def is_plain(text: str) -> bool:
    """Whether `text` holds no control character but the ends of lines."""
    return all(c == "\n" or (ord(c) >= 32 and ord(c) != 127) for c in text)


def _environment(changes: dict[str, str]) -> dict[str, str]:
    wanted = os.environ | PLAIN | changes
    return {name: value for name, value in wanted.items() if value or name not in PLAIN}
