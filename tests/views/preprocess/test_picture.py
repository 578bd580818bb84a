"""Cutting and centring: discs whose true alpha is known, the three ways to cut, and every warning."""

from __future__ import annotations

import os
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from one2345.errors import InputError
from one2345.views.preprocess import cut_plain_background, prepare_picture, rembg_model
from one2345.views.preprocess.framing import far_pieces

SHARED = Path(os.environ.get("ONE2345_SHARED", Path(__file__).parents[4] / "shared"))
PICTURES = SHARED / "data" / "test_images" / "images"
RED = np.array([0.8, 0.2, 0.1])


@pytest.fixture(autouse=True)
def without_rembg(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where rembg isn't installed, whatever this machine has."""
    real = rembg_model.find_spec
    monkeypatch.setattr(
        rembg_model, "find_spec", lambda name: None if name in ("rembg", "onnxruntime") else real(name)
    )


def disc_alpha(size: int, centre: tuple[float, float], radius: float) -> np.ndarray:
    """Area of a disc in each pixel, near enough: (size, size)."""
    grid = np.arange(size) + 0.5
    distance = np.hypot(grid[None] - centre[0], grid[:, None] - centre[1])
    return np.clip(radius - distance + 0.5, 0, 1)


def compose(alpha: np.ndarray, colour: np.ndarray, background: np.ndarray) -> np.ndarray:
    mixed = alpha[..., None] * colour + (1 - alpha[..., None]) * background
    return np.rint(mixed * 255).astype(np.uint8)


def rgba(alpha: np.ndarray, colour: np.ndarray = RED) -> np.ndarray:
    """Straight alpha; what is transparent is black, as many programs leave it."""
    colours = np.where(alpha[..., None] > 0, colour, 0.0)
    return np.rint(np.dstack([colours, alpha]) * 255).astype(np.uint8)


def test_the_longer_edge_spans_three_quarters_in_the_middle() -> None:
    alpha = np.zeros((300, 500))
    alpha[40:100, 200:420] = 1
    result = prepare_picture(rgba(alpha))
    assert result.image.shape == (3, 256, 256) and result.image.dtype == torch.float32
    inside = np.argwhere(result.mask.numpy() > 0.5)
    (top, left), (bottom, right) = inside.min(0), inside.max(0) + 1
    assert right - left == 192 and left == 32
    assert abs((bottom - top) - 192 * 60 / 220) <= 1 and abs(top + bottom - 256) <= 1
    assert result.facts["box"] == (200, 40, 420, 100)
    assert result.facts["scale"] == pytest.approx(192 / 220)
    assert result.facts["foreground"] == "alpha" and result.facts["source_size"] == (300, 500)
    assert result.warnings == ()


@pytest.mark.parametrize("size", [64, 256])
def test_no_fringe_from_what_lies_under_transparent_pixels(size: int) -> None:
    """Colours are those of the object over white, however dark or bright the hidden pixels are."""
    alpha = disc_alpha(400, (200, 200), 120)
    dark = rgba(alpha)
    bright = dark.copy()
    bright[alpha == 0, :3] = 255
    a, b = prepare_picture(dark, size=size), prepare_picture(bright, size=size)
    torch.testing.assert_close(a.image, b.image, atol=2 / 255, rtol=0)
    expected = a.mask * torch.tensor(RED).float()[:, None, None] + 1 - a.mask
    torch.testing.assert_close(a.image, expected, atol=4 / 255, rtol=0)


@pytest.mark.parametrize("background", [(1.0, 1.0, 1.0), (0.5, 0.5, 0.5), (0.1, 0.3, 0.8)])
def test_a_plain_background_is_cut_as_the_truth_says(background: tuple[float, float, float]) -> None:
    truth = disc_alpha(256, (120.3, 131.7), 70.4)
    noise = np.random.default_rng(0).normal(0, 1.0, (256, 256, 3))
    picture = np.clip(compose(truth, RED, np.array(background)) + noise, 0, 255).astype(np.uint8)
    cut = cut_plain_background(picture.astype(np.float32) / 255)
    assert cut is not None and cut.confidence > 0.9
    assert np.abs(cut.alpha - truth).max() < 0.12 and np.abs(cut.alpha - truth).mean() < 1e-3
    np.testing.assert_allclose(cut.background, background, atol=0.01)
    soft = (truth > 0.2) & (truth < 0.9)
    np.testing.assert_allclose(cut.colour[soft].mean(0), RED, atol=0.02)


def test_light_that_falls_off_is_followed() -> None:
    v, u = np.mgrid[:256, :256] / 256
    background = np.stack([0.9 - 0.25 * u - 0.05 * v] * 3, -1)
    truth = disc_alpha(256, (128, 128), 60)
    cut = cut_plain_background((compose(truth, RED, background) / 255).astype(np.float32))
    assert cut is not None
    assert np.abs(cut.alpha - truth).mean() < 1e-3


def test_white_parts_inside_the_object_stay_and_coloured_holes_open() -> None:
    truth = disc_alpha(256, (128, 128), 80)
    spot = disc_alpha(256, (128, 128), 30)
    for level, closed in ((1.0, True), (0.5, False)):
        background = np.full(3, level)
        picture = compose(truth * (1 - spot), RED, background)
        cut = cut_plain_background(picture.astype(np.float32) / 255)
        assert cut is not None
        assert (cut.alpha[128, 128] == 1) == closed
        assert (cut.enclosed > 0.1) == closed and (cut.holes > 0.1) == (not closed)


def test_specks_are_dropped_and_thin_parts_kept() -> None:
    truth = disc_alpha(256, (128, 150), 50)
    truth[40:110, 127:129] = 1
    picture = compose(truth, RED, np.ones(3))
    picture[20, 20] = picture[20:22, 230] = 0
    cut = cut_plain_background(picture.astype(np.float32) / 255)
    assert cut is not None and cut.specks == 2
    assert cut.alpha[:30].max() == 0 and cut.alpha[230, :].max() == 0
    assert cut.alpha[50:100, 127:129].min() > 0.9


def test_auto_takes_the_plain_cut_and_says_how_sure() -> None:
    truth = disc_alpha(256, (128, 128), 60)
    result = prepare_picture(compose(truth, RED, np.full(3, 0.95)))
    assert result.facts["foreground"] == "uniform background" and result.facts["confidence"] > 0.9
    faint = prepare_picture(compose(truth, np.full(3, 0.90), np.full(3, 0.95)))
    assert "unsure" in faint.warnings[0] and faint.facts["confidence"] < 0.6


def busy() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (80, 100, 3), np.uint8)


def test_a_background_that_is_not_plain_names_the_choices() -> None:
    with pytest.raises(InputError) as caught:
        prepare_picture(busy())
    text = str(caught.value)
    assert "\n" not in text
    for word in ("not plain", "not installed", "segment=rembg", "preprocess", "alpha", "segment=none"):
        assert word in text


def test_none_takes_the_whole_picture() -> None:
    result = prepare_picture(busy(), segment="none", size=128)
    mask = result.mask.numpy() > 0.5
    assert mask.sum(1).max() == 96 and abs(mask.sum(0).max() - 96 * 0.8) <= 1
    assert "whole picture" in result.warnings[0] and result.facts["foreground"] == "none"


def test_alpha_goes_before_the_model() -> None:
    result = prepare_picture(rgba(disc_alpha(200, (100, 100), 50)), segment="rembg")
    assert result.facts["foreground"] == "alpha" and "rembg was not asked" in result.warnings[0]


def install_fake_rembg(monkeypatch: pytest.MonkeyPatch, remove: object) -> list[str]:
    """A module that answers as rembg does; returns the models that were asked for."""
    asked: list[str] = []
    module = types.ModuleType("rembg")
    module.remove = remove  # type: ignore[attr-defined]
    module.new_session = lambda name: asked.append(name) or name  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rembg", module)
    monkeypatch.setattr(rembg_model, "find_spec", lambda name: ModuleSpec(name, None))
    return asked


def test_rembg_without_its_file_says_where_it_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unexpected(*_: object, **__: object) -> None:
        raise AssertionError("nothing may be fetched")

    install_fake_rembg(monkeypatch, unexpected)
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    for segment in ("auto", "rembg"):
        with pytest.raises(InputError) as caught:
            prepare_picture(busy(), segment=segment)
        for word in (
            "u2net.onnx",
            "176 MB",
            str(tmp_path / "u2net.onnx"),
            "U2NET_HOME",
            "download=True",
            "segment=none",
        ):
            assert word in str(caught.value)


@pytest.mark.parametrize("place", ["u2net.onnx", "models/u2net/u2net.onnx"])
def test_rembg_with_its_file_cuts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str) -> None:
    alpha = disc_alpha(80, (40, 40), 25)

    def remove(image: Image.Image, *, session: str, only_mask: bool) -> Image.Image:
        assert only_mask and session == "u2net" and image.size == (80, 80)
        return Image.fromarray(np.rint(alpha * 255).astype(np.uint8))

    asked = install_fake_rembg(monkeypatch, remove)
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_bytes(b"onnx")
    result = prepare_picture(busy()[:, :80])
    assert result.facts["foreground"] == "rembg" and result.facts["box"] == (15, 15, 65, 65)
    assert asked == ["u2net"]


def test_rembg_that_fails_or_ends_the_program_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    for error in (SystemExit(1), OSError("no route\nto host")):

        def remove(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        install_fake_rembg(monkeypatch, remove)
        with pytest.raises(InputError, match="segment=none") as caught:
            prepare_picture(busy(), segment="rembg", download=True)
        assert "\n" not in str(caught.value)


def test_an_empty_foreground_is_an_error() -> None:
    with pytest.raises(InputError, match="the foreground is empty"):
        prepare_picture(np.full((64, 64, 3), 240, np.uint8))
    with pytest.raises(InputError, match="the foreground is empty"):
        prepare_picture(np.zeros((64, 64, 4), np.uint8))


@pytest.mark.parametrize(
    ("centre", "edges"),
    [((100, 20), "top"), ((100, 180), "bottom"), ((20, 100), "left"), ((180, 180), "bottom, right")],
)
def test_edges_that_cut_the_object_are_named(centre: tuple[float, float], edges: str) -> None:
    result = prepare_picture(rgba(disc_alpha(200, centre, 50)))
    assert result.warnings[0] == f"the object is cut off by the picture's edge: {edges}"


def test_pieces_that_lie_apart_are_said() -> None:
    two = disc_alpha(200, (50, 100), 30) + disc_alpha(200, (150, 100), 30)
    assert "in 2 pieces" in prepare_picture(rgba(two)).warnings[0]
    near = disc_alpha(200, (70, 100), 30) + disc_alpha(200, (132, 100), 30)
    assert far_pieces(near > 0.5, 122) == 1


def test_a_tiny_picture_is_enlarged_with_a_warning() -> None:
    result = prepare_picture(rgba(disc_alpha(24, (12, 12), 8)))
    assert "enlarged" in result.warnings[0] and result.facts["scale"] == pytest.approx(12)


@pytest.mark.parametrize(
    "arguments", [{"segment": "sam"}, {"size": 2}, {"fill": 0.0}, {"fill": float("nan")}]
)
def test_bad_arguments(arguments: dict[str, object]) -> None:
    with pytest.raises(InputError):
        prepare_picture(rgba(disc_alpha(64, (32, 32), 20)), **arguments)  # type: ignore[arg-type]


def test_the_same_picture_gives_the_same_bytes(tmp_path: Path) -> None:
    Image.fromarray(compose(disc_alpha(128, (64, 64), 40), RED, np.ones(3))).save(tmp_path / "a.png")
    a, b = prepare_picture(tmp_path / "a.png"), prepare_picture(str(tmp_path / "a.png"))
    assert torch.equal(a.image, b.image) and a.sha256 == b.sha256 and a.facts == b.facts


@pytest.mark.skipif(
    not PICTURES.is_dir(), reason=f"no pictures at {PICTURES}; ONE2345_SHARED names their folder"
)
def test_plain_cuts_of_real_pictures_agree_with_their_alpha() -> None:
    """Pictures with alpha, pasted on plain colours: what is cut agrees with the alpha that was given."""
    values = []
    for name in (
        "zero123_taxi",
        "triposr_robot",
        "dreamgaussian_frog_sweater",
        "wonder3d_skull",
        "triposr_horse",
    ):
        image = Image.open(PICTURES / f"{name}.png").convert("RGBA")
        for colour in ((255, 255, 255), (90, 140, 70)):
            flat = Image.new("RGBA", image.size, (*colour, 255))
            flat.alpha_composite(image)
            cut = cut_plain_background(np.asarray(flat.convert("RGB"), np.float32) / 255)
            assert cut is not None, (name, colour)
            truth, found = np.asarray(image)[..., 3] > 127, cut.alpha > 0.5
            values.append((truth & found).sum() / (truth | found).sum())
    assert min(values) > 0.93 and np.mean(values) > 0.97, values
