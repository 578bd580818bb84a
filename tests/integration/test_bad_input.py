"""What users get wrong, through the commands: one clear line that names the file, key or value, and status 2."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.data.spheres import Balls
from tests.training.scenes import TINY, tiny_model

from one2345.checkpoints import save_release
from one2345.cli import evaluate, prepare, train
from one2345.cli.app import Command, execute
from one2345.data import Recipe, SampleSizes, prepare_objects

AWKWARD = "it's, (a) [b] = ünïcode {c}"
SIZES = SampleSizes(sdf_points=200, surface_points=400, occupancy=(16, 64))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / AWKWARD
    recipe = Recipe(size=32, targets=2, train_samples=SIZES, eval_samples=SIZES)
    prepare_objects(Balls(3), out=root, recipe=recipe, workers=1, progress=False)
    return root


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp(AWKWARD) / "tiny, = weights.safetensors"
    save_release(file, tiny_model(), {"model": TINY})
    return file


@pytest.fixture
def copy(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / AWKWARD))


def refused(capsys: pytest.CaptureFixture[str], command: Command, *argv: str) -> str:
    """The one line that the command leaves behind."""
    assert execute(command, list(argv)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, lines
    return lines[0]


def evaluating(root: Path, weights: Path, out: Path) -> list[str]:
    return [
        "data=folder",
        f"data.root={root}",
        f"ckpt={weights}",
        f"out={out}",
        "scale=laptop",
        "extractor.resolution=24",
        "data.sizes.views=8",
        "protocol.occupancy.resolutions=[64]",
        "protocol.points=400",
        "data.test_split=all",
    ]


def change(root: Path, path: tuple[str | int, ...], value: object) -> Path:
    """Set one value deep inside an object.json."""
    file = root / "objects" / "ball-1" / "object.json"
    document = json.loads(file.read_text())
    at = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    file.write_text(json.dumps(document))
    return file


def test_the_same_command_works_on_good_input(prepared: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out, 'é' = [x]"
    assert execute(evaluate.COMMAND, evaluating(prepared, weights, out)) == 0
    summary = json.loads((out / "results.json").read_text())
    assert {"network", "visual hull"} <= set(summary["predictors"])
    assert (out / "report.html").stat().st_size > 10_000


def test_missing_data_root(capsys: pytest.CaptureFixture[str], prepared: Path) -> None:
    wrong = prepared.with_name(prepared.name + "s")
    message = refused(capsys, train.COMMAND, "data=folder", f"data.root={wrong}", "scale=laptop")
    assert str(wrong) in message and prepared.name in message  # the nearest existing one


def test_truncated_picture(
    capsys: pytest.CaptureFixture[str], copy: Path, weights: Path, tmp_path: Path
) -> None:
    picture = copy / "objects" / "ball-1" / "images" / "s2.png"
    picture.write_bytes(picture.read_bytes()[:60])
    message = refused(capsys, evaluate.COMMAND, *evaluating(copy, weights, tmp_path / "out"))
    assert "ball-1" in message and "s2.png" in message


def test_nan_pose(capsys: pytest.CaptureFixture[str], copy: Path, weights: Path, tmp_path: Path) -> None:
    change(copy, ("views", 1, "c2w", 0, 3), float("nan"))
    message = refused(capsys, evaluate.COMMAND, *evaluating(copy, weights, tmp_path / "out"))
    assert "object.json" in message and "c2w" in message


def test_camera_that_looks_away(
    capsys: pytest.CaptureFixture[str], copy: Path, weights: Path, tmp_path: Path
) -> None:
    file = copy / "objects" / "ball-1" / "object.json"
    c2w = np.array(json.loads(file.read_text())["views"][0]["c2w"])
    c2w[:3, [0, 2]] *= -1  # half a turn about its own vertical axis
    change(copy, ("views", 0, "c2w"), c2w.tolist())
    message = refused(capsys, evaluate.COMMAND, *evaluating(copy, weights, tmp_path / "out"))
    assert "object.json" in message and "views" in message and "look" in message


def test_mesh_without_faces(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / AWKWARD
    folder.mkdir()
    (folder / "empty.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    out = tmp_path / "out"
    message = refused(
        capsys, prepare.COMMAND, "source=folder", f"source.root={folder}", f"out={out}", "workers=1"
    )
    assert "empty.obj" in message and "face" in message


def test_checkpoint_of_another_model(
    capsys: pytest.CaptureFixture[str], prepared: Path, tmp_path: Path
) -> None:
    file = tmp_path / "other.safetensors"
    other = {**TINY, "sdf_net": {**TINY["sdf_net"], "hidden": 40}}
    save_release(file, tiny_model(), {"model": other})
    message = refused(capsys, evaluate.COMMAND, *evaluating(prepared, file, tmp_path / "out"))
    assert "other.safetensors" in message and "another model" in message


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("optim.lrr=1", "lr"),
        ("modell=sdf_base", "model"),
        ("model=sdf_bse", "sdf_base"),
        ("scale=laptopp", "laptop"),
        ("loss.colr=1", "colour"),
    ],
)
def test_misspelt_override(capsys: pytest.CaptureFixture[str], override: str, hint: str) -> None:
    message = refused(capsys, train.COMMAND, override)
    assert override.split("=")[0].rsplit(".", 1)[-1] in message and hint in message
