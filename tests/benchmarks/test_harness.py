"""The benchmarks run, count fairly and say what they found."""

import json
import subprocess
import sys
import time
from pathlib import Path

import harness
import pytest

ROOT = Path(__file__).parents[2]


def busy(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_ways_are_interleaved_and_compared():
    calls = []

    def way(name, seconds, value):
        return lambda: calls.append(name) or busy(seconds) or {"value": value}

    contest = harness.Contest(
        title="t", subject="s", ways={"a": way("a", 0.002, 1.0), "b": way("b", 0.02, 1.0)}, ours="a", baseline="b",
        bar=3, tolerance=1e-6,
    )  # fmt: skip
    other = harness.Contest(title="t", subject="u", ways={"c": way("c", 0, 2.0)})
    first, second = harness.run([contest, other], repeats=3, say=lambda text: None)
    assert "".join(calls) == "abcbacabcbac"
    assert 4 < first["gain"]["cpu"] < 30
    assert first["met"] and first["agree"]
    assert 0.002 <= first["ways"]["a"]["cpu"]["low"] <= first["ways"]["a"]["cpu"]["median"]
    assert "gain" not in second


def test_a_missed_bar_and_a_different_number_are_said():
    contest = harness.Contest(
        title="t", subject="s", ways={"a": lambda: busy(0.004) or {"x": 1.0}, "b": lambda: busy(0.004) or {"x": 1.1}},
        ours="a", baseline="b", bar=5, tolerance=0.05,
    )  # fmt: skip
    (result,) = harness.run([contest], repeats=1, say=lambda text: None)
    assert not result["met"] and not result["agree"]
    report = {"machine": harness.machine(["numpy"]), "date": "today", "repeats": 1, "results": [result]}
    text = harness.markdown(report)
    assert "(bar 5x: missed)" in text and "differ by at most 1.0e-01" in text
    assert json.loads(harness.as_json(report))["results"][0]["bar"] == 5


@pytest.mark.slow
def test_the_metrics_are_measured(tmp_path):
    options = ["--repeats", "1", "--pairs", "1", "--faces", "1500", "--points", "500", "--resolution", "24"]
    command = [
        sys.executable,
        "benchmarks/metrics.py",
        *options,
        "--shared",
        tmp_path,
        "--out",
        tmp_path / "m",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "m.json").read_text())
    assert len({r["title"] for r in report["results"]}) == 4
    assert all(r["agree"] for r in report["results"])
    assert (tmp_path / "m.md").read_text().startswith("# Speed of the metrics")
