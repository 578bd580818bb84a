"""Pictures, tables and meshes in the run folder, and what Weights & Biases keeps of a run, read back."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.wandb_file import records

from one2345.cli.loggers import PANELS
from one2345.training import Media, SamplePanels

RUN = """
import sys
from pathlib import Path
import numpy as np
from one2345.cli.loggers import wandb_logger
from one2345.evaluation.icosphere import icosphere
from one2345.training import Media

folder = Path(sys.argv[1])
logger = wandb_logger(folder=str(folder), project="x", name="y")
logger.log_metrics({"loss/total": 2.0, "gradient/total": 0.5, "speed/step_seconds": 1.0}, 9)
logger.log_metrics({"loss/total": 1.0, "val/iou": 0.75}, 19)
media = Media(folder / "media", [logger])
media.picture("previews", "a [b]", np.full((8, 24, 3), 7, np.uint8), 19)
media.table("tables", "validation", ["object", "iou"], [["a [b]", 0.75], ["c", None]], 19)
media.mesh("meshes", "a [b]", icosphere(0.3, subdivisions=1), 19)
logger.log_metrics({"val/iou": 0.5}, 29)
logger.finalize("success")
import wandb
wandb.finish()
"""


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a process that has logged to Weights & Biases offline."""
    folder = tmp_path_factory.mktemp("offline")
    import os

    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder)], cwd=folder, capture_output=True, text=True, timeout=240,
        env=os.environ | {"WANDB_MODE": "offline", "WANDB_SILENT": "true"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_what_is_in_the_run_folder(offline: Path) -> None:
    media = offline / "media"
    name = "step-0000019-a [b]"
    assert np.asarray(Image.open(media / "previews" / f"{name}.png")).shape == (8, 24, 3)
    assert (media / "meshes" / f"{name}.glb").read_bytes().startswith(b"glTF")
    with (media / "tables" / "step-0000019-validation.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["object", "iou"], ["a [b]", "0.75"], ["c", ""]]


def test_weights_and_biases_has_sections_over_the_steps(offline: Path) -> None:
    (file,) = (offline / "wandb").glob("offline-run-*/*.wandb")
    found = list(records(file))
    defined = {r.metric.glob_name: r.metric for r in found if r.WhichOneof("record_type") == "metric"}
    for name in PANELS:
        assert defined[f"{name}/*"].step_metric == "trainer/global_step", name
    assert defined["loss/*"].summary.min and defined["val/*"].summary.max
    rows = [
        {i.nested_key[0] if len(i.nested_key) == 1 else tuple(i.nested_key): json.loads(i.value_json)
         for i in record.history.item}
        for record in found
        if record.WhichOneof("record_type") == "history"
    ]  # fmt: skip
    assert all("trainer/global_step" in row for row in rows)
    steps = {row["trainer/global_step"]: row for row in rows if "loss/total" in row}
    assert (
        steps[9]["loss/total"] == 2.0 and steps[9]["gradient/total"] == 0.5 and steps[19]["val/iou"] == 0.75
    )
    kinds = {key[0]: value for row in rows for key, value in row.items() if key[1:] == ("_type",)}
    assert kinds["previews/a [b]"] == "images/separated"
    assert kinds["meshes/a [b]"] == "object3D-file"
    assert kinds["tables/validation"] == "table-file"
    keys = {key if isinstance(key, str) else key[0] for row in rows for key in row}
    sections = {key.partition("/")[0] for key in keys if not key.startswith("_")}
    assert sections - {"trainer"} <= set(PANELS)


def test_weights_and_biases_keeps_the_same_bytes(offline: Path) -> None:
    files = next((offline / "wandb").glob("offline-run-*/files/media"))
    (picture,) = files.rglob("*.png")
    assert np.array_equal(np.asarray(Image.open(picture))[..., :3], np.full((8, 24, 3), 7))
    (mesh,) = files.rglob("*.glb")
    own = offline / "media" / "meshes" / "step-0000019-a [b].glb"
    assert mesh.read_bytes() == own.read_bytes()
    (table,) = files.rglob("*.table.json")
    content = json.loads(table.read_text())
    assert content["columns"] == ["object", "iou"] and content["data"] == [["a [b]", 0.75], ["c", None]]


def test_a_panel_of_sampled_views(tmp_path: Path) -> None:
    class Batch:
        ids = ("x",)
        sources, targets = torch.zeros(5, 3, 4, 4), torch.ones(5, 3, 4, 4)

        def __len__(self) -> int:
            return 5

    class Run:
        is_global_zero, sanity_checking, global_step, loggers = True, False, 7, ()

    sampled = torch.linspace(0, 1, 5).reshape(5, 1, 1, 1).expand(5, 3, 4, 4)
    panels = SamplePanels(folder=str(tmp_path), columns=3)
    panels.on_validation_batch_end(Run, None, {"sampled": sampled}, Batch(), 0)  # type: ignore[arg-type]
    picture = np.asarray(Image.open(tmp_path / "previews" / "step-0000007-x.png"))
    assert picture.shape == (12, 12, 3)
    assert [int(v) for v in picture[[1, 5, 5, 5, 9], [1, 1, 5, 9, 1], 0]] == [0, 0, 128, 255, 255]
    panels.on_validation_batch_end(Run, None, {"sampled": sampled}, Batch(), 1)  # type: ignore[arg-type]
    assert len(list((tmp_path / "previews").iterdir())) == 1


def test_tensorboard_takes_pictures_and_tables(tmp_path: Path) -> None:
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, name="", version="")
    media = Media(tmp_path / "media", [logger])
    media.picture("previews", "a", np.zeros((4, 4, 3), np.uint8), 3)
    media.table("tables", "validation", ["object", "iou"], [["a", None]], 3)
    logger.finalize("success")
    found = EventAccumulator(str(tmp_path))
    found.Reload()
    assert found.Tags()["images"] == ["previews/a"]
    (text,) = found.Tensors("tables/validation/text_summary")
    assert text.tensor_proto.string_val[0] == b"| object | iou |\n| --- | --- |\n| a |  |"
