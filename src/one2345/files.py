"""Files that are whole or not there: written aside under a name that tells whose it is, then renamed."""

from __future__ import annotations

import os
import re
import socket
import uuid
from contextlib import suppress
from pathlib import Path

_ASIDE = re.compile(r"(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]{8}")


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write beside `path` and rename, so that a reader or a crash never meets half a file.

    Folders are made where they are missing; a str is written as UTF-8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{aside_name()}.tmp")
    try:
        aside.write_bytes(data.encode() if isinstance(data, str) else data)
        sync(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def remove_abandoned(folder: Path) -> None:
    """Remove what `write_atomic` calls of dead processes of this machine left in `folder`."""
    for file in folder.glob(".*.tmp"):
        if is_abandoned(file.name.removeprefix(".").removesuffix(".tmp")):
            with suppress(OSError):
                file.unlink()


def aside_name() -> str:
    """A name that no other writer uses, on this machine or another."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def is_abandoned(name: str) -> bool:
    """Whether `name` is an `aside_name` of a process of this machine that is no more."""
    match = _ASIDE.fullmatch(name)
    return match is not None and match["host"] == socket.gethostname() and not _alive(int(match["pid"]))


def sync(path: Path) -> None:
    """Have the system write a file or folder to the disk now."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
