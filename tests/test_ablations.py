"""The rows of sweep=ablations: each is there, composes, and changes the base in what its name says."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from one2345.build import build
from one2345.cli import train
from one2345.cli.app import configure
from one2345.paths import conf_dir

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
