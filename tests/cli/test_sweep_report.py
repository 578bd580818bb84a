"""The report of a sweep whose tasks ended in every way there is."""

import csv
import json
import re
import socket
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from one2345.cli import sweep_report
from one2345.cli.sweep_table import sweep_table

NASTY = "</td><script>alert('$x$')</script>"


def task(
    folder: Path,
    number: int,
    state: str,
    *overrides: str,
    curve: dict[int, float] | None = None,
    **record: object,
) -> Path:
    """One task's folder, as it is left behind."""
    inner = folder / f"{number}-{number:08x}"
    inner.mkdir(parents=True)
    told = ["sweep=grid", *overrides]
    record = {"state": state, "began": time.time() - 90, "overrides": told, "host": "elsewhere", **record}
    (inner / "status.json").write_text(json.dumps(record))
    (inner / "config.json").write_text(json.dumps({"trainer": {"max_steps": 40}, "run": {"choices": {}}}))
    if curve is not None:
        lines = ["step,loss/total,val/iou", "3,0.5,"]
        lines += [f"{step},,{value}" for step, value in curve.items()]
        (inner / "metrics.csv").write_text("\n".join([*lines, "39,0.1"]))  # the last row is half written
    return inner


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "a sweep, <i>"
    task(
        folder,
        0,
        "finished",
        "optim.lr=1e-4",
        "seed=0",
        objective=0.5,
        seconds=3725.0,
        curve={9: 0.3, 19: 0.5},
    )
    task(
        folder, 1, "finished", "optim.lr=1e-2", "seed=0", objective=0.75, restarts=2, curve={9: 0.4, 19: 0.75}
    )
    task(folder, 2, "failed", "optim.lr=1e-3", "seed=0", reason=f"RuntimeError: {NASTY}", exit_code=1)
    task(folder, 3, "preempted", "optim.lr=1e-3", f"data.root={NASTY}", "seed=0", job="77_3", exit_code=75)
    task(folder, 4, "running", "optim.lr=1e-3", "seed=0", curve={9: 0.2})
    task(folder, 5, "running", "optim.lr=1e-3", "seed=0", host=socket.gethostname(), pid=2**22 + 1)
    (folder / "6-00000006").mkdir()
    for job in ("77_3", "77_7"):
        (folder / ".submitit" / job).mkdir(parents=True)
        (folder / ".submitit" / job / f"{job}_submitted.pkl").touch()
    return folder


def test_every_end_is_told_apart_and_the_best_is_named(sweep: Path) -> None:
    table = sweep_table(sweep)
    assert table.counts() == {
        "running": 1, "finished": 2, "failed": 1, "preempted": 1, "interrupted": 2, "waiting": 1,
    }  # fmt: skip
    assert table.best is table.rows[1] and table.rows[1].restarts == 2
    assert table.settings == ("optim.lr", "data.root")
    assert table.rows[2].reason == f"RuntimeError: {NASTY}"
    assert "no end was recorded" in str(table.rows[5].reason) and "no record" in str(table.rows[6].reason)
    assert (table.rows[0].step, table.rows[0].steps) == (40, 40)
    assert table.rows[0].curve == ((9, 0.3), (19, 0.5))


def test_table_page_csv_and_plots(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep_report.run([str(sweep)]) == 0
    said = capsys.readouterr().out
    assert (
        "1 running, 2 finished, 1 failed, 1 preempted, 2 interrupted, 1 waiting; best: task 1, 0.7500" in said
    )
    assert re.search(r"│ 1 +│ finished \(best\) │ 1e-2 .* 0\.7500 ", said) and "1:02:05" in said
    out = sweep / "report"
    names = {f"{n}.{e}" for n in ("objective", "settings", "curves") for e in ("png", "svg")}
    assert {f.name for f in out.iterdir()} == names | {"report.html", "tasks.csv"}
    with (out / "tasks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["state"] for r in rows][:4] == ["finished", "finished", "failed", "preempted"]
    assert [r["best"] for r in rows] == ["0", "1", "0", "0", "0", "0", "0"]
    assert rows[2]["reason"] == f"RuntimeError: {NASTY}" and rows[0]["objective"] == "0.5"
    page = (out / "report.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page
    assert page.count("<svg") == 3
    for file in out.glob("*.svg"):
        ElementTree.parse(file)
    for file in out.glob("*.png"):
        picture = np.asarray(Image.open(file).convert("L"))
        assert picture.min() < 100 and picture.std() > 2, file  # something is drawn


def test_the_best_course_is_drawn_strong(sweep: Path) -> None:
    """The figures hold the values: read back from the axes, not from pixels."""
    from one2345.cli import sweep_plots

    table = sweep_table(sweep)
    figure = sweep_plots._curves(table)
    lines = {tuple(line.get_ydata()): line.get_linewidth() for line in figure.axes[0].lines}
    assert lines == {(0.3, 0.5): 0.9, (0.4, 0.75): 2.0, (0.2,): 0.9}
    first = sweep_plots._settings(table).axes[0]
    assert first.get_xscale() == "log" and sorted(first.lines[0].get_xdata()) == [1e-4, 1e-2]
    best = sweep_plots._objective(table).axes[0].lines[1]
    assert list(best.get_ydata()) == [0.5, 0.75]


def test_json(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep_report.run([str(sweep), "--json", "--no-plots", "--out", str(sweep / "x")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["best"] == 1 and found["counts"]["finished"] == 2 and len(found["tasks"]) == 7
    assert {f.name for f in (sweep / "x").iterdir()} == {"report.html", "tasks.csv"}


def test_a_damaged_task_is_named_and_does_not_hide_the_others(sweep: Path) -> None:
    (sweep / "0-00000000" / "status.json").write_text("[1,")
    (sweep / "1-00000001" / "config.json").write_text("[1,")
    table = sweep_table(sweep)
    assert "status.json is damaged" in str(table.rows[0].reason)
    assert "config.json is damaged" in str(table.rows[1].reason) and table.best is table.rows[1]


def test_what_is_no_sweep_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep_report.run([str(tmp_path)]) == 2
    assert "holds no tasks of a sweep" in capsys.readouterr().err
    assert sweep_report.run([str(tmp_path / "absent")]) == 2
    assert "is no folder" in capsys.readouterr().err
