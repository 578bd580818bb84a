"""Requests to stop: who gets them, and who does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from one2345 import signals

CHILD = """
import multiprocessing, os, sys, time
from pathlib import Path
from one2345 import signals

def work(here):
    signals.obey_parent()
    Path(here).write_text(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    with signals.deaf_children():
        child = multiprocessing.get_context("spawn").Process(target=work, args=(sys.argv[1],), daemon=True)
        child.start()
    sys.stdin.readline()
    child.terminate()
    child.join()
    print(child.exitcode)
"""


def ignored_or_blocked(pid: int, number: int) -> bool:
    lines = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool((int(lines["SigBlk"], 16) | int(lines["SigIgn"], 16)) >> (number - 1) & 1)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_deaf_child_outlives_all_requests_but_its_parents(tmp_path: Path) -> None:
    script, here = tmp_path / "child.py", tmp_path / "here"
    script.write_text(CHILD)
    parent = subprocess.Popen(
        [sys.executable, str(script), str(here)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        over = time.monotonic() + 60
        while not (here.exists() and here.read_text()):
            assert time.monotonic() < over and parent.poll() is None
            time.sleep(0.05)
        child = int(here.read_text())
        for number in signals.STOP:
            os.kill(child, number)  # from a process that is not its parent
        time.sleep(0.5)
        assert Path(f"/proc/{child}").exists()
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        for pid in map(int, children):  # the tracker of resources is among them
            assert all(ignored_or_blocked(pid, number) for number in signals.STOP)
        assert not any(ignored_or_blocked(parent.pid, number) for number in signals.STOP)
        said, _ = parent.communicate("\n", timeout=60)
        assert said.strip() == "0"
    finally:
        parent.kill()
        parent.wait()


def test_installed_handlers_are_given_back() -> None:
    before = {number: signal.getsignal(number) for number in signals.STOP}
    found: list[int] = []
    earlier = signals.install(lambda number, frame: found.append(number))
    try:
        for number in signals.STOP:
            os.kill(os.getpid(), number)
    finally:
        signals.restore(earlier)
    assert found == list(signals.STOP)
    assert {number: signal.getsignal(number) for number in signals.STOP} == before
