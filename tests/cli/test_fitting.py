"""What training says when memory runs out, when weights don't fit, and when it can't be deterministic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.data.spheres import RECIPE, Balls

from one2345.checkpoint_folder import newest
from one2345.cli import app, train
from one2345.cli.fitting import memory_explained
from one2345.data import prepare_objects
from one2345.errors import InputError
from one2345.training import ReconstructionModule


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("views")
    prepare_objects(Balls(2), out=out, recipe=replace(RECIPE, size=32), workers=1, progress=False)
    return out


def argv(root: Path, *more: str) -> list[str]:
    return [
        "debug=limit", "scale=laptop", "trainer.accelerator=cpu", "data=folder", f"data.root={root}", "resume=auto",
        "run.overwrite=false", "run.id=a", "scale.steps=1", "data.test_split=val", *more,
    ]  # fmt: skip


@pytest.fixture
def untested(monkeypatch, tmp_path):
    """Only training, nothing after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "_evaluate", lambda config, trainer, module: trainer)
    return tmp_path / "experiments" / "runs" / "debug_limit" / "a" / "checkpoints"


def test_weights_of_other_shapes_are_named(root, untested, capsys):
    assert app.execute(train.COMMAND, argv(root)) == 0
    file = newest(untested)
    assert file is not None
    content = torch.load(file, weights_only=True)
    name = "model.sdf_net.layer2.weight"
    torch.save({**content, "state_dict": content["state_dict"] | {name: torch.zeros(3, 5)}}, file)
    again = argv(root, "scale.steps=2")
    assert app.execute(train.COMMAND, again) == 2
    assert f"{file}: weights of another model: {name} is (3, 5), expected" in capsys.readouterr().err
    del content["optimizer_states"]
    torch.save(content, file)
    assert app.execute(train.COMMAND, again) == 2
    assert "no state of a run to continue (without optimizer_states)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore lines"),
        MemoryError(),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 80 bytes"
        ),
    ],
)
def test_three_settings_that_need_less_memory_are_named(error, root, untested, monkeypatch, capsys):
    def failing(self, batch, batch_idx):
        raise error

    monkeypatch.setattr(ReconstructionModule, "training_step", failing)
    more = argv(root, "scale.batch=4")
    assert app.execute(train.COMMAND, more) == 2
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("error: out of memory") and said.count("error: ") == 1
    assert "scale.batch=2 trainer.accumulate_grad_batches=2 (the same step in smaller parts)" in said
    assert "scale.rays=16 (now 32), scale.volume=8 (now 16)" in said


def test_view_synthesis_has_settings_of_its_own():
    scale = {"batch": 9, "synthesis": {"batch": 1, "pixels": 64}}
    config = {"task": "view_synthesis", "scale": scale, "trainer": {}}
    three = "synthesis.gradient_checkpointing=true, trainer.precision=bf16-mixed, scale.synthesis.pixels=32"
    with pytest.raises(InputError, match=f"with {three}$"), memory_explained(config):
        raise torch.OutOfMemoryError("x")
    with pytest.raises(RuntimeError, match="another"), memory_explained(config):
        raise RuntimeError("another")


def test_an_unknown_level_of_determinism_is_refused(root, untested, capsys):
    more = argv(root, "determinism=always")
    assert app.execute(train.COMMAND, more) == 2
    assert "determinism=always: takes off, seeded, strict" in capsys.readouterr().err
    assert newest(untested) is None
