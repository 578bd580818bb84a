"""What the commands refuse before anything heavy happens, and which inputs they evaluate with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from one2345.build import build
from one2345.cli import app, devices, evaluate, train
from one2345.cli.checks import source_count
from one2345.cli.compose import group_node, groups
from one2345.errors import InputError
from one2345.geometry import load_plan


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    from one2345.checkpoints import KEY, training_record

    torch.save({"state_dict": {}, KEY: training_record({"_target_": "x"})}, tmp_path / "x.ckpt")
    return tmp_path


def configure(command: app.Command, *argv: str) -> dict:
    return app.configure(command, [*(["ckpt=x.ckpt"] if command is evaluate.COMMAND else []), *argv])


@pytest.mark.parametrize("plan", groups()["plan"])
def test_source_views_are_counted_as_the_plan_gives_them(plan: str) -> None:
    assert source_count(group_node("plan", plan)) == len(load_plan(plan).source_views(20.0)) > 0


@pytest.mark.parametrize("command", [train.COMMAND, evaluate.COMMAND], ids=lambda c: c.name)
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["data.sizes.views=9"], ["data.sizes.views=9", "data.recipe.plan (ring8)", "8"]),
        (["scale.views=32"], ["data.sizes.views=32", "data.recipe.plan (ring8)"]),
        (["plan=published32", "data.sizes.views=33"], ["data.sizes.views=33", "(published32)", "32"]),
        (["data.sizes.targets=5"], ["data.sizes.targets=5", "data.recipe.targets=4"]),
        (["data.sizes.held_out=5"], ["data.sizes.held_out=5", "data.recipe.targets=4"]),
    ],
)
def test_more_views_than_the_recipe_makes(command: app.Command, argv: list[str], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        configure(command, "scale=laptop", *argv)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("command", [train.COMMAND, evaluate.COMMAND], ids=lambda c: c.name)
def test_as_many_views_as_the_recipe_makes(command: app.Command) -> None:
    for argv in (
        ["scale.views=8"],
        ["plan=published", "scale.views=40"],
        ["data.sizes.views=null"],
        ["scale=paper"],
    ):
        configure(command, *([] if "scale=paper" in argv else ["scale=laptop"]), *argv)


def test_debug_presets_fit_their_recipes() -> None:
    for preset in groups()["debug"]:
        configure(train.COMMAND, "scale=laptop", f"debug={preset}")


def test_refusing_takes_no_torch(here: Path) -> None:
    code = (
        "import sys; from one2345.cli import app, train;"
        "status = app.execute(train.COMMAND, ['scale=laptop', 'data.sizes.views=9']);"
        "sys.exit(0 if status == 2 and 'torch' not in sys.modules else 1)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("name", "hint"),
    [("gpu", "'cuda'"), ("GPU:1", "'cuda:1'"), ("cdua", "'cuda'"), ("cpus", "'cpu'"), ("7", "it takes auto")],
)
def test_an_unknown_device_is_refused_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(InputError, match=f"device={name} ") as caught:
        configure(evaluate.COMMAND, "scale=laptop", f"device={name}")
    assert hint in str(caught.value)
    with pytest.raises(InputError, match=f"device={name} "):
        devices.pick_device(name)


def test_a_device_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert devices.pick_device("auto") == devices.pick_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="device=cuda: there is no CUDA GPU here"):
        devices.pick_device("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InputError, match="device=cuda:2: there are 2"):
        devices.pick_device("cuda:2")


def inputs(*argv: str) -> dict[str, dict]:
    return evaluate.inputs_to_use(configure(evaluate.COMMAND, "scale=laptop", *argv))


def test_listed_inputs_keep_the_settings_given_with_them() -> None:
    chosen = inputs("inputs=simulated", "inputs.geometry=0.25", "evaluate.inputs=[exact,simulated]")
    assert list(chosen) == ["exact", "simulated"]
    assert chosen["simulated"]["geometry"] == 0.25
    assert chosen["simulated"]["chain"] is True
    assert inputs("evaluate.inputs=[exact,simulated]")["simulated"]["geometry"] == 1.0
    assert inputs("inputs=simulated", "inputs.geometry=0.25")["simulated"]["geometry"] == 0.25


def test_predicted_inputs_may_be_listed_with_their_folder(here: Path) -> None:
    (here / "views").mkdir()
    told = ["inputs=predicted", "inputs.root=views"]
    assert inputs(*told, "evaluate.inputs=[exact,predicted]")["predicted"]["root"] == "views"
    with pytest.raises(InputError, match=r"inputs=predicted inputs\.root=DIR"):
        inputs("evaluate.inputs=[exact,predicted]")


def test_settings_of_inputs_that_are_not_listed_are_refused() -> None:
    with pytest.raises(InputError, match=r"inputs=simulated inputs\.geometry=0\.25 changes nothing"):
        inputs("inputs=simulated", "inputs.geometry=0.25", "evaluate.inputs=[exact]")


def test_training_ends_with_the_inputs_of_evaluation() -> None:
    config = configure(train.COMMAND, "scale=laptop", "inputs=simulated", "inputs.geometry=0.5")
    assert build(config["data"]["inputs"]).chain is False
    node = train.inputs_in_use(config)
    assert node == inputs("inputs=simulated", "inputs.geometry=0.5")["simulated"]
    assert build(node).chain is True
    off = configure(train.COMMAND, "scale=laptop", "inputs=simulated", "evaluate.chain=false")
    assert train.inputs_in_use(off)["chain"] is False
    json.dumps(node)


def test_evaluation_prepares_what_it_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    from one2345.data.datamodule import ReconstructionDataModule
    from one2345.pipeline import Weights

    prepared: list[str | None] = []
    monkeypatch.setattr(
        ReconstructionDataModule, "ensure_prepared", lambda self, split=None: prepared.append(split)
    )

    monkeypatch.setattr(Weights, "load", lambda path: Weights(None, Path(path), ""))  # type: ignore[arg-type]

    def dataset(self: object, split: str) -> None:
        raise InputError(f"far enough: {split}")

    monkeypatch.setattr(ReconstructionDataModule, "dataset", dataset)
    with pytest.raises(InputError, match="far enough: test"):
        evaluate.main(configure(evaluate.COMMAND, "scale=laptop", "data=shapes"))
    assert prepared == ["test"]
