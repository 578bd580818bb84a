"""From a server's objects to a table: download, render, predict, pack, train on two ranks, evaluate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trimesh
from tests.data.objaverse_server import ObjaverseServer
from tests.views.zero123.test_loading import SCHEDULE
from tests.views.zero123.tiny import make_tiny

from one2345.views.zero123 import save_zero123

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

TRAIN, TEST = ("ball", "box", "can", "egg"), ("pill", "ring")


def models() -> dict[str, bytes]:
    made = {
        "ball": trimesh.creation.icosphere(subdivisions=3),
        "box": trimesh.creation.box((1.0, 0.6, 0.8)).subdivide().subdivide(),
        "can": trimesh.creation.cylinder(radius=0.4, height=1.0),
        "egg": trimesh.creation.icosphere(subdivisions=3).apply_scale((1.0, 0.7, 0.7)),
        "pill": trimesh.creation.capsule(height=0.6, radius=0.3),
        "ring": trimesh.creation.torus(major_radius=0.5, minor_radius=0.2),
    }
    for number, mesh in enumerate(made.values()):
        mesh.visual.vertex_colors = (60 + 30 * number, 200 - 25 * number, 120, 255)
    return {name: bytes(mesh.export(file_type="glb")) for name, mesh in made.items()}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjaverseServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = ObjaverseServer(models() | {"broken": b"glTF, or so it says"})
    yield made
    made.close()


def test_the_whole_chain(server: ObjaverseServer, tmp_path: Path) -> None:
    def run(command: str, *argv: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", f"one2345.cli.{command}", *argv],
            cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=1200,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    ids = server.uids
    split = {
        "train": [{"folder_id": "000-000", "uid": ids[name]} for name in (*TRAIN, "broken")],
        "test": [{"folder_id": "000-000", "uid": ids[name]} for name in TEST],
    }
    (tmp_path / "split.json").write_text(json.dumps(split))
    sizes = ["render.train_samples.sdf_points=2000", "render.train_samples.surface_points=2000"]
    source = [
        "source=objaverse",
        "source.root=glbs",
        "source.split_file=split.json",
        f"source.url={server.url}",
    ]

    # download and render: what can't be used is told from what can
    run(
        "prepare", *source, "source.download=true", "source.patience.attempts=2", "source.patience.wait=0",
        "source.partial=true", "plan=published32", "render.size=64", "render.targets=3", *sizes,
        "out=data", "workers=2",
    )  # fmt: skip
    status = json.loads(run("prepare", "stage=status", "out=data", "format=json"))
    assert status["render"]["counts"]["done"] == 6
    assert status["download"]["counts"]["done"] == 6 and status["download"]["counts"]["failed"] == 1

    # predict: as a diffusion model errs, and by a (random) Zero123
    run("prepare", "stage=predict", "root=data", "out=simulated", "views=simulated", "views.size=64", *source)
    save_zero123(tmp_path / "tiny", make_tiny(), scheduler=SCHEDULE)
    run(
        "prepare", "stage=predict", "root=data", "out=zero123", "views=zero123", "views.weights=tiny", "views.steps=2",
        "views.near_steps=2", "download=false", f"ids=[{ids['ball']}]",
    )  # fmt: skip
    assert len(list((tmp_path / "zero123" / ids["ball"]).glob("s*_n*.png"))) == 32

    # pack, and train on what is packed with the predictions as inputs
    run("prepare", "stage=pack", "root=data", "out=shards")
    run(
        "train", "experiment=sdf_objaverse", "data=shards", "data.root=shards", "inputs=predicted",
        "inputs.root=simulated", "scale=laptop", "scale.steps=50", "scale.val_every=50", "scale.volume=16",
        "scale.rays=32", "scale.extract=32", "data.sizes.targets=1", "data.samples_per_epoch=100", "run.id=a",
        "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "evaluate.pictures=false",
    )  # fmt: skip
    folder = tmp_path / "experiments" / "runs" / "sdf_objaverse" / "a"
    assert (folder / "checkpoints" / "step-00000050.ckpt").is_file()

    # evaluate, on the folder that was prepared
    run(
        "evaluate", f"ckpt={folder}", "data=objaverse", "data.root=data", "extractor.resolution=32", "out=table",
        "evaluate.pictures=false", "scale=laptop",
    )  # fmt: skip
    results = json.loads((tmp_path / "table" / "results.json").read_text())
    assert set(results["objects"]) == {ids[name] for name in TEST}
    assert (tmp_path / "table" / "table.md").is_file()
