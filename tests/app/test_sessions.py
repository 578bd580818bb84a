"""Visitors: what is theirs alone, and that nothing of it stays."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from one2345.app.jobs import Job
from one2345.app.sessions import PREFIX, Sessions
from one2345.errors import InputError
from one2345.files import aside_name


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def sessions(tmp_path: Path, clock: list[float]):
    made = Sessions(idle_seconds=100, parent=tmp_path, clock=lambda: clock[0])
    yield made
    made.close()
    assert not made.root.exists()


def gone(folder: Path) -> bool:
    for _ in range(100):
        if not folder.exists():
            return True
        time.sleep(0.02)
    return False


def test_each_has_a_folder_that_others_cannot_name(sessions: Sessions) -> None:
    a, b = sessions.of("../../etc"), sessions.of("b")
    assert a.folder != b.folder and a.folder.parent == b.folder.parent == sessions.root
    assert sessions.of("b") is b
    assert "etc" not in a.folder.name and os.stat(sessions.root).st_mode & 0o077 == 0


def test_one_piece_of_work_at_a_time_for_each(sessions: Sessions) -> None:
    go = threading.Event()
    a, b = sessions.of("a"), sessions.of("b")
    a.begin(Job(lambda job: go.wait(5), seconds=10))
    with pytest.raises(InputError, match="being made for you already"):
        a.begin(Job(lambda job: None, seconds=10))
    b.begin(Job(lambda job: None, seconds=10))
    go.set()
    assert a.job is not None and a.job.wait(5)
    a.begin(Job(lambda job: None, seconds=10))


def test_cancelling_is_for_one_alone(sessions: Sessions) -> None:
    go = threading.Event()

    def work(job: Job) -> None:
        go.wait(5)
        job.check()

    a, b = sessions.of("a"), sessions.of("b")
    a.begin(Job(work, seconds=10))
    b.begin(Job(work, seconds=10))
    assert a.cancel()
    go.set()
    assert a.job and b.job and a.job.wait(5) and b.job.wait(5)
    assert [type(e).__name__ for e in list(a.job.batches())[-1]] == ["Failed"]
    assert [type(e).__name__ for e in list(b.job.batches())[-1]] == ["Finished"]
    assert not a.cancel()


def test_only_the_last_result_is_kept(sessions: Sessions) -> None:
    session = sessions.of("a")
    with session.scratch() as scratch, session.result() as first:
        (first / "mesh.glb").write_bytes(b"1")
        assert scratch.is_dir()
    with session.result() as second:
        assert first.is_dir(), "it is shown until the next one is whole"
    assert not first.exists() and second.is_dir() and not scratch.exists()
    with pytest.raises(InputError), session.result() as third:
        raise InputError("x")
    assert not third.exists() and second.is_dir()


def test_those_who_left_and_the_idle_are_forgotten(sessions: Sessions, clock: list[float]) -> None:
    a, b, busy = sessions.of("a"), sessions.of("b"), sessions.of("busy")
    go = threading.Event()
    busy.begin(Job(lambda job: go.wait(5), seconds=10))
    busy.used = 0.0
    sessions.end("a")
    assert gone(a.folder)
    clock[0] = 50.0
    assert sessions.sweep() == []
    clock[0] = 101.0
    assert sessions.sweep() == ["b"] and gone(b.folder), "busy is still at work"
    go.set()


def test_files_go_when_the_work_on_them_has_ended(sessions: Sessions) -> None:
    session, go = sessions.of("a"), threading.Event()

    def work(job: Job) -> None:
        go.wait(5)
        (session.folder / "late").write_text("x")

    session.begin(Job(work, seconds=10))
    sessions.end("a")
    assert session.folder.exists()
    go.set()
    assert gone(session.folder)


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    dead = subprocess.run(
        [sys.executable, "-c", "from one2345.files import aside_name; print(aside_name())"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    left, alive = tmp_path / f"{PREFIX}{dead}", tmp_path / f"{PREFIX}{aside_name()}"
    for folder in (left, alive):
        folder.mkdir()
    Sessions(idle_seconds=1, parent=tmp_path).close()
    assert not left.exists() and alive.exists()
