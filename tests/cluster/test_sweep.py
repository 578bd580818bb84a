"""Sweeps through Hydra's launcher of SLURM jobs: one task preempted, one failing, each with a folder of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cluster.runs import STEPS, small, state, status, trial

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]


def tasks(folder: Path) -> list[Path]:
    found = [f for f in folder.iterdir() if f.is_dir() and re.fullmatch(r"\d+-[0-9a-f]+", f.name)]
    return sorted(found, key=lambda f: int(f.name.partition("-")[0]))


@pytest.mark.timeout(900)
def test_a_sweep_has_a_task_preempted_and_one_that_fails(shell, objects: Path, tmp_path: Path) -> None:
    sweep, go = tmp_path / "sweep", tmp_path / "go"
    failing = 1  # of the values of fails= that are ranks, 0 alone is one that there is
    values = ["7", "0", "8", "9", "10", "11"]
    argv = [
        "-m", "hydra/launcher=slurm", f"hydra.sweep.dir={sweep}", "hydra.launcher.cpus_per_task=1", "scale=laptop",
        *small(objects, tmp_path),
        *trial("${run.dir}/gates", go=go, gates="[3]", fails=",".join(values)),
    ]  # fmt: skip
    with (tmp_path / "master.log").open("wb") as log:
        master = subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *argv], cwd=tmp_path, env=shell.environment, stdout=log,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        shell.wait(lambda: len(list(sweep.glob("*/gates/step-3-rank-0"))) == 4, tmp_path)  # the node is full
        shell.submit("--partition=high", "--mem=100", "--wrap=true", cwd=tmp_path)

        def preempted() -> list[str]:
            rows = shell.run("squeue", "-h", "-r", "-p", "main", "-t", "pending", "-o", "%i %r").splitlines()
            return [row.split()[0] for row in rows if row.endswith(("BeginTime", "Cleaning"))]

        shell.wait(preempted, tmp_path)
        (job,) = preempted()
        shell.begin_again(job, 1, tmp_path)
        go.touch()
        shell.wait(lambda: master.poll() is not None, tmp_path)
    finally:
        master.kill()
        master.wait()
    said = (tmp_path / "master.log").read_text()
    assert master.returncode == 1 and "made to fail" in said, said

    folders = tasks(sweep)
    assert [f.name.partition("-")[0] for f in folders] == ["0", "1", "2", "3", "4", "5"]
    ended = [status(f) for f in folders]
    assert [s["state"] for s in ended] == ["failed" if i == failing else "finished" for i in range(6)], ended
    assert "made to fail" in ended[failing]["reason"]
    assert {i for i, s in enumerate(ended) if s["restarts"] == 1} == {int(job.partition("_")[2])}
    for folder, value in zip(folders, values, strict=True):
        config = json.loads((folder / "config.json").read_text())
        assert (config["run"]["dir"], config["callbacks"]["trial"]["fails"]) == (str(folder), int(value))
        if value != "0":
            assert state(folder)["global_step"] == STEPS

    told = shell.run(
        sys.executable, "-m", "one2345.cli.sweep_report", str(sweep), "--json", "--no-plots", cwd=ROOT
    )
    report = json.loads(told)
    assert (report["counts"]["finished"], report["counts"]["failed"]) == (5, 1)
    (row,) = (r for r in report["tasks"] if r["state"] == "failed")
    assert "made to fail" in row["reason"]


@pytest.mark.timeout(900)
def test_a_task_of_two_ranks_is_warned_and_submitted_again_by_submitit(
    shell, objects: Path, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    argv = [
        f"hydra.sweep.dir={sweep}", "hydra.launcher.cpus_per_task=1", "hydra.launcher.tasks_per_node=2", "seed=1",
        "trainer=ddp", "trainer.devices=2", "scale=laptop", *small(objects, tmp_path),
        *trial("${run.dir}/gates", gates="[3]"),
    ]  # fmt: skip
    master = shell.submit("--mem-per-cpu=100", str(ROOT / "slurm" / "sweep.sbatch"), *argv, cwd=tmp_path)
    shell.wait(lambda: len(list(sweep.glob("*/gates/step-3-rank-?"))) == 2, tmp_path, job=master)
    (folder,) = tasks(sweep)
    job = status(folder)["job"]
    shell.run("scancel", "--signal=USR2", job)
    shell.begin_again(job, 1, tmp_path)
    shell.wait_end(master, tmp_path)
    assert shell.show(master, "JobState") == ["COMPLETED"], (tmp_path / f"sweep-{master}.log").read_text()
    assert (status(folder)["state"], status(folder)["restarts"]) == ("finished", 1)
    assert state(folder)["global_step"] == STEPS
    (log,) = sweep.glob(".submitit/*/*_0_log.out")
    assert "requeued by submitit" in log.read_text()
    assert os.listdir(sweep).count(folder.name) == 1 and len(tasks(sweep)) == 1
