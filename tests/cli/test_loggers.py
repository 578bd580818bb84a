"""metrics.csv over interruptions."""

import csv

from one2345.cli.loggers import MetricsCsv


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
