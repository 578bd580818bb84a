"""A SLURM of one's own on this machine: daemons, ports and files of this session only."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CPUS = 4  # more than this machine may have: what matters is that tasks overlap
NEEDED = ("slurmctld", "slurmd", "sbatch", "squeue", "scancel", "munged")

CONFIG = """
ClusterName=one2345
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=2
MinJobAge=600
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES GraceTime=120 MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=high Nodes={host} MaxTime=INFINITE State=UP PriorityTier=10
"""


@dataclass(frozen=True)
class Slurm:
    """environment: what its commands need. folder: its logs."""

    environment: dict[str, str]
    folder: Path

    def run(self, *argv: str, cwd: Path | None = None) -> str:
        """A command to its end, by this SLURM."""
        done = subprocess.run(
            argv, env=self.environment, cwd=cwd, capture_output=True, text=True, timeout=1200, check=False
        )
        assert done.returncode == 0, f"{argv}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout

    def submit(self, *argv: str, cwd: Path) -> str:
        """The id of the job."""
        return self.run("sbatch", "--parsable", *argv, cwd=cwd).strip()

    def ended(self, job: str) -> bool:
        alive = "pending,configuring,running,completing,requeued"
        return not self.run("squeue", "-h", "-j", job, "-t", alive).strip()

    def show(self, job: str, *keys: str) -> list[str]:
        """What SLURM says of a job: JobState, Restarts, ExitCode, ..."""
        told = self.run("scontrol", "show", "job", "-o", job).split()
        facts = dict(part.split("=", 1) for part in told if "=" in part)
        return [facts[key] for key in keys]

    def wait(
        self, true: Callable[[], object], logs: Path, seconds: float = 240.0, *, job: str | None = None
    ) -> None:
        """Until it is, or `job` has ended without it; `logs`: a folder whose *.log say what went on instead."""
        until(lambda: true() or (job and self.ended(job)), logs, "what the test waits for", seconds)
        said = "\n".join(f"{p.name}: {p.read_text()[-3000:]}" for p in logs.glob("*.log"))
        assert true(), (self.run("scontrol", "show", "job", job) if job else "") + said

    def wait_end(self, job: str, logs: Path, seconds: float = 240.0) -> None:
        self.wait(lambda: self.ended(job), logs, seconds)

    def begin_again(self, job: str, restarts: int, logs: Path) -> None:
        """Wait until the job is in the queue, started again so many times, and spare it the two minutes that SLURM
        has a requeued job wait. It needs some seconds: what is left of the job must be gone from its node."""
        self.wait(lambda: self.show(job, "JobState", "Restarts") == ["PENDING", str(restarts)], logs)
        self.run("scontrol", "update", f"JobId={job}", "StartTime=now+5")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no SLURM here ({', '.join(missing)} not installed: apt-get install slurm-wlm munge)")
    if os.geteuid() != 0:
        pytest.skip("a SLURM of one's own needs root")
    folder = tmp_path_factory.mktemp("slurm")
    started: list[subprocess.Popen[bytes]] = []
    try:
        made = _start(folder, started)
        yield made
        # A job's own daemons outlive those of the cluster unless it has ended.
        made.run("scancel", "--user=root")
        until(lambda: not made.run("squeue", "-h").strip(), folder, "the end of all jobs")
    finally:
        for daemon in reversed(started):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


@pytest.fixture
def shell(slurm: Slurm) -> Slurm:
    """A SLURM whose jobs run this interpreter on this checkout."""
    path = f"{ROOT / 'src'}:{ROOT}:{os.environ.get('PYTHONPATH', '')}"
    slurm.environment.update(ONE2345_PYTHON=sys.executable, ONE2345_ROOT=str(ROOT), PYTHONPATH=path)
    return slurm


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two objects to train on, one for validation, one for the test."""
    from one2345.cli import prepare

    out = tmp_path_factory.mktemp("objects") / "o"
    prepare.run(
        [
            "source=shapes", "source.train=2", "source.val=1", "source.test=1", "render.size=64", f"out={out}",
            "workers=1", "render.train_samples.surface_points=2000", "render.train_samples.sdf_points=2000",
        ]
    )  # fmt: skip
    return out


def _start(folder: Path, started: list[subprocess.Popen[bytes]]) -> Slurm:
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    config = folder / "slurm.conf"
    controller_port, node_port = _free_ports(2)
    config.write_text(
        CONFIG.format(
            host=host, folder=folder, cpus=CPUS, controller_port=controller_port, node_port=node_port
        )
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH"))}
    environment |= {"SLURM_CONF": str(config), "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"}

    def daemon(*argv: str) -> None:
        with (folder / f"{argv[0]}.out").open("wb") as log:
            started.append(
                subprocess.Popen(
                    argv, env=environment, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
                )
            )

    ends = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    munge = [f"--{name}={folder}/munge.{end}" for name, end in ends.items()]
    daemon("munged", "--foreground", "--force", *munge)
    until(lambda: (folder / "munge.socket").exists(), folder, "munged")
    daemon("slurmctld", "-D", "-f", str(config))
    daemon("slurmd", "-D", "-f", str(config), "-N", host)
    made = Slurm(environment, folder)

    def idle() -> bool:
        done = subprocess.run(
            ["sinfo", "-h", "-p", "main", "-o", "%t"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout.strip() == "idle"

    until(idle, folder, "slurmctld and slurmd")
    return made


def until(true, folder: Path, what: str, seconds: float = 240.0) -> None:
    over = time.monotonic() + seconds
    while not true():
        if time.monotonic() > over:
            logs = "\n".join(f"{p.name}: {p.read_text()[-1500:]}" for p in folder.glob("*.[lo][ou][gt]"))
            pytest.fail(f"{what} took longer than {seconds:.0f} s\n{logs}")
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports
