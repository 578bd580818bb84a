"""Checkpoints: what a stranger's file may do, what is wrong with a file, weights for a network that is there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.training.scenes import TINY, tiny_model

from one2345.build import build
from one2345.checkpoints import (
    FORMAT,
    KEY,
    load_reconstructor,
    load_weights,
    read_record,
    save_release,
    training_record,
)
from one2345.errors import CheckpointError, InputError


class MyNetwork(torch.nn.Linear):
    """A user's own class, which no checkpoint may name."""


def write_ckpt(file: Path, model: torch.nn.Module, config: Any) -> Path:
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, KEY: training_record(config)}, file)
    return file


def write_release(file: Path, **metadata: str) -> Path:
    save_file({"x": torch.zeros(1)}, file, metadata=metadata)
    return file


def exploit(victim: Path) -> dict[str, Any]:
    """Two harmless-looking calls that together write any file."""
    path = {"_target_": "one2345.views.reader.object_folder", "root": "/", "id": str(victim)}
    return {"_target_": "one2345.files.write_atomic", "path": path, "data": "evil"}


def test_a_strangers_checkpoint_writes_no_file(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    build(exploit(victim), allow_any=True)
    assert victim.read_text() == "evil"  # what it would do
    victim.unlink()
    release = tmp_path / "evil.safetensors"
    for node in (exploit(victim), {**TINY, "variance": exploit(victim)}):
        with pytest.raises(InputError, match="not allowed"):
            build(node)
        save_release(release, tiny_model(), {"model": node})
        with pytest.raises(CheckpointError, match="not allowed"):
            load_reconstructor(release)
        with pytest.raises(CheckpointError, match="not allowed"):
            load_reconstructor(write_ckpt(tmp_path / "evil.ckpt", tiny_model(), node))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evil.ckpt", "evil.safetensors"]


@pytest.mark.parametrize(
    "target",
    [
        "one2345.training.PreviewPanels",
        "one2345.data.ShapesSource",
        "one2345.geometry.Box",
        "one2345.models.reconstructor.Box",  # imported there, not defined there
        "one2345.rendering.RenderSettings",
        "one2345.rendering.VarianceX",
        "torch.optim.Adam",
    ],
)
def test_a_checkpoint_may_name_parts_of_networks_only(tmp_path: Path, target: str) -> None:
    file = write_ckpt(tmp_path / "x.ckpt", tiny_model(), {**TINY, "variance": {"_target_": target}})
    with pytest.raises(CheckpointError, match=r"not allowed.*allowed are the classes of one2345\.models"):
        load_reconstructor(file)


def ckpt(content: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        torch.save(content, folder / "x.ckpt")
        return folder / "x.ckpt"

    return write


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (ckpt({"state_dict": {}, KEY: {"format": FORMAT}}), "`model`"),
        (ckpt({"state_dict": {}, KEY: {"format": FORMAT, "model": [1]}}), "`model`"),
        (ckpt({KEY: training_record(TINY)}), "`state_dict`"),
        (ckpt({"state_dict": {"model.x": 3}, KEY: training_record(TINY)}), "`state_dict`"),
        (ckpt({"state_dict": {}, KEY: training_record({})}), "_target_"),
        (
            ckpt(
                {
                    "state_dict": {},
                    KEY: training_record({**TINY, "feature_net": {**TINY["feature_net"], "channels": 7}}),
                }
            ),
            "can't be built",
        ),
        (ckpt([1, 2]), "holds a list"),
        (lambda folder: write_release(folder / "x.safetensors", format=FORMAT), "`record`"),
        (lambda folder: write_release(folder / "x.safetensors", format=FORMAT, record="{"), "`record`"),
        (lambda folder: write_release(folder / "x.safetensors", format=FORMAT, record="[]"), "`record`"),
        (lambda folder: write_release(folder / "x.safetensors", format=FORMAT, record="{}"), "`model`"),
    ],
)
def test_incomplete_files_are_named(tmp_path: Path, write: Callable[[Path], Path], words: str) -> None:
    file = write(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        load_reconstructor(file)
    assert str(file) in str(caught.value) and words in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"\x80", b"hello", b"\x80\x02}q\x00", bytes(range(256)), b"PK\x03\x04"]
)
def test_bytes_that_are_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    for suffix in (".ckpt", ".safetensors"):
        file = tmp_path / f"x{suffix}"
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match="damaged"):
            load_reconstructor(file)


def test_weights_for_a_network_of_the_users_own(tmp_path: Path) -> None:
    config = {"_target_": f"{__name__}.MyNetwork", "in_features": 2, "out_features": 3}
    trained, model = MyNetwork(2, 3), MyNetwork(2, 3)
    file = write_ckpt(tmp_path / "best.ckpt", trained, config)
    with pytest.raises(CheckpointError, match="not allowed"):
        load_reconstructor(file)
    assert load_weights(model, tmp_path)["model"] == config
    assert torch.equal(model.weight, trained.weight)
    with pytest.raises(CheckpointError, match=r"best\.ckpt: weights of another model: .*weight"):
        load_weights(MyNetwork(2, 4), file)


def test_the_record_keeps_the_scale(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    save_release(file, tiny_model(), {"model": TINY, "scale": "gpu", "licence": "Apache-2.0"})
    _, record = load_reconstructor(file)
    assert record == read_record(file) == json.loads(json.dumps(record))
    assert record["scale"] == "gpu"
