"""Preparation under kill -9, and by several processes at once: the files of an undisturbed run.

A run that is to be killed has one object that takes for ever, and is killed by how far it has come: it is at work
then on a machine of any speed.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.data.spheres import RECIPE, Balls, tree

from one2345.data import prepare_objects
from one2345.data.ledger import MANIFEST, STATES, Ledger, Row, State
from one2345.views import list_objects, object_folder, read_object

pytestmark = pytest.mark.slow

COUNT, WORKERS, PAUSE = 8, 2, 0.4
PATIENCE = 200.0  # seconds
CODE = """
import sys
from tests.data.spheres import RECIPE, Balls
from one2345.data import prepare_objects
if __name__ == "__main__":
    balls = Balls({count}, pause={pause}, slow={slow})
    print(prepare_objects(balls, out=sys.argv[1], recipe=RECIPE, workers={workers}))
"""


def start(
    out: Path, script: Path, *, workers: int = WORKERS, slow: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    """A run of its own; `slow` take for ever."""
    script.write_text(CODE.format(count=COUNT, pause=PAUSE, workers=workers, slow=slow))
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


def until(true: Callable[[], bool], run: subprocess.Popen[str]) -> None:
    """Wait for something to be true while `run` is at work."""
    over = time.monotonic() + PATIENCE
    while not true():
        assert run.poll() is None, run.communicate()[1]
        assert time.monotonic() < over
        time.sleep(0.02)


def rows(out: Path, *states: State) -> list[Row]:
    """The objects of `out` in one of `states` (none: in any); none where there is no manifest yet."""
    return Ledger(out).rows("render", states=states or STATES) if (out / MANIFEST).is_file() else []


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
    draws, seen = random.Random(5), 0
    for _ in range(5):
        run = start(killed, tmp_path / "run.py", slow=(f"ball-{COUNT - 1}",))
        wanted = min(len(rows(killed, "done")) + draws.randint(0, 2), COUNT - 1)
        until(
            lambda wanted=wanted: (killed / MANIFEST).is_file() and len(rows(killed, "done")) >= wanted, run
        )
        time.sleep(draws.uniform(0.0, 2 * PAUSE))
        assert run.poll() is None
        run.send_signal(signal.SIGKILL)
        run.communicate()
        there = whole(killed)
        assert len(there) >= max(seen, wanted)
        seen = len(there)
    finish(start(killed, tmp_path / "run.py"))
    assert whole(killed) == list_objects(undisturbed)
    assert hashes(killed) == hashes(undisturbed)
    assert tree(killed) == tree(undisturbed)


def test_processes_at_once_make_each_object_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    runs = [start(out, tmp_path / f"{n}.py") for n in range(2)]
    said = [finish(run) for run in runs]
    made = Ledger(out).rows("render")
    assert [(row.state, row.made) for row in made] == [("done", 1)] * COUNT
    assert sum(int(line.split(": ")[1].split()[0]) for line in said) == COUNT
    assert len(whole(out)) == COUNT


def test_what_a_killed_run_held_is_taken_up_by_one_that_waits(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = start(out, tmp_path / "first.py", slow=("ball-0", "ball-1"))
    until(lambda: len(rows(out, "claimed")) > 1, first)
    (holder,) = {row.worker for row in rows(out, "claimed")}
    second = start(out, tmp_path / "second.py")
    # Until nothing is left but what the first one holds, and will for ever.
    until(lambda: {row.worker for row in rows(out, "waiting", "claimed")} == {holder}, second)
    assert first.poll() is None and len(rows(out, "done")) < COUNT
    first.kill()
    first.communicate()
    finish(second)
    assert hashes(out).keys() == {f"ball-{i}" for i in range(COUNT)} and len(whole(out)) == COUNT
    assert {row.state for row in rows(out)} == {"done"}


def test_a_run_that_is_told_to_end_gives_its_claims_back(tmp_path: Path) -> None:
    out = tmp_path / "out"
    argv = ["source=shapes", "source.train=200", "render.size=64", "workers=1", f"out={out}"]
    run = subprocess.Popen(
        [sys.executable, "-m", "one2345.cli.prepare", *argv], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    until(lambda: bool(rows(out, "claimed")), run)
    run.terminate()
    run.communicate(timeout=PATIENCE)
    assert run.returncode == 128 + signal.SIGTERM
    assert not rows(out, "claimed", "failed") and rows(out, "waiting")
