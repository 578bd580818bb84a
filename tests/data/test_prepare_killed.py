"""Preparation under kill -9, and by several processes at once: the files of an undisturbed run."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.data.spheres import RECIPE, Balls, tree

from one2345.data import prepare_objects
from one2345.data.ledger import MANIFEST, Ledger
from one2345.views import list_objects, object_folder, read_object

pytestmark = pytest.mark.slow

COUNT, WORKERS, PAUSE = 8, 2, 0.4
CODE = """
import sys
from tests.data.spheres import RECIPE, Balls
from one2345.data import prepare_objects
if __name__ == "__main__":
    print(prepare_objects(Balls({count}, pause={pause}), out=sys.argv[1], recipe=RECIPE, workers={workers}))
"""


def start(out: Path, script: Path, *, workers: int = WORKERS) -> subprocess.Popen[str]:
    script.write_text(CODE.format(count=COUNT, pause=PAUSE, workers=workers))
    root = Path(__file__).parents[2]
    env = {"PYTHONPATH": f"{root}:{root / 'src'}", "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(script), str(out)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(run: subprocess.Popen[str]) -> str:
    said, errors = run.communicate(timeout=240)
    assert run.returncode == 0, errors
    return said


def whole(out: Path) -> list[str]:
    """What a loader sees; each of it must be complete."""
    if not (out / "dataset.json").is_file():
        return []
    for id in list_objects(out):
        record = read_object(object_folder(out, id))
        record.check()
    return list_objects(out)


def hashes(out: Path) -> dict[str, tuple[str, str | None]]:
    return {row.id: (row.state, row.hash) for row in Ledger(out).rows("render")}


def test_kill_9_at_random_moments_costs_nothing_but_time(tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    prepare_objects(Balls(COUNT), out=undisturbed, recipe=RECIPE, workers=1)
    draws, seen, ended = random.Random(5), 0, 0
    for _ in range(5):
        run = start(killed, tmp_path / "run.py")
        while run.poll() is None and not (killed / MANIFEST).is_file():
            time.sleep(0.02)
        time.sleep(draws.uniform(0.0, 6.0))
        ended += run.poll() is None
        run.send_signal(signal.SIGKILL)
        run.communicate()
        there = whole(killed)
        assert len(there) >= seen
        seen = len(there)
    assert ended >= 2  # killed at work, not after it
    finish(start(killed, tmp_path / "run.py"))
    assert whole(killed) == list_objects(undisturbed)
    assert hashes(killed) == hashes(undisturbed)
    assert tree(killed) == tree(undisturbed)


def test_processes_at_once_make_each_object_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    runs = [start(out, tmp_path / f"{n}.py") for n in range(2)]
    said = [finish(run) for run in runs]
    rows = Ledger(out).rows("render")
    assert [(row.state, row.made) for row in rows] == [("done", 1)] * COUNT
    assert sum(int(line.split(": ")[1].split()[0]) for line in said) == COUNT
    assert len(whole(out)) == COUNT


def test_what_a_killed_run_held_is_taken_up_by_one_that_waits(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = start(out, tmp_path / "first.py")
    while first.poll() is None and not ((out / MANIFEST).is_file() and Ledger(out).counts("render")["done"]):
        time.sleep(0.05)
    second = start(out, tmp_path / "second.py")
    time.sleep(0.5)
    first.kill()
    first.communicate()
    finish(second)
    assert {row.state for row in Ledger(out).rows("render")} == {"done"} and len(whole(out)) == COUNT


def test_a_run_that_is_told_to_end_gives_its_claims_back(tmp_path: Path) -> None:
    out = tmp_path / "out"
    argv = ["source=shapes", "source.train=40", "render.size=64", "workers=1", f"out={out}"]
    run = subprocess.Popen([sys.executable, "-m", "one2345.cli.prepare", *argv], cwd=tmp_path)
    while run.poll() is None and not ((out / MANIFEST).is_file() and Ledger(out).counts("render")["claimed"]):
        time.sleep(0.05)
    run.terminate()
    assert run.wait(60) == 128 + signal.SIGTERM
    counts = Ledger(out).counts("render")
    assert counts["claimed"] == counts["failed"] == 0 and counts["waiting"] > 0
