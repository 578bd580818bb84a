"""What a run folder says of its run: also of one that was killed, restarted, or failed before it began."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from one2345.cli import app, run_status
from one2345.cli.run_status import State, read_status, recorded, status_now
from one2345.cli.train import COMMAND
from one2345.errors import InputError

PROGRAM = """
import sys, time
from pathlib import Path
from one2345.cli.run_status import recorded
with recorded(Path(sys.argv[1]), overrides=["seed=1"]) as outcome:
    print("at work", flush=True)
    time.sleep(600 if len(sys.argv) == 2 else 0)
    outcome.objective = 0.75
"""


@contextmanager
def started(folder: Path, *argv: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PROGRAM, str(folder), *argv]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "at work\n"
        yield process


def test_killed_it_is_interrupted_and_then_it_finishes(tmp_path: Path) -> None:
    with started(tmp_path) as process:
        assert status_now(tmp_path).state is State.RUNNING
        process.send_signal(signal.SIGKILL)
    killed = status_now(tmp_path)
    assert killed.state is State.INTERRUPTED and "no end was recorded" in killed.reason
    assert killed.restarts == 0 and killed.overrides == ("seed=1",)
    with started(tmp_path, "at once"):
        pass
    after = status_now(tmp_path)
    assert (after.state, after.restarts, after.objective) == (State.FINISHED, 1, 0.75)
    assert after.seconds >= killed.seconds
    assert [f.name for f in tmp_path.iterdir()] == ["status.json"]


@pytest.mark.parametrize(
    ("error", "state", "reason", "code"),
    [
        (InputError("data.root=x: no such\nfolder"), State.FAILED, "data.root=x: no such; folder", 2),
        (RuntimeError("CUDA out of memory"), State.FAILED, "RuntimeError: CUDA out of memory", 1),
        (KeyboardInterrupt(), State.INTERRUPTED, "stopped by the keyboard", 130),
        (SystemExit(143), State.INTERRUPTED, "ended by signal 15", 143),
        (SystemExit(0), State.FINISHED, None, 0),
        (SystemExit("no"), State.FAILED, "exit status 1", 1),
    ],
)
def test_what_ends_a_run_is_kept(tmp_path: Path, error, state, reason, code) -> None:
    with pytest.raises(type(error)), recorded(tmp_path, overrides=[]):
        raise error
    status = read_status(tmp_path)
    assert (status.state, status.reason, status.exit_code) == (state, reason, code)


def _second_rank_fails(folder: Path) -> None:
    with pytest.raises(ValueError), recorded(folder, overrides=[], rank=1):
        raise ValueError("a bad sample")
    raise RuntimeError("connection closed by peer")


def test_the_cause_is_that_of_the_rank_which_failed_first(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), recorded(tmp_path, overrides=[]):
        _second_rank_fails(tmp_path)
    assert read_status(tmp_path).reason == "rank 1: ValueError: a bad sample"
    with recorded(tmp_path, overrides=[]):
        assert read_status(tmp_path).state is State.RUNNING
    assert read_status(tmp_path).state is State.FINISHED


def test_on_another_machine_silence_tells(tmp_path: Path) -> None:
    with recorded(tmp_path, overrides=[]):
        file = tmp_path / "status.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"host": "elsewhere", "pid": 2**22 + 1}))
        assert status_now(tmp_path).state is State.RUNNING
        past = time.time() - run_status.SILENT - 1
        os.utime(file, (past, past))
        assert status_now(tmp_path).state is State.INTERRUPTED


def test_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_status, "BEAT", 0.01)
    with recorded(tmp_path, overrides=[]):
        os.utime(tmp_path / "status.json", (1, 1))
        end = time.monotonic() + 60
        while (tmp_path / "status.json").stat().st_mtime < 2:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text('{"state": "running", "began"')
    with pytest.raises(InputError, match=r"status\.json is damaged"):
        read_status(tmp_path)
    with recorded(tmp_path, overrides=[]):  # and does not stop the run
        pass
    assert read_status(tmp_path).restarts == 0


def test_a_task_that_cannot_start_leaves_its_reason_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(app.Command, "main", lambda self, config: seen.append(config["seed"]))
    argv = ["-m", "scale=laptop", "trainer.max_steps=3,0", "seed=1,2", "run.id=s"]
    assert app.execute(COMMAND, argv) == 2
    assert "trainer.max_steps=0" in capsys.readouterr().err
    assert seen == [1, 2]
    folders = sorted((tmp_path / "experiments" / "runs" / "sdf_base" / "s").glob("[0-9]*"))
    states = [status_now(f) for f in folders]
    assert [s.state for s in states] == [State.FINISHED, State.FINISHED, State.FAILED, State.FAILED]
    assert "trainer.max_steps=0 trains nothing" in states[2].reason
    assert "trainer.max_steps=0" in states[2].overrides and states[2].exit_code == 2
