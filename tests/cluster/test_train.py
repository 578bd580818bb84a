"""Training as a job of two ranks on a true scheduler: whatever interrupts it, it ends as if nothing had."""

from __future__ import annotations

import csv
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from tests.cluster.runs import STEPS, equal, small, state, status, trial

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
TRAIN = ROOT / "slurm" / "train.sbatch"
TWO = ("--ntasks-per-node=2", "--cpus-per-task=1", "--mem-per-cpu=100")


def rank_pid(job: str, rank: int) -> int:
    """The process of a rank of a job."""
    wanted = {f"SLURM_JOB_ID={job}".encode(), f"SLURM_PROCID={rank}".encode()}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = set((process / "environ").read_bytes().split(b"\0"))
            if wanted <= environment and b"train.py" in (process / "cmdline").read_bytes():
                return int(process.name)
        except OSError:
            continue
    raise AssertionError(f"job {job} has no rank {rank}")


@pytest.mark.timeout(900)
def test_a_run_interrupted_in_all_ways_ends_with_the_weights_of_one_that_was_not(
    shell, objects: Path, tmp_path: Path
) -> None:
    gates = tmp_path / "gates"

    def reached(step: int) -> bool:
        return all((gates / f"step-{step}-rank-{rank}").exists() for rank in (0, 1))

    plain = shell.submit(*TWO, str(TRAIN), *small(objects, tmp_path, "run.id=plain"), cwd=tmp_path)
    argv = small(objects, tmp_path, "run.id=disturbed", *trial(gates, gates="[2,6,9,13]"))
    job = shell.submit(*TWO, "--time=60", str(TRAIN), *argv, cwd=tmp_path)
    shell.wait_end(plain, tmp_path)
    assert shell.show(plain, "JobState", "Restarts") == ["COMPLETED", "0"], log_of(tmp_path, plain)

    shell.wait(lambda: reached(2), tmp_path, job=job)
    shell.submit("--partition=high", "--exclusive", "--mem=100", "--wrap=true", cwd=tmp_path)  # preempts it
    shell.begin_again(job, 1, tmp_path)
    shell.wait(lambda: reached(6), tmp_path, job=job)
    shell.run("scancel", "--signal=USR2", job)
    shell.begin_again(job, 2, tmp_path)
    shell.wait(lambda: reached(9), tmp_path, job=job)
    os.kill(rank_pid(job, 1), signal.SIGKILL)
    killed = time.monotonic()
    shell.begin_again(job, 3, tmp_path)
    assert time.monotonic() - killed < 60
    shell.wait(lambda: reached(13), tmp_path, job=job)
    (elapsed,) = shell.show(job, "RunTime")
    hours, minutes, _ = elapsed.split(":")
    # Whole minutes: the end is one to two away, and the warning comes a minute before it.
    shell.run("scontrol", "update", f"JobId={job}", f"TimeLimit={60 * int(hours) + int(minutes) + 2}")
    shell.begin_again(job, 4, tmp_path)
    shell.run("scontrol", "update", f"JobId={job}", "TimeLimit=60")
    shell.wait_end(job, tmp_path)
    log = log_of(tmp_path, job)
    assert shell.show(job, "JobState", "Restarts") == ["COMPLETED", "4"], log

    for said in (
        "stopped (SIGTERM at step 3); ", "requeued, for the 1. of", "stopped (SIGUSR2 at step 7); ",
        "requeued, for the 2. of", "exit status", "requeued, for the 3. of", "stopped (SIGUSR1 at step 14); ",
        "requeued, for the 4. of",
    ):  # fmt: skip
        assert log.count(said) == 1, f"{said}: {log}"
    undisturbed, disturbed = (
        state(tmp_path / "debug_limit" / "plain"),
        state(tmp_path / "debug_limit" / "disturbed"),
    )
    assert undisturbed["global_step"] == disturbed["global_step"] == STEPS
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert equal(undisturbed[part], disturbed[part]), part
    with (tmp_path / "debug_limit" / "disturbed" / "metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == sorted(set(steps)) and len([s for s in steps if s < STEPS]) == STEPS
    ended = status(tmp_path / "debug_limit" / "disturbed")
    assert (ended["state"], ended["restarts"]) == ("finished", 4)


@pytest.mark.timeout(600)
def test_a_rank_that_raises_ends_the_job_with_its_message(shell, objects: Path, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    argv = small(objects, tmp_path, "run.id=failing", *trial(marks, fails=1))
    job = shell.submit("--export=ALL,ONE2345_REQUEUES=0", *TWO, str(TRAIN), *argv, cwd=tmp_path)
    shell.wait(lambda: (marks / "failed").exists(), tmp_path, job=job)
    shell.wait_end(job, tmp_path, 60)
    log = log_of(tmp_path, job)
    assert "rank 1 failed: RuntimeError: made to fail" in log
    assert f"not requeued: job {job} was started again 0 times, ONE2345_REQUEUES=0" in log
    assert shell.show(job, "JobState", "Restarts") == ["FAILED", "0"]
    ended = status(tmp_path / "debug_limit" / "failing")
    assert ended["state"] == "failed" and "made to fail" in ended["reason"], ended


@pytest.mark.timeout(600)
def test_an_error_of_configuration_is_not_tried_again(shell, objects: Path, tmp_path: Path) -> None:
    argv = small(objects, tmp_path, "run.id=wrong", "model.no_such_key=1")
    job = shell.submit(*TWO, str(TRAIN), *argv, cwd=tmp_path)
    shell.wait_end(job, tmp_path)
    assert shell.show(job, "JobState", "Restarts", "Requeue") == ["FAILED", "0", "0"]
    # srun leaves with the highest status of its tasks: 143 where it ended the other rank before that one refused, too.
    assert shell.show(job, "ExitCode")[0] in ("2:0", "143:0")
    assert "error: " in log_of(tmp_path, job) and "no_such_key" in log_of(tmp_path, job)


def log_of(folder: Path, job: str) -> str:
    return (folder / f"train-{job}.log").read_text()


WAITS = """
import time
from pathlib import Path
from one2345.cli.stopping import resumable
with resumable():
    Path("here").touch()
    time.sleep(600)
"""


@pytest.fixture
def waiting(shell, tmp_path: Path):
    """A job that only waits, resumable, without torch."""
    (tmp_path / "waits.py").write_text(WAITS)

    def submit(**environment: str) -> str:
        (tmp_path / "here").unlink(missing_ok=True)
        export = ",".join(["--export=ALL", *(f"{k}={v}" for k, v in environment.items())])
        command = f"srun --mem=50 {sys.executable} waits.py; exec {sys.executable} -m one2345.cli.slurm $?"
        job = shell.submit(export, "--mem=50", "--open-mode=append", "--output=train-%j.log", f"--wrap={command}",
                           cwd=tmp_path)  # fmt: skip
        shell.wait((tmp_path / "here").exists, tmp_path, job=job)
        return job

    return submit


def test_a_cancelled_job_stays_cancelled(shell, waiting, tmp_path: Path) -> None:
    job = waiting()
    shell.run("scancel", job)
    shell.wait_end(job, tmp_path, 60)
    assert shell.show(job, "JobState", "Restarts") == ["CANCELLED", "0"], log_of(tmp_path, job)


def test_a_job_is_requeued_so_many_times_and_then_says_that_it_could_go_on(
    shell, waiting, tmp_path: Path
) -> None:
    job = waiting(ONE2345_REQUEUES="1")
    (tmp_path / "here").unlink()
    shell.run("scancel", "--signal=USR1", job)
    shell.begin_again(job, 1, tmp_path)
    shell.wait((tmp_path / "here").exists, tmp_path, job=job)
    shell.run("scancel", "--signal=USR1", job)
    shell.wait_end(job, tmp_path)
    assert shell.show(job, "JobState", "Restarts", "ExitCode") == ["FAILED", "1", "75:0"]
    assert "was started again 1 times" in log_of(tmp_path, job)
