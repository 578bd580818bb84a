"""How a command ends that was asked to stop; and what is asked of SLURM, without one."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from one2345 import signals
from one2345.cli import slurm
from one2345.cli.exit_codes import CRASH, DONE, INPUT, RESUMABLE
from one2345.cli.run_status import State, read_status, recorded
from one2345.cli.stopping import resumable
from one2345.errors import InputError, Stopped


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "SUBMITIT_", "TORCHELASTIC_", slurm.LIMIT)) or name in (
            "RANK",
            "LOCAL_RANK",
        ):
            monkeypatch.delenv(name)
    before = {number: signal.getsignal(number) for number in signals.STOP}
    yield
    signals.restore(before)


@pytest.mark.parametrize("number", signals.STOP)
def test_a_request_ends_the_block_as_resumable_and_later_ones_change_nothing(number: int, capsys) -> None:
    with pytest.raises(SystemExit) as ended, resumable():
        os.kill(os.getpid(), number)
    assert ended.value.code == RESUMABLE
    os.kill(os.getpid(), signal.SIGTERM)
    assert f"stopped ({signal.Signals(number).name}); start the same command again" in capsys.readouterr().out


def test_of_several_ranks_only_the_first_says_so(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("SLURM_PROCID", "1")
    with pytest.raises(SystemExit) as ended, resumable():
        raise Stopped("SIGTERM at step 3")
    assert ended.value.code == DONE and not capsys.readouterr().out


def test_errors_and_a_good_end_give_the_signals_back() -> None:
    before = [signal.getsignal(number) for number in signals.STOP]
    with resumable():
        assert [signal.getsignal(number) for number in signals.STOP] != before
    assert [signal.getsignal(number) for number in signals.STOP] == before
    with pytest.raises(ValueError), resumable():
        raise ValueError("a defect")
    assert [signal.getsignal(number) for number in signals.STOP] == before


def test_the_run_is_recorded_as_preempted(tmp_path: Path) -> None:
    with pytest.raises(SystemExit), recorded(tmp_path, overrides=()), resumable():
        raise Stopped("SIGUSR1 at step 3")
    status = read_status(tmp_path)
    assert status is not None and (status.state, status.exit_code) == (State.PREEMPTED, RESUMABLE)


def test_nothing_is_requeued_that_slurm_does_not_know_to_be_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("SLURM_JOB_ID", "7")

    def resubmit() -> None:
        raise AssertionError("resubmitted")

    assert slurm.requeue(resubmit) == "not requeued: job 7 is unknown to SLURM"


@pytest.mark.parametrize("status", [DONE, INPUT, RESUMABLE])
def test_the_script_leaves_with_the_status_of_srun(status: int, capsys) -> None:
    assert slurm.main([str(status)]) == status
    assert not capsys.readouterr().out


def test_the_script_of_a_crash_asks_for_a_requeue(capsys) -> None:
    assert slurm.main(["137"]) == 137
    assert "exit status 137: start the same command again" in capsys.readouterr().out


def test_submitit_is_asked_by_the_handler_that_it_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def handler(number: int, frame: object) -> None:
        asked.append(number)
        sys.exit(-1)

    signal.signal(signal.SIGUSR2, handler)
    assert slurm.submitit_requeue() is None
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    resubmit = slurm.submitit_requeue()
    assert resubmit is not None
    resubmit()
    assert asked == [signal.SIGUSR2]


def test_ranks_of_srun_are_taken_as_they_are_and_must_be_those_that_are_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert slurm.trainer_plugins({"devices": 2}) == []
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_JOB_NAME", "one2345")
    (alone,) = slurm.trainer_plugins({"devices": 1})
    assert type(alone).__name__ == "LightningEnvironment"
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    (several,) = slurm.trainer_plugins({"devices": 2, "num_nodes": 2})
    assert (type(several).__name__, several.auto_requeue) == ("SLURMEnvironment", False)
    with pytest.raises(InputError, match=r"4 processes, but trainer.devices=1 and trainer.num_nodes=1"):
        slurm.trainer_plugins({"devices": 1})
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert slurm.trainer_plugins({"devices": 1}) == []


def test_the_limit_must_be_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(slurm.LIMIT, "many")
    with pytest.raises(InputError, match="ONE2345_REQUEUES=many"):
        slurm._most()


def test_the_codes_differ() -> None:
    assert len({DONE, CRASH, INPUT, RESUMABLE}) == 4
