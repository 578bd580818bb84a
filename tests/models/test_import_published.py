"""From a random checkpoint in the released format to this project's weights, and what is refused."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tests.models.sparseneus_weights import random_checkpoint
from torch import Tensor
from torch.nn import functional as F

from one2345.checkpoints import KEY, load_reconstructor, training_record
from one2345.errors import CheckpointError
from one2345.models import SparseNeus
from one2345.models.import_published import CONFIG, import_published, main
from one2345.models.norms import BatchNorm
from one2345.models.sparseneus import Quirks
from one2345.models.sparseneus.released import (
    NETWORKS,
    kernel_to_dense,
    kernel_to_transposed,
    released_sources,
)


@pytest.fixture
def checkpoint() -> dict[str, Any]:
    return random_checkpoint(3)


@pytest.fixture
def file(checkpoint: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "ckpt_215000.pth"
    torch.save(checkpoint, path)
    return path


def failure(capsys: pytest.CaptureFixture[str], *arguments: Path) -> str:
    """The command's one line of complaint, after "error: "."""
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    return captured.err.removeprefix("error: ").rstrip("\n")


def refused(capsys: pytest.CaptureFixture[str], content: object, folder: Path) -> str:
    """The complaint about a checkpoint of this content; nothing is left in the folder but it."""
    path = folder / "wrong.pth"
    torch.save(content, path)
    line = failure(capsys, path, folder / "out.safetensors")
    assert [entry.name for entry in folder.iterdir()] == ["wrong.pth"]
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")


def test_every_key_is_mapped(file: Path, checkpoint: dict[str, Any]) -> None:
    model, report = import_published(file)
    assert isinstance(model, SparseNeus) and not model.training
    state = model.state_dict()
    theirs = {f"{net}/{key}" for net in NETWORKS for key in checkpoint[net]}
    assert {name for name, _ in report.mapped} == set(state)
    assert {name for _, name in report.mapped} == theirs
    assert len(report.mapped) == len(theirs)
    sources = released_sources(state)
    for name, tensor in state.items():
        given = checkpoint[sources[name].network][sources[name].key]
        if given.ndim != 3:  # all but the kernels of the 3D network stay as they are
            assert torch.equal(tensor, given), name
    assert model.blend_net.sharpness.item() == pytest.approx(-0.45)
    assert model.variance.v.item() == pytest.approx(0.3)


def test_weights_are_those_of_the_lengths_and_directions_given(
    file: Path, checkpoint: dict[str, Any]
) -> None:
    model, _ = import_published(file)
    for index, layer in enumerate((model.sdf_net.layer0, model.sdf_net.layer1, model.sdf_net.layer2)):
        length, direction = (
            checkpoint["sdf_network_lod0"][f"sdf_layer.lin{index}.weight_{kind}"] for kind in "gv"
        )
        torch.testing.assert_close(layer.weight, length * F.normalize(direction, dim=1))


def test_report(file: Path, checkpoint: dict[str, Any], tmp_path: Path) -> None:
    lines = str(import_published(file)[1]).splitlines()
    count = sum(len(checkpoint[net]) for net in NETWORKS)
    assert lines[-1] == f"{count} mapped, 3 unused, 0 missing; trained for 1,000 steps"
    assert len(lines) == count + 4
    assert "mapped   pyramid_feature_network/conv0.0.conv.weight -> feature_net.conv0.0.0.weight" in lines
    assert "mapped   rendering_network_lod0/s -> blend_net.sharpness" in lines
    assert lines[-4:-1] == [
        "unused   optimizer (state of Adam)",
        "unused   iter_step (counts steps)",
        "unused   val_step (counts validations)",
    ]
    torch.save({**{net: checkpoint[net] for net in NETWORKS}, "note": "x"}, tmp_path / "other.pth")
    lines = str(import_published(tmp_path / "other.pth")[1]).splitlines()
    assert lines[-2:] == [
        "unused   note (not part of the network)",
        f"{count} mapped, 1 unused, 0 missing; trained for unknown steps",
    ]


def test_the_command_writes_what_load_reconstructor_opens(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "published.safetensors"
    assert main([str(file), str(out)]) == 0
    captured = capsys.readouterr()
    model, report = import_published(file)
    assert captured.out == f"{report}\nwrote {out}\n"
    assert captured.err == ""
    assert [entry.name for entry in out.parent.iterdir()] == [out.name]

    loaded, record = load_reconstructor(out)
    assert isinstance(loaded, SparseNeus) and not loaded.training
    assert record["model"] == CONFIG
    assert record["imported"]["from"] == file.name and record["imported"]["steps"] == 1000
    assert len(record["imported"]["sha256"]) == 64
    assert loaded.quirks == Quirks.of(True)
    norms = [part for part in loaded.modules() if isinstance(part, BatchNorm)]
    assert {part.statistics for part in norms} == {"batch"}
    state, again = model.state_dict(), loaded.state_dict()
    assert list(again) == list(state)
    assert all(torch.equal(again[name], state[name]) for name in state)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded.fused_features(images), model.fused_features(images))
    with safe_open(out, framework="pt") as reader:
        assert json.loads(reader.metadata()["record"]) == record


def test_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = failure(capsys, tmp_path / "none.pth", tmp_path / "out.safetensors")
    assert line == f"{tmp_path / 'none.pth'}: no such file; give the released checkpoint, ckpt_215000.pth"
    assert failure(capsys, tmp_path, tmp_path / "out.safetensors").startswith(f"{tmp_path}: no such file")
    assert not any(tmp_path.iterdir())


class _Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def test_code_in_a_pickle_does_not_run(
    checkpoint: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = tmp_path / "ran"
    for key in ("optimizer", "iter_step"):
        line = refused(capsys, {**checkpoint, key: _Payload(marker)}, tmp_path)
        assert line.startswith("damaged, or holds more than tensors and plain values (")
    assert not marker.exists()


@pytest.mark.parametrize("kept", [0, 100, 200_000])
def test_torn_file(file: Path, kept: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_bytes(file.read_bytes()[:kept])
    line = failure(capsys, file, tmp_path / "out.safetensors")
    assert line.startswith(f"{file}: damaged, or holds more than")
    assert [entry.name for entry in tmp_path.iterdir()] == [file.name]


def test_other_contents(
    checkpoint: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, [1, 2], tmp_path) == "holds a list, not the state of a network or a run"
    assert refused(capsys, torch.ones(2), tmp_path) == "holds a Tensor, not the state of a network or a run"
    none = refused(capsys, {}, tmp_path)
    assert none == f"not a released One-2-3-45 checkpoint: it has no {', '.join(NETWORKS)}"
    del checkpoint["variance_network_lod0"]
    checkpoint["rendering_network_lod0"] = torch.ones(1)
    absent = refused(capsys, checkpoint, tmp_path)
    assert absent.endswith("it has no rendering_network_lod0, variance_network_lod0")


def test_files_of_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = {f"model.{name}": tensor for name, tensor in SparseNeus(resolution=16).state_dict().items()}
    training = {"state_dict": state, KEY: training_record(CONFIG), "global_step": 7}
    assert "not a released One-2-3-45 checkpoint" in refused(capsys, training, tmp_path)
    (tmp_path / "wrong.pth").unlink()
    release = tmp_path / "ours.safetensors"
    save_file(state, release)
    line = failure(capsys, release, tmp_path / "out.safetensors")
    assert line.startswith(f"{release}: ")
    assert [entry.name for entry in tmp_path.iterdir()] == [release.name]


def test_keys_that_do_not_fit(
    checkpoint: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = "not the released network of one level of detail: "
    sdf, pyramid = checkpoint["sdf_network_lod0"], checkpoint["pyramid_feature_network"]

    def complaint() -> str:
        line = refused(capsys, checkpoint, tmp_path)
        assert line.startswith(start)
        return line.removeprefix(start)

    kept = sdf.pop("sdf_layer.lin1.bias")
    assert complaint() == "missing sdf_network_lod0/sdf_layer.lin1.bias"
    sdf["sdf_layer.lin1.bias"] = [0.0] * 128  # no tensor
    assert complaint() == "missing sdf_network_lod0/sdf_layer.lin1.bias"
    sdf["sdf_layer.lin1.bias"] = kept

    sdf["sdf_layer.lin3.bias"] = kept
    assert complaint() == "unknown sdf_network_lod0/sdf_layer.lin3.bias"
    del sdf["sdf_layer.lin3.bias"]

    kept = pyramid["lat0.bias"]
    pyramid["lat0.bias"] = torch.zeros(31)
    assert complaint() == "pyramid_feature_network/lat0.bias has shape (31,)"
    pyramid["lat0.bias"] = kept

    kernel = "sparse_costreg_net.conv3.net.0.kernel"
    kept = sdf[kernel]
    for wrong in ((27, 32, 16), (26, 16, 32), (16, 32), (8, 16, 32)):
        sdf[kernel] = torch.zeros(wrong)
        assert complaint() == f"sdf_network_lod0/{kernel} has shape {wrong}"
    for value in (torch.nan, torch.inf):
        sdf[kernel] = kept.clone()
        sdf[kernel][3, 2, 1] = value
        assert complaint() == f"sdf_network_lod0/{kernel} is not finite"

    for name in [name for name in sdf if name.startswith("sdf_layer")][:4]:
        del sdf[name]
    assert complaint().endswith("; and 2 more")


def test_output_that_cannot_be(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("out.ckpt", "out.pth", "out"):
        line = failure(capsys, file, tmp_path / name)
        assert line == f"{tmp_path / name}: the weights are written as .safetensors"
    below_a_file = tmp_path / "ckpt_215000.pth" / "out.safetensors"
    assert failure(capsys, file, below_a_file) == f"{below_a_file}: can't be written (File exists)"
    folder = tmp_path / "folder.safetensors"
    folder.mkdir()
    assert failure(capsys, file, folder) == f"{folder}: can't be written (Is a directory)"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [file.name, folder.name]
    assert not any(folder.iterdir())


def test_import_published_raises(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        import_published(tmp_path / "none.pth")


@pytest.fixture
def kernel() -> Tensor:
    return torch.randn(27, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


OFFSETS = list(product((-1, 0, 1), repeat=3))


def tap(kernel: Tensor, dx: int, dy: int, dz: int) -> Tensor:
    """(in, out) of the site at offset (dx, dy, dz): x runs fastest."""
    return kernel[(dz + 1) * 9 + (dy + 1) * 3 + dx + 1]


@pytest.mark.parametrize("stride", [1, 2])
def test_dense_kernel_gathers_the_neighbours(kernel: Tensor, stride: int) -> None:
    """Axes of the grid are x, y, z; the coarse place p of a strided convolution lies at 2 p."""
    values = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    got = F.conv3d(values[None], kernel_to_dense(kernel), stride=stride, padding=1)[0]
    for x, y, z in product(*(range(edge) for edge in got.shape[1:])):
        total = torch.zeros(3, dtype=torch.float64)
        for dx, dy, dz in OFFSETS:
            i, j, k = stride * x + dx, stride * y + dy, stride * z + dz
            if 0 <= i < 4 and 0 <= j < 5 and 0 <= k < 6:
                total += values[:, i, j, k] @ tap(kernel, dx, dy, dz)
        torch.testing.assert_close(got[:, x, y, z], total)


def test_transposed_kernel_takes_the_same_taps_backwards(kernel: Tensor) -> None:
    """What fine site 2 p + d gave to coarse site p through the tap of d, it gets back through it."""
    values = torch.randn(2, 3, 2, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    fine = (5, 4, 6)
    got = F.conv_transpose3d(
        values[None], kernel_to_transposed(kernel), stride=2, padding=1, output_padding=(0, 1, 1)
    )[0]
    assert got.shape[1:] == fine
    want = torch.zeros(3, *fine, dtype=torch.float64)
    for x, y, z in product(range(3), range(2), range(3)):
        for dx, dy, dz in OFFSETS:
            i, j, k = 2 * x + dx, 2 * y + dy, 2 * z + dz
            if 0 <= i < fine[0] and 0 <= j < fine[1] and 0 <= k < fine[2]:
                want[:, i, j, k] += values[:, x, y, z] @ tap(kernel, dx, dy, dz)
    torch.testing.assert_close(got, want)
