"""Source views as a network sees them: exact and predicted inputs, and the config nodes of all three."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from one2345.data.inputs import ExactInputs, PredictedInputs, RaisedInputs, SimulatedInputs
from one2345.errors import InputError
from one2345.geometry import orbit_cameras
from one2345.paths import conf_dir
from one2345.views import PosedViews

SIZE = 16


def views() -> PosedViews:
    n = 2
    return PosedViews(
        images=torch.ones(n, 3, SIZE, SIZE),
        masks=torch.zeros(n, SIZE, SIZE),
        cameras=orbit_cameras([0.0, 90.0], [10.0, 10.0], size=SIZE),
        names=("s0", "s1"),
        roles=("stage1",) * n,
        parents=(None,) * n,
        depth=torch.zeros(n, SIZE, SIZE),
    )


def save(root: Path, size: int, mode: str, names: tuple[str, ...] = ("s0", "s1")) -> np.ndarray:
    """Left half opaque dark red, right half white (RGB) or a transparent black (RGBA)."""
    (root / "cup").mkdir(parents=True)
    pixels = np.zeros((size, size, 4), np.uint8)
    pixels[:, : size // 2] = (100, 0, 0, 255)
    if mode == "RGB":
        pixels[:, size // 2 :] = 255
    for name in names:
        Image.fromarray(pixels).convert(mode).save(root / "cup" / f"{name}.png")
    return pixels


RECORD = SimpleNamespace(id="cup")


def test_exact_inputs_are_the_same_views() -> None:
    true = views()
    assert ExactInputs()(None, true, key=(0,)) is true


def test_raised_inputs_are_the_same_pictures_at_wrong_poses() -> None:
    true = views()
    wrong = RaisedInputs(degrees=-30)(None, true, key=(0,))
    assert torch.allclose(wrong.cameras.c2w, orbit_cameras([0.0, 90.0], [-20.0, -20.0]).c2w, atol=1e-6)
    assert torch.allclose(wrong.reference_camera.c2w, wrong.cameras.c2w[:1], atol=1e-6)
    assert wrong.images is true.images and wrong.masks is true.masks and wrong.depth is None
    drifting = RaisedInputs(degrees=1, inputs=SimulatedInputs())
    assert drifting.wants_depth == SimulatedInputs().wants_depth


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("size", [SIZE, 4 * SIZE])
def test_predicted_images_replace_the_true_ones(tmp_path: Path, mode: str, size: int) -> None:
    save(tmp_path, size, mode)
    true = views()
    made = PredictedInputs(root=tmp_path)(RECORD, true, key=(0,))
    left, right = slice(0, SIZE // 2 - 2), slice(SIZE // 2 + 2, SIZE)
    assert torch.allclose(made.images[:, 0, :, left], torch.tensor(100 / 255), atol=1e-5)
    assert torch.allclose(made.images[:, 1:, :, left], torch.zeros(()), atol=1e-5)
    assert torch.allclose(made.images[..., right], torch.ones(()), atol=1e-5)
    assert torch.allclose(made.masks[..., left], torch.ones(()), atol=1e-5)
    assert torch.allclose(made.masks[..., right], torch.zeros(()), atol=1e-5)
    assert made.names == true.names and made.cameras is true.cameras and made.depth is None


def test_predicted_errors_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        PredictedInputs(root=tmp_path / "nowhere")
    save(tmp_path, SIZE, "RGB", names=("s0",))
    inputs = PredictedInputs(root=tmp_path)
    with pytest.raises(InputError, match=r"s1\.png.*missing"):
        inputs(RECORD, views(), key=(0,))
    with pytest.raises(InputError, match="'jug'"):
        inputs(SimpleNamespace(id="jug"), views(), key=(0,))
    with pytest.raises(InputError, match="record"):
        inputs(None, views(), key=(0,))


def test_predicted_images_must_be_whole_and_of_the_views_shape(tmp_path: Path) -> None:
    save(tmp_path, SIZE, "RGB")
    inputs = PredictedInputs(root=tmp_path)
    file = tmp_path / "cup" / "s1.png"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"s1\.png.*truncated"):
        inputs(RECORD, views(), key=(0,))
    Image.new("RGB", (SIZE, 2 * SIZE)).save(file)
    with pytest.raises(InputError, match=r"s1\.png.*16x32"):
        inputs(RECORD, views(), key=(0,))


@pytest.mark.parametrize("name", ["exact", "simulated", "predicted"])
def test_config_node_is_a_constructor_call(name: str, tmp_path: Path) -> None:
    node = yaml.safe_load((conf_dir() / "inputs" / f"{name}.yaml").read_text())
    module, _, kind = node.pop("_target_").rpartition(".")
    assert module == "one2345.data.inputs"
    if name == "predicted":
        assert node.pop("root") == "???"
        node["root"] = str(tmp_path)
    made = {c.__name__: c for c in (ExactInputs, SimulatedInputs, PredictedInputs)}[kind](**node)
    if name == "simulated":  # the config repeats the calibrated defaults
        assert made.amplitudes == SimulatedInputs().amplitudes and made.lowpass == SimulatedInputs().lowpass


def test_recorded_calibration_is_of_the_present_defaults_and_meets_its_target() -> None:
    file = Path(__file__).parents[2] / "experiments" / "simulated_inputs" / "results.json"
    results = json.loads(file.read_text())
    defaults = {k: v.default for k, v in inspect.signature(SimulatedInputs).parameters.items()}
    assert results["defaults"] == defaults
    target, found = results["config"]["target"], results["pool"]["rig"]
    assert abs(found["psnr"] - target["psnr"]) <= target["psnr_tolerance"]
    assert abs(found["mask_iou"] - target["mask_iou"]) <= target["mask_iou_tolerance"]
