"""A release is a folder that a hub takes as it is, and that every command takes as a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from tests.training.scenes import TINY, tiny_model

from one2345.checkpoints import KEY, PRETRAINED, load_reconstructor, read_record, training_record
from one2345.cli import release
from one2345.cli.exit_codes import DONE, INPUT


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder: one checkpoint, the configuration, and the results of its evaluation."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    state = {f"model.{name}": tensor for name, tensor in tiny_model().state_dict().items()}
    torch.save(
        {"state_dict": state, KEY: training_record(TINY, pixels=24)}, folder / "checkpoints" / "best.ckpt"
    )
    config = {
        "name": "tiny", "run": {"choices": {"scale": "laptop"}}, "scale": {"name": "laptop", "views": 8},
        "loss": {"colour": 0.5}, "optim": {"lr": 1e-3}, "inputs": {"_target_": "one2345.data.inputs.ExactInputs"},
        "data": {
            "root": "/somewhere/pool", "also": ["/elsewhere/shapes"], "source": {"seed": 0}, "sizes": {"views": 8},
            "samples_per_epoch": None,
        },
        "training": {"terms": {"inside": "bound"}},
        "plan": {"name": "ring8"}, "seed": 3,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    results = {
        "objects": ["a", "b"], "protocol": {"name": "one2345-strict", "version": 1},
        "predictors": {"network": {"metrics": {"iou_64": {"mean": 0.75}, "chamfer": {"mean": 0.0123456}}}},
    }  # fmt: skip
    (folder / "evaluation").mkdir()
    (folder / "evaluation" / "results.json").write_text(json.dumps(results))
    return folder


def test_a_released_folder_is_the_run_s_network_with_its_record(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "released"
    assert release.run([str(run), str(out), "--title", "Tiny", "--note", "Credits: nobody."]) == DONE
    assert sorted(file.name for file in out.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    model, record = load_reconstructor(out)
    expected = load_reconstructor(run)[0].state_dict()
    assert model.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert record == json.loads((out / "config.json").read_text())
    assert record["training"]["plan"] == "ring8" and record["training"]["data"] == {
        "source": {"seed": 0}, "sizes": {"views": 8}, "folders": ["pool", "shapes"],
    }  # fmt: skip
    assert record["training"]["terms"] == {"inside": "bound"}
    assert record["held_out"]["scores"]["network"] == {"iou_64": 0.75, "chamfer": 0.0123}
    card = ModelCard.load(out / "README.md")
    assert card.data.license == "apache-2.0" and card.data.library_name == "one2345"
    assert "# Tiny" in card.text and "Credits: nobody." in card.text
    assert "| network | 0.75 | 0.0123 |" in card.text
    assert str(out) in capsys.readouterr().out


def test_a_release_goes_round_through_another_folder(run: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert release.run([str(run), str(first)]) == release.run([str(first), str(second)]) == DONE
    assert read_record(first) == read_record(second)
    here, there = (load_file(folder / "model.safetensors") for folder in (first, second))
    assert here.keys() == there.keys() and all(
        torch.equal(there[name], value) for name, value in here.items()
    )


def test_the_weights_of_the_package_are_released_as_they_are(tmp_path: Path) -> None:
    """What the hub would get of them, and what comes back from a folder that it gave."""
    out = tmp_path / "sdf_base"
    assert release.run(["pretrained", str(out)]) == DONE
    there, here = load_file(out / "model.safetensors"), load_file(PRETRAINED)
    assert here.keys() == there.keys() and all(torch.equal(there[name], here[name]) for name in here)
    assert read_record(out) == json.loads((out / "config.json").read_text()) == read_record(PRETRAINED)


def test_nothing_is_written_over_or_of_what_is_no_network(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert release.run([str(run), str(run)]) == INPUT
    assert "is there already" in capsys.readouterr().err
    out = tmp_path / "out"
    assert release.run([str(tmp_path / "nothing"), str(out)]) == INPUT
    assert "no such checkpoint" in capsys.readouterr().err
    (run / "evaluation" / "results.json").write_text("[]")
    assert release.run([str(run), str(out)]) == INPUT
    assert "results.json: holds no results" in capsys.readouterr().err
    assert not out.exists()
