"""The rows of sweep=ablations: each is there, composes, and changes the base in what its name says."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

from one2345.build import build
from one2345.cli import train
from one2345.cli.app import configure
from one2345.paths import conf_dir

FILE = Path(__file__).parents[1] / "experiments" / "ablations" / "table.py"
spec = importlib.util.spec_from_file_location("ablations_table", FILE)
assert spec is not None and spec.loader is not None
ablations = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ablations)

SWEEP = yaml.safe_load((conf_dir() / "sweep" / "ablations.yaml").read_text())
ROWS = SWEEP["hydra"]["sweeper"]["params"]["experiment"].split(",")


def config(row: str) -> dict[str, Any]:
    return dict(configure(train.COMMAND, [f"experiment={row}", "scale=laptop"]))


@pytest.fixture(scope="module")
def base() -> dict[str, Any]:
    return config("ablation_base")


def test_all_rows_are_swept_over(base: dict[str, Any]) -> None:
    assert sorted(ROWS) == sorted(f.stem for f in Path(conf_dir(), "experiment").glob("ablation_*.yaml"))
    assert base["plan"]["name"] == "published32" and base["scale"]["views"] == 32
    assert base["inputs"]["_target_"].endswith("SimulatedInputs")


@pytest.mark.parametrize("row", [row for row in ROWS if row != "ablation_base"])
def test_a_row_changes_the_base(row: str, base: dict[str, Any]) -> None:
    changed = config(row)
    differing = {
        key for key in ("plan", "scale", "loss", "data", "inputs", "model") if changed[key] != base[key]
    }
    assert changed["name"] == row and differing
    for node in (changed["data"]["inputs"], changed["data"]["eval_inputs"]):
        assert node is None or callable(build(node))
    for term in ("mask", "colour", "eikonal", "sdf"):
        if row == f"ablation_no_{term}":
            assert changed["loss"][term] == 0 and base["loss"][term] > 0 and differing == {"loss"}


def test_a_row_of_the_table_is_compared_object_by_object() -> None:
    def row(scores: dict[str, float | None], hull: bool) -> dict[str, Any]:
        found = {"iou_128": {"mean": 0.5}}
        return {"network": found, "visual hull": found if hull else None, "rows": scores}

    rows = {
        "ablation_base": row({"a": 0.5, "b": 0.6, "c": 0.7}, True),
        "ablation_no_mask": row({"a": 0.4, "b": 0.7, "c": None, "d": 0.1}, False),
    }
    base, other = ablations.table(rows).splitlines()[2:]
    assert base == "| base | 0.5000 |  |  |  |  |  |  | 0.5000 |"
    assert other == "| no mask | 0.5000 |  |  |  |  |  | +0.0000 ± 0.1000 |  |"
