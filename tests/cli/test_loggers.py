"""metrics.csv over interruptions."""

import csv
import shutil

import pytest

from one2345.cli.loggers import MetricsCsv, wandb_id
from one2345.errors import InputError


def rows(path):
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if v != ""} for row in csv.DictReader(file)]


def test_rows_of_one_step_are_joined_and_new_columns_added(tmp_path):
    logger = MetricsCsv(folder=str(tmp_path))
    logger.log_metrics({"loss": 2.0}, 0)
    logger.log_metrics({"lr": 0.5}, 0)
    logger.log_metrics({"loss": 1.0, "iou": 0.5}, 10)
    logger.finalize("success")
    assert rows(tmp_path / "metrics.csv") == [
        {"step": "0", "loss": "2.0", "lr": "0.5"},
        {"step": "10", "loss": "1.0", "iou": "0.5"},
    ]


def test_a_resumed_run_keeps_the_rows_before_and_drops_those_it_repeats(tmp_path):
    first = MetricsCsv(folder=str(tmp_path))
    for step in range(4):
        first.log_metrics({"loss": float(step)}, step)
    first.save()
    with first.path.open("a") as file:
        file.write("4")  # torn by a crash
    second = MetricsCsv(folder=str(tmp_path))
    for step in range(2, 5):
        second.log_metrics({"loss": 10.0 + step}, step)
    second.finalize("success")
    assert [(r["step"], r["loss"]) for r in rows(tmp_path / "metrics.csv")] == [
        ("0", "0.0"), ("1", "1.0"), ("2", "12.0"), ("3", "13.0"), ("4", "14.0"),
    ]  # fmt: skip


def test_parts_of_a_step_are_one_row_also_over_an_interruption(tmp_path):
    """The schedule's rate before the step, its losses after it, then the validation."""
    first = MetricsCsv(folder=str(tmp_path))
    first.resume_at(0)
    first.log_metrics({"loss": 3.0}, 4)
    first.save()
    first.log_metrics({"lr": 0.1}, 9)
    first.save()  # a checkpoint; what was logged after it is lost
    second = MetricsCsv(folder=str(tmp_path))
    second.resume_at(10)
    second.log_metrics({"loss": 2.0}, 9)
    second.save()
    second.log_metrics({"val/iou": 0.5}, 9)
    second.save()
    second.log_metrics({"loss": 1.0}, 14)
    second.save()
    assert rows(tmp_path / "metrics.csv") == [
        {"step": "4", "loss": "3.0"},
        {"step": "9", "loss": "2.0", "lr": "0.1", "val/iou": "0.5"},
        {"step": "14", "loss": "1.0"},
    ]


def test_a_run_that_begins_anew_keeps_no_row(tmp_path):
    first = MetricsCsv(folder=str(tmp_path))
    first.log_metrics({"loss": 3.0}, 9)
    first.save()
    second = MetricsCsv(folder=str(tmp_path))
    second.resume_at(0)
    second.log_metrics({"loss": 5.0}, 19)
    second.save()
    assert rows(tmp_path / "metrics.csv") == [{"step": "19", "loss": "5.0"}]


def test_the_id_at_weights_and_biases_goes_with_the_run_folder(tmp_path, monkeypatch):
    folder = tmp_path / "a"
    folder.mkdir()
    made = wandb_id(folder)
    assert (folder / "wandb_id").read_text() == made + "\n"
    moved = shutil.copytree(folder, tmp_path / "b")
    assert wandb_id(moved) == wandb_id(folder) == made
    other = tmp_path / "c"
    other.mkdir()
    assert wandb_id(other) != made
    (folder / "wandb_id").write_text("../../x y")
    with pytest.raises(InputError, match="wandb_id"):
        wandb_id(folder)
    monkeypatch.setenv("RANK", "1")
    fresh = tmp_path / "d"
    fresh.mkdir()
    wandb_id(fresh)
    assert list(fresh.iterdir()) == []
