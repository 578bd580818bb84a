"""Training of view synthesis and prediction as a user runs them, on weights of milliseconds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.data.spheres import RECIPE, Balls, tree
from tests.views.zero123.tiny import make_tiny

from one2345.checkpoint_folder import step_name
from one2345.cli import app, predict, prepare, train
from one2345.data import prepare_objects
from one2345.views.zero123 import SCHEDULE, load_zero123, save_zero123

SHORT = ["scale=laptop", "trainer.accelerator=cpu", "scale.synthesis.batch=2", "scale.synthesis.val_every=2"]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("views")
    recipe = replace(RECIPE, plan="ring8_near", size=32, targets=0)
    prepare_objects(Balls(2), out=out, recipe=recipe, workers=1, progress=False)
    return out


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "tiny, (1)"
    save_zero123(folder, make_tiny(), scheduler=SCHEDULE)
    return folder


def run(command: app.Command, *argv: str) -> None:
    assert app.execute(command, list(argv)) == 0


def finetune(root: Path, weights: Path, steps: int) -> Path:
    run(
        train.COMMAND, "experiment=zero123_finetune", f"weights={weights}", f"data.root={root}", "run.id=a",
        f"scale.synthesis.steps={steps}", "synthesis.sampling.steps=2", "optim.warmup=0", *SHORT,
    )  # fmt: skip
    return Path("experiments/runs/zero123_finetune/a")


def test_finetuning_goes_on_where_it_stopped_and_leaves_weights(root, weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = finetune(root, weights, 2)
    stored = torch.load(folder / "checkpoints" / step_name(2), weights_only=True)
    assert (stored["global_step"], stored["average"]["steps"]) == (2, 2)
    capsys.readouterr()
    assert finetune(root, weights, 4) == folder
    assert "continuing" in capsys.readouterr().out
    stored = torch.load(folder / "checkpoints" / step_name(4), weights_only=True)
    assert (stored["global_step"], stored["average"]["steps"]) == (4, 4)
    before, after = load_zero123(weights).model.state_dict(), load_zero123(folder).model.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"unet", "projection"}
    for name, value in stored["average"]["average"].items():
        assert torch.equal(after[name], value)
    assert load_zero123(folder).model.size == 32
    record = json.loads((folder / "one2345.json").read_text())["record"]
    assert record["steps"] == 4 and {"val/psnr", "val/psnr_mean_image", "val/psnr_shuffled_pose"} <= set(
        record
    )


def test_published_settings(root):
    config = app.configure(train.COMMAND, ["experiment=zero123_finetune", "scale=paper", f"data.root={root}"])
    shares = {k: v for k, v in config["synthesis"]["dropout"].items() if k != "_target_"}
    assert shares == {"token": 0.05, "image": 0.05, "both": 0.05}
    assert (config["synthesis"]["pose_rate"], config["synthesis"]["trained"]) == (
        10.0,
        ["unet", "projection"],
    )
    assert (config["optim"]["lr"], config["optim"]["warmup"], config["data"]["batch_size"]) == (
        1e-4,
        100,
        192,
    )


def test_prediction_by_trained_weights(root, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = [
        "stage=predict",
        f"root={root}",
        f"views.weights={weights}",
        "views=zero123_mini",
        "views.steps=2",
    ]
    run(predict.COMMAND, *argv, "out=a", "views.near_steps=2")
    assert len(list(Path("a/ball-1").glob("*.png"))) == 16
    before = tree(Path("a"))
    prepare.run([*argv, "out=a", "views.near_steps=2"])
    assert tree(Path("a")) == before


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["out=x"], "needs root=DIR"),
        (["root=.", "out=x", "layout=publishd"], "did you mean 'published'"),
        (["root=nowhere", "out=x"], "no such folder"),
        (["root=.", "out=x", "views=oracle"], "source=shapes"),
    ],
)
def test_what_cannot_be_predicted_is_said(argv, message, capsys):
    assert app.execute(predict.COMMAND, argv) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_stage_or_task_is_said(capsys):
    assert app.execute(prepare.COMMAND, ["stage=x", "source=shapes", "out=y"]) == 2
    assert "stage=x is unknown; it takes render, download, predict, pack, status" in capsys.readouterr().err
    assert app.execute(train.COMMAND, ["task=x"]) == 2
    assert "task=x is unknown" in capsys.readouterr().err
