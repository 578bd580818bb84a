"""prepare, train, evaluate as a user runs them, at the smallest sizes."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

AWKWARD = "it's, (a) [b] = ü"


def command(name: str, *argv: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"one2345.cli.{name}", *argv],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    cwd = tmp_path_factory.mktemp("prepared")
    command(
        "prepare", "source=shapes", "source.train=2", "source.val=2", "source.test=1", "render.size=64",
        f"out={AWKWARD}/o", "workers=1", cwd=cwd,
    )  # fmt: skip
    return cwd / AWKWARD / "o"


def steps(folder: Path) -> list[int]:
    with (folder / "metrics.csv").open(newline="") as file:
        return sorted({int(row["step"]) for row in csv.DictReader(file)})


def test_train_continue_evaluate(prepared, tmp_path):
    argv = [
        "debug=limit",
        "resume=auto",
        "run.overwrite=false",
        "data=folder",
        f"data.root={prepared}",
        "run.id=a",
    ]
    command("train", *argv, "scale.steps=2", cwd=tmp_path)
    folder = tmp_path / "experiments" / "runs" / "debug_limit" / "a"
    assert steps(folder)[-1] <= 2
    output = command("train", *argv, "scale.steps=4", cwd=tmp_path)
    assert "continuing" in output
    assert "scale.steps: 2 -> 4" in output
    assert steps(folder)[0] == 0
    assert steps(folder)[-1] >= 3
    for file in (
        "config.json",
        "checkpoints/step-00000004.ckpt",
        "evaluation/report.html",
        "evaluation/results.json",
    ):
        assert (folder / file).is_file(), file
    assert list((folder / "evaluation" / "meshes" / "network").glob("*.glb"))
    assert list((folder / "media" / "previews").glob("*.png"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["experiments"]

    command(
        "evaluate", f"ckpt={folder}", "data=folder", f"data.root={prepared}", "extractor.resolution=48",
        "evaluate.inputs=[exact,simulated]", "out=results, 1", cwd=tmp_path,
    )  # fmt: skip
    summary = json.loads((tmp_path / "results, 1" / "results.json").read_text())
    assert {"network exact", "network simulated", "visual hull exact"} <= set(summary["predictors"])


@pytest.fixture(scope="module")
def own_run(prepared, tmp_path_factory) -> Path:
    """Run folder of a network of the user's own class, trained with Weights & Biases offline."""
    cwd = tmp_path_factory.mktemp("own")
    (cwd / "mine.py").write_text(
        "from one2345.models import Reconstructor\n\nclass Mine(Reconstructor): pass\n"
    )
    command(
        "train", "experiment=sdf_base", "debug=limit", "logger=wandb", "model._target_=mine.Mine", "data=folder",
        f"data.root={prepared}", "run.id=a", cwd=cwd, WANDB_MODE="offline",
    )  # fmt: skip
    return cwd / "experiments" / "runs" / "debug_limit" / "a"


def test_a_network_of_the_users_own_class_is_trained_and_evaluated(own_run):
    from one2345.checkpoints import read_record

    assert read_record(own_run)["model"]["_target_"] == "mine.Mine"
    summary = json.loads((own_run / "evaluation" / "results.json").read_text())
    assert {"network", "visual hull"} <= set(summary["predictors"])


def test_weights_and_biases_offline_holds_panels_and_meshes(own_run):
    (run,) = (own_run / "wandb").glob("offline-run-*")
    assert list(run.glob("*.wandb"))
    panels = list((run / "files" / "media" / "images" / "previews").glob("*.png"))
    assert panels
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in panels)
    meshes = list((run / "files" / "media" / "object3D" / "meshes").glob("*.glb"))
    assert meshes
    assert all(m.read_bytes().startswith(b"glTF") for m in meshes)


def test_two_processes_share_one_run_folder(prepared, tmp_path):
    command(
        "train", "debug=limit", "data=folder", f"data.root={prepared}", "trainer=ddp", "trainer.devices=2",
        "trainer.accelerator=cpu", cwd=tmp_path,
    )  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == ["experiments"]
    runs = list((tmp_path / "experiments" / "runs").glob("*/*"))
    assert len(runs) == 1
    assert steps(runs[0])[-1] >= 3


def test_what_one_process_cannot_load_in_validation_ends_both_with_one_message(prepared, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(prepared, data)
    second = sorted(p for p in (data / "objects").iterdir() if '"val"' in (p / "object.json").read_text())[1]
    for file in (second / "images").glob("*.png"):
        file.write_bytes(file.read_bytes()[:60])
    done = subprocess.run(
        [sys.executable, "-m", "one2345.cli.train", "debug=limit", "data=folder", "data.root=data", "trainer=ddp",
         "trainer.devices=2", "trainer.accelerator=cpu", "run.id=a"],
        cwd=tmp_path, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr[-3000:]
    (said,) = [line for line in done.stderr.splitlines() if "not a readable PNG" in line]
    assert said.startswith(f"error: data/objects/{second.name}/images/")
    assert "validation and test leave no object out" in said
