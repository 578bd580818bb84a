"""Trainings that were killed and went on against ones that never stopped, bit for bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def killed(tmp_path: Path, how: str, *, limit: float) -> list[str]:
    """Output of killed_runs.py."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "training" / "killed_runs.py"), str(tmp_path), how],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=limit,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_a_run_killed_at_any_kind_of_moment_ends_as_one_without_a_stop(tmp_path: Path) -> None:
    """Weights, optimiser, schedule, generators, place in the data, best score and metrics.csv, bit for bit."""
    *found, count = killed(tmp_path, "some", limit=900)
    assert found == []
    assert int(count.split()[1]) > 30


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_as_one_without_a_stop(tmp_path: Path) -> None:
    *found, count = killed(tmp_path, "each", limit=1800)
    assert found == []
    assert int(count.split()[1]) > 80
