"""Preparation and prediction as SLURM arrays, on a true scheduler: shared by claims, one task killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from one2345.data.ledger import MANIFEST, Ledger
from one2345.views import list_objects, object_folder, read_object

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "slurm" / "prepare_array.sbatch"
COUNT = 12
SHAPES = [
    "source=shapes", f"source.train={COUNT}", "render.size=64", "plan=published", "render.targets=0",
    "render.train_samples.surface_points=2000", "render.train_samples.sdf_points=2000",
]  # fmt: skip


def wait_for(slurm, job: str, out: Path, seconds: float = 900.0) -> None:
    over = time.monotonic() + seconds
    while not slurm.ended(job):
        assert time.monotonic() < over, logs(out)
        time.sleep(0.5)


def logs(out: Path) -> str:
    return "\n".join(f"{p.name}: {p.read_text()[-2000:]}" for p in sorted(out.parent.glob("*.log")))


def makers(out: Path, stage: str) -> set[str]:
    rows = Ledger(out).rows(stage)
    assert [(row.state, row.made) for row in rows] == [("done", 1)] * COUNT, logs(out)
    return {row.maker.rsplit("-", 1)[0] for row in rows if row.maker}


@pytest.mark.timeout(2400)
def test_an_array_loses_a_task_and_no_object_and_is_predicted_by_another(shell, tmp_path: Path) -> None:
    out, predicted = tmp_path / "out", tmp_path / "predicted"
    job = shell.submit(
        "--array=0-2",
        "--cpus-per-task=1",
        "--mem-per-cpu=100",
        str(SCRIPT),
        *SHAPES,
        f"out={out}",
        cwd=tmp_path,
    )
    killed = None
    over = time.monotonic() + 600
    while killed is None:
        assert time.monotonic() < over and not shell.ended(job), logs(out)
        time.sleep(0.05)
        if (out / MANIFEST).is_file():
            made = {row.maker for row in Ledger(out).rows("render", states=("done",))}
            held = {row.worker for row in Ledger(out).rows("render", states=("claimed",))}
            for killed in sorted(worker for worker in made & held if worker)[:1]:
                os.kill(int(killed.split("-")[-2]), signal.SIGKILL)
    wait_for(shell, job, out)
    assert len(makers(out, "render")) >= 2
    assert list_objects(out) == sorted(row.id for row in Ledger(out).rows("render"))
    for id in list_objects(out):
        read_object(object_folder(out, id)).check()
    status = shell.run(sys.executable, "prepare.py", "stage=status", f"out={out}", "format=json", cwd=ROOT)
    assert json.loads(status)["render"]["counts"]["done"] == COUNT

    job = shell.submit(
        "--array=0-1", "--cpus-per-task=1", "--mem-per-cpu=100", str(SCRIPT), "stage=predict", f"root={out}",
        f"out={predicted}", "views=oracle", "views.size=32", *SHAPES[:2], cwd=tmp_path,
    )  # fmt: skip
    wait_for(shell, job, predicted)
    assert makers(predicted, "predict")
    assert all(len(list((predicted / id).glob("*.png"))) == 32 for id in list_objects(out))


@pytest.mark.timeout(2400)
def test_hydra_submits_the_jobs_itself(shell, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shell.run(
        sys.executable, str(ROOT / "prepare.py"), "-m", "hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1",
        *SHAPES, f"out={out}", "workers=1,1", cwd=tmp_path,
    )  # fmt: skip
    makers(out, "render")
    assert list(tmp_path.rglob(".submitit/*/*.out"))
