"""Signals in training: noted, heeded at the end of a step, by all ranks; and a rank that fails ends the others."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from tests.training.small_run import Line, fit, send

from one2345.checkpoint_folder import newest
from one2345.errors import Stopped
from one2345.signals import STOP

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in STOP}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def step_of(folder: Path) -> int:
    found = newest(folder)
    assert found is not None
    return torch.load(found, weights_only=True)["global_step"]


@pytest.mark.parametrize("number", STOP)
def test_a_signal_in_a_step_stops_training_once_that_step_is_saved(number: int, tmp_path: Path) -> None:
    module = Line({("train", 1): partial(send, number)})
    with pytest.raises(Stopped, match=rf"^{signal.Signals(number).name} at step 2$"):
        fit(tmp_path, module)
    assert module.seen == [("train", 0), ("train", 1)]
    assert step_of(tmp_path) == 2


def test_inside_an_accumulation_the_whole_step_is_awaited(tmp_path: Path) -> None:
    module = Line({("train", 3): partial(send, signal.SIGTERM)})
    with pytest.raises(Stopped, match="step 2"):
        fit(tmp_path, module, accumulate_grad_batches=3)
    assert module.seen[-1] == ("train", 5)
    assert step_of(tmp_path) == 2


def test_a_validation_is_abandoned_and_made_again_by_the_run_that_goes_on(tmp_path: Path) -> None:
    module = Line({("validate", 1): partial(send, signal.SIGUSR1)})
    with pytest.raises(Stopped, match="step 4"):
        fit(tmp_path, module)
    assert module.seen[-1] == ("validate", 1)
    assert step_of(tmp_path) == 4
    again = Line()
    fit(tmp_path, again, ckpt=newest(tmp_path))
    assert again.seen[:5] == [("validate", i) for i in range(4)] + [("train", 4)]


def test_a_signal_in_the_last_validation_waits_for_the_end_of_training(tmp_path: Path) -> None:
    module = Line({("validate", 0): lambda: len(module.seen) > 16 and send(signal.SIGUSR1)})
    with pytest.raises(Stopped, match="SIGUSR1 after the last step"):
        fit(tmp_path, module)
    assert module.seen[-4:] == [("validate", i) for i in range(4)]
    assert step_of(tmp_path) == 12


def test_nobody_else_handles_the_signals_and_they_are_given_back(tmp_path: Path) -> None:
    during: list[object] = []

    def look() -> None:
        during.extend(getattr(signal.getsignal(n), "__qualname__", None) for n in STOP)

    for number in STOP:
        signal.signal(number, signal.SIG_IGN)
    fit(tmp_path, Line({("train", 1): look}))
    assert during == ["Preemption._note"] * len(STOP)
    assert [signal.getsignal(number) for number in STOP] == [signal.SIG_IGN] * len(STOP)


def test_a_state_that_cannot_be_saved_does_not_keep_training_from_stopping(tmp_path: Path) -> None:
    def full() -> None:
        (tmp_path / "step-00000002.ckpt").mkdir()  # as good as a disk that takes no more
        send(signal.SIGTERM)

    with pytest.raises(Stopped, match=r"at step 2, which could not be saved"):
        fit(tmp_path, Line({("train", 1): full}))


def ranks(folder: Path, what: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Two ranks of torchrun, and the seconds that they took."""
    started = time.monotonic()
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
            str(ROOT / "tests" / "training" / "small_run.py"), str(folder), what,
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    return done, time.monotonic() - started


@pytest.mark.slow
def test_ranks_of_torchrun_stop_together_at_the_signal_to_one(tmp_path: Path) -> None:
    done, _ = ranks(tmp_path, "signal")
    assert done.returncode == 0, done.stderr[-3000:]
    # Two processes write to one stream: a line's end may come after the other's line.
    said = sorted(re.findall(r"rank \d: .*?(?=rank \d|$)", done.stdout, re.MULTILINE))
    assert said == ["rank 0: a signal to another rank at step 6", "rank 1: SIGUSR2 at step 6"]
    assert step_of(tmp_path) == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "message"), [("raise", "rank 1 failed: ValueError: of its own"), ("kill", "exitcode  : -9")]
)
def test_a_rank_that_fails_ends_all_with_its_message(what: str, message: str, tmp_path: Path) -> None:
    _, healthy = ranks(tmp_path / "a", "nothing")
    done, seconds = ranks(tmp_path / "b", what)
    assert done.returncode != 0
    assert message in done.stderr
    assert seconds < healthy + 60
