"""What is asked of SLURM: to start this job again, or never again; and which ranks it has started."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from one2345.cli.exit_codes import DONE, INPUT, RESUMABLE
from one2345.errors import InputError

LIMIT = "ONE2345_REQUEUES"
"""Environment variable: so many times a job is started again, counted by SLURM over all reasons."""
MOST = 20


def requeue(resubmit: Callable[[], object] | None = None) -> str:
    """Have this job started again if it is a batch job of SLURM; a line that says what came of it.

    resubmit: how, instead of `scontrol requeue`. One that SLURM is ending already (scancel, preemption without a grace
    time, the time limit itself) is left to it: requeued, it would defy a scancel.
    """
    if (job := os.environ.get("SLURM_JOB_ID")) is None:
        return "start the same command again to go on"
    if (state := _state(job)) != "RUNNING":
        return f"not requeued: job {job} is {state or 'unknown'} to SLURM"
    if resubmit is not None:
        resubmit()
        return f"job {job} is requeued by submitit"
    done, most = int(os.environ.get("SLURM_RESTART_COUNT") or 0), _most()
    if done >= most:
        return f"not requeued: job {job} was started again {done} times, {LIMIT}={most}"
    if failure := _scontrol("requeue", job)[1]:
        return f"not requeued: {failure}"
    return f"job {job} is requeued, for the {done + 1}. of at most {most} times"


def never_again() -> None:
    """Have SLURM refuse to start this job again, where the status of one of several ranks may be lost among theirs."""
    job, tasks = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_NTASKS", "1")
    if job is not None and tasks != "1":
        _scontrol("update", f"JobId={job}", "Requeue=0")


def submitit_requeue() -> Callable[[], object] | None:
    """How submitit has a job of its own started again: the handler it has set for SIGUSR2. None outside of one."""
    handler = signal.getsignal(signal.SIGUSR2) if hasattr(signal, "SIGUSR2") else None
    if os.environ.get("SUBMITIT_EXECUTOR") != "slurm" or not callable(handler):
        return None

    def resubmit() -> None:
        with suppress(SystemExit):
            handler(signal.SIGUSR2, None)

    return resubmit


def trainer_plugins(trainer: Mapping[str, Any]) -> list[Any]:
    """Lightning's view of the ranks that srun has started, without a hand on their signals.

    `trainer`: arguments of the Trainer. InputError where they want other ranks than there are: each of them would train
    a run of its own in the same folder.
    """
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    if "TORCHELASTIC_RUN_ID" in os.environ or not SLURMEnvironment.detect():
        return []
    tasks = int(os.environ["SLURM_NTASKS"])
    if tasks == 1:
        return [LightningEnvironment()]  # which starts further ranks itself where trainer=ddp asks for them
    devices, nodes = trainer.get("devices"), trainer.get("num_nodes", 1)
    if isinstance(devices, int) and devices > 0 and devices * nodes != tasks:
        raise InputError(
            f"srun has started {tasks} processes, but trainer.devices={devices} and trainer.num_nodes={nodes}: their "
            "product must be the same (slurm/train.sbatch sees to that)"
        )
    return [SLURMEnvironment(auto_requeue=False)]


def _most() -> int:
    told = os.environ.get(LIMIT) or str(MOST)
    if not told.isdigit():
        raise InputError(f"{LIMIT}={told}: must be a whole number")
    return int(told)


def _state(job: str) -> str | None:
    """RUNNING, COMPLETING, ...; None if SLURM does not say."""
    found = re.search(r"\bJobState=(\w+)", _scontrol("show", "job", "-o", job)[0])
    return found[1] if found else None


def _scontrol(*argv: str) -> tuple[str, str]:
    """Its output, and its complaint if it failed."""
    try:
        done = subprocess.run(["scontrol", *argv], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"scontrol {argv[0]}: {error}"
    return done.stdout, (done.stderr or done.stdout).strip() if done.returncode else ""


def main(argv: list[str]) -> int:
    """For the end of a batch script, `python -m one2345.cli.slurm STATUS`: requeue the job if that status of srun tells
    of a crash. The status that the script should leave with."""
    status = int(argv[0])
    if status not in (DONE, INPUT, RESUMABLE):
        print(f"exit status {status}: {requeue()}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
