"""evaluate.sbatch: the processes of torchrun share the objects and write one report."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

SCRIPT = Path(__file__).parents[2] / "slurm" / "evaluate.sbatch"


@pytest.mark.timeout(600)
def test_two_processes_measure_each_object_once(shell, objects: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = shell.submit(
        "--export=ALL,ONE2345_PROCESSES=2", "--cpus-per-task=2", "--mem-per-cpu=100", str(SCRIPT), "data=folder",
        f"data.root={objects}", "data.test_split=all", f"out={out}", "scale=laptop", "scale.extract=16", "ckpt=null",
        "evaluate.sphere=false", "evaluate.pictures=false", "protocol.occupancy.resolutions=[64]",
        "protocol.points=1500", cwd=tmp_path,
    )  # fmt: skip
    shell.wait_end(job, tmp_path)
    log = (tmp_path / f"evaluate-{job}.log").read_text()
    assert shell.show(job, "JobState") == ["COMPLETED"], log
    assert (out / "report.html").is_file(), log
    (table,) = out.glob("*objects*.csv")
    with table.open() as file:
        rows = [(row["predictor"], row["object"]) for row in csv.DictReader(file)]
    names = sorted(f.name for f in (objects / "objects").iterdir())
    assert len(names) == 4 and len(rows) == len(set(rows))
    for predictor in {predictor for predictor, _ in rows}:
        assert sorted(name for who, name in rows if who == predictor) == names
