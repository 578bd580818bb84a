"""The rows of experiments/choices: each composes and changes the base in something, and the table says by how much."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tests.training.scenes import TINY, sphere_batch

from one2345.build import build
from one2345.paths import conf_dir

FILE = Path(__file__).parents[1] / "experiments" / "choices" / "run.py"
spec = importlib.util.spec_from_file_location("choices", FILE)
assert spec and spec.loader
choices = importlib.util.module_from_spec(spec)
spec.loader.exec_module(choices)


def config(row: str) -> Any:
    common = ["experiment=sdf_mixed", "scale=laptop", "data.root=pool", "data.also=[shapes]"]
    with initialize_config_dir(str(conf_dir()), version_base=None):
        composed = compose("train", [*common, *choices.ROWS[row].format(shapes="shapes").split()])
    return OmegaConf.to_container(composed, resolve=False)


@pytest.mark.parametrize("row", [row for row in choices.ROWS if row != choices.BASE])
def test_a_row_changes_the_base(row: str) -> None:
    base, changed = config(choices.BASE), config(row)
    assert [key for key in ("scale", "loss", "data", "inputs", "model") if changed[key] != base[key]]


def test_without_the_mask_channel_features_know_no_mask() -> None:
    batch = sphere_batch()
    for channels, differ in ((4, True), (3, False)):
        torch.manual_seed(0)
        model = build({**TINY, "feature_net": {**TINY["feature_net"], "in_channels": channels}})
        given, other = (
            model(batch.images, masks, batch.cameras).colour_maps
            for masks in (batch.masks, batch.masks * 0.5)
        )
        assert bool((given != other).any()) is differ


def test_table_pairs_rows_by_object() -> None:
    metrics = {"iou_128": {"mean": 0.5}, "chamfer": {"mean": 0.01}}
    names = [f"{name} {kind}" for name in ("network", "one_hull", "visual hull") for kind in choices.KINDS]
    scores = {name: {"a": 0.4, "b": 0.6, "c": None} for name in names}
    scores["one_hull exact"] = {"a": 0.5, "b": 0.64, "c": 0.9}
    found = {
        "rows": {choices.BASE: "", "one_hull": ""},
        "metrics": dict.fromkeys(names, metrics),
        "iou_128": scores,
    }
    lines = choices.table(found).splitlines()
    assert "| one hull | 0.5000 | 0.0100 |  |  | +0.0700 ± 0.0300 |" in lines
    assert "| base | 0.5000 | 0.0100 |  |  | +0.0000 ± 0.0000 |" in lines
