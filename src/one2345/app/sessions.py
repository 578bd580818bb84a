"""What belongs to one visitor of the page: a folder, the work that runs, the result that is shown."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from one2345.errors import InputError
from one2345.files import aside_name, is_abandoned

from .jobs import Job

PREFIX = "one2345-app."


@dataclass
class Session:
    """folder: of this visitor alone. job: what runs for them, if anything. shown: the last result, which single views
    are made anew of. used: when they were last heard of (time.monotonic)."""

    folder: Path
    job: Job | None = None
    shown: Any = None
    used: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def begin(self, job: Job) -> None:
        """Start `job`. Raises InputError where another one runs, or too many wait."""
        with self._lock:
            if self.job is not None and self.job.running:
                raise InputError("something is being made for you already; wait for it or cancel it first")
            self.job = job.start()
            self.used = time.monotonic()

    def cancel(self) -> bool:
        """Stop what runs; whether anything did."""
        with self._lock:
            self.used = time.monotonic()
            if self.job is None or not self.job.running:
                return False
            self.job.cancel()
            return True

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder that is gone after the block."""
        made = self._folder("scratch")
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)

    @contextmanager
    def result(self) -> Iterator[Path]:
        """An empty folder for one result. Where the block ends well, results before it are removed, else it is."""
        made = self._folder("result")
        try:
            yield made
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        for other in self.folder.glob("result-*"):
            if other != made:
                shutil.rmtree(other, ignore_errors=True)

    def _folder(self, kind: str) -> Path:
        made = self.folder / f"{kind}-{uuid.uuid4().hex}"
        made.mkdir()
        return made


class Sessions:
    """The visitors, by the name that the page knows them by. Their folders lie in a new one below the system's for
    temporary files; `close` removes it, and so does the next start where a process was killed.

    idle_seconds: after which `sweep` removes a visitor who has nothing running. clock: for tests.
    """

    def __init__(
        self,
        *,
        idle_seconds: float,
        parent: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parent = Path(tempfile.gettempdir()) if parent is None else parent
        for left in parent.glob(f"{PREFIX}*"):
            if is_abandoned(left.name.removeprefix(PREFIX)):
                shutil.rmtree(left, ignore_errors=True)
        self.root = parent / f"{PREFIX}{aside_name()}"
        self.root.mkdir(mode=0o700)
        self.idle_seconds, self.clock = idle_seconds, clock
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def of(self, name: str) -> Session:
        """The session called `name`, made where there is none."""
        with self._lock:
            if name not in self._sessions:
                # The folder has a name of its own: that of a session comes from the browser.
                folder = self.root / uuid.uuid4().hex
                folder.mkdir(mode=0o700)
                self._sessions[name] = Session(folder)
            found = self._sessions[name]
            found.used = self.clock()
            return found

    def end(self, name: str) -> None:
        """Forget a session, stop what runs for it and remove its files."""
        with self._lock:
            found = self._sessions.pop(name, None)
        if found is not None:
            found.cancel()
            threading.Thread(target=_remove, args=(found,), daemon=True, name="removal").start()

    def sweep(self) -> list[str]:
        """End the sessions that have been idle for too long; their names."""
        now = self.clock()
        with self._lock:
            idle = [
                name
                for name, s in self._sessions.items()
                if now - s.used > self.idle_seconds and not (s.job is not None and s.job.running)
            ]
        for name in idle:
            self.end(name)
        return idle

    def __len__(self) -> int:
        return len(self._sessions)

    def close(self) -> None:
        """End all of them and remove every file."""
        for name in list(self._sessions):
            self.end(name)
        shutil.rmtree(self.root, ignore_errors=True)


def _remove(session: Session) -> None:
    """Remove the folder of a session, once nothing writes to it any more."""
    if session.job is not None:
        session.job.wait()
    shutil.rmtree(session.folder, ignore_errors=True)
