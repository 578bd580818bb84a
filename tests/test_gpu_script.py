"""The script for a GPU, at its smallest sizes on the CPU."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from tests.data.spheres import Balls

from one2345.data import Recipe, SampleSizes, prepare_objects

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
FILE = Path(__file__).parents[1] / "experiments" / "gpu" / "gpu.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_script", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("balls") / "o"
    labels = SampleSizes(sdf_points=512, surface_points=128, occupancy=(64,))
    prepare_objects(
        Balls(3), out=out, recipe=Recipe(size=32, train_samples=labels), workers=1, progress=False
    )
    return out


def test_precisions_side_by_side(script: ModuleType, data: Path, tmp_path: Path) -> None:
    told = [
        "--device",
        "cpu",
        "--tiny",
        "--data",
        str(data),
        "--workers",
        "0",
        "--warm",
        "1",
        "--out",
        str(tmp_path),
    ]
    report = script.main(["precision", "--steps", "3", *told])
    assert json.loads((tmp_path / "precision.json").read_text()) == report
    whole, half = report["runs"]
    assert [whole["precision"], half["precision"]] == ["32-true", "bf16-mixed"]
    assert len(whole["loss"]) == 3 and whole["loss"] != half["loss"]
    assert report["differs"][0] == 0.0 and report["close"] and len(set(whole["loss"])) == 3
    assert report["machine"]["torch"] == torch.__version__ and report["date"].startswith("20")
    report = script.main(["throughput", "--steps", "2", "--batch", "1", "2", "--precision", "32-true", *told])
    assert [row["batch"] for row in report["rows"]] == [1, 2]
    for row in report["rows"]:
        assert row["objects_per_second"] == pytest.approx(row["batch"] * row["steps_per_second"])
        assert row["peak_memory_mib"] > 100
