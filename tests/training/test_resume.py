"""Trainings that were killed and went on against ones that never stopped, bit for bit."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

import one2345

ROOT = Path(__file__).parents[2]
SOURCE = str(Path(one2345.__file__).parents[1])  # the package that this process tests, and no other


def killed(script: str, *argv: object, limit: float) -> list[str]:
    """Output of a script beside this one: the differences found, and how often it killed."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "training" / script), *map(str, argv)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([SOURCE, str(ROOT)]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=limit,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout.splitlines()


def test_a_run_killed_at_any_kind_of_moment_ends_as_one_without_a_stop(tmp_path: Path) -> None:
    """Weights, optimiser, schedule, generators, place in the data, best score and metrics.csv, bit for bit."""
    *found, count = killed("killed_runs.py", tmp_path, "some", limit=900)
    assert found == []
    assert int(count.split()[1]) > 30


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_as_one_without_a_stop(tmp_path: Path) -> None:
    *found, count = killed("killed_runs.py", tmp_path, "each", limit=1800)
    assert found == []
    assert int(count.split()[1]) > 80


def moments() -> int:
    """Chosen anew each time; to try some again, set ONE2345_MOMENTS to what a failure shows."""
    return int(os.environ.get("ONE2345_MOMENTS", 0)) or secrets.randbelow(10**9)


@pytest.mark.parametrize("kind", ["reconstruction", pytest.param("views", marks=pytest.mark.slow)])
def test_training_killed_at_random_moments_ends_as_if_it_had_not_been(kind: str, tmp_path: Path) -> None:
    """The command, killed from outside."""
    seed = moments()
    assert killed("killed_training.py", tmp_path, kind, 5, 12, seed, limit=1200) == ["killed 5 times"], seed


@pytest.mark.slow
@pytest.mark.timeout(3300)
def test_training_killed_at_fifty_random_moments_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    seed = moments()
    found = killed("killed_training.py", tmp_path, "reconstruction", 50, 150, seed, limit=3000)
    assert found == ["killed 50 times"], seed
