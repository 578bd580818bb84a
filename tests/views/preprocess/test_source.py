"""Pictures of every kind come out as the colours and alpha that were put in."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from one2345.errors import InputError
from one2345.views.preprocess import read_source
from one2345.views.preprocess import source as module

H, W = 12, 20


def ramp() -> np.ndarray:
    """(h, w, 3) uint8 that no turn or flip leaves as it is."""
    v, u = np.mgrid[:H, :W]
    return np.stack([u * 12, v * 20, 255 - u * 6 - v * 4], -1).astype(np.uint8)


def test_rgb_and_its_hash(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.fromarray(ramp()).save(file)
    found = read_source(file)
    np.testing.assert_allclose(found.colour, ramp() / np.float32(255))
    assert found.alpha is None and found.size == (H, W)
    import hashlib

    assert found.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int) -> None:
    shown = ramp()
    # TIFF 6.0: where row 0 and column 0 of the stored pixels lie in the picture that is meant.
    stored = {
        1: shown,
        2: shown[:, ::-1],
        3: shown[::-1, ::-1],
        4: shown[::-1],
        5: shown.transpose(1, 0, 2),
        6: shown.transpose(1, 0, 2)[::-1],
        7: shown.transpose(1, 0, 2)[::-1, ::-1],
        8: shown.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    found = read_source(tmp_path / "a.png")
    np.testing.assert_allclose(found.colour, shown / np.float32(255))
    assert found.size == (H, W)
    kept = read_source(tmp_path / "a.png", orient=False)
    np.testing.assert_allclose(kept.colour, stored / np.float32(255))


def test_an_orientation_that_is_none_is_said(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    Image.fromarray(ramp()).save(tmp_path / "a.png", exif=exif)
    assert "orientation is unreadable" in read_source(tmp_path / "a.png").warnings[0]


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_grey(tmp_path: Path, format: str) -> None:
    values = (np.arange(H * W).reshape(H, W) * 270).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.img", format=format)
    found = read_source(tmp_path / "a.img")
    np.testing.assert_allclose(found.colour[..., 1], values / 65535, atol=1e-6)
    np.testing.assert_array_equal(found.colour[..., 0], found.colour[..., 2])


def test_nearly_black_16_bit_grey_is_said(tmp_path: Path) -> None:
    Image.fromarray(np.full((H, W), 900, np.uint16)).save(tmp_path / "a.png")
    assert "nearly black" in read_source(tmp_path / "a.png").warnings[0]


def test_16_bit_rgb_png(tmp_path: Path) -> None:
    values = ramp().astype(np.uint16) * 257
    file = tmp_path / "a.png"
    file.write_bytes(png16(values))
    np.testing.assert_allclose(read_source(file).colour, ramp() / 255, atol=1 / 255)


def png16(values: np.ndarray) -> bytes:
    """A PNG of 16 bits per channel, which PIL can't write."""
    h, w, _ = values.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", w, h, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_palette_with_a_transparent_entry(tmp_path: Path) -> None:
    index = np.zeros((H, W), np.uint8)
    index[3:9, 5:15] = 1
    image = Image.fromarray(index, mode=None).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.save(tmp_path / "a.png", transparency=0)
    found = read_source(tmp_path / "a.png")
    assert found.alpha is not None
    np.testing.assert_array_equal(found.alpha, index.astype(np.float32))
    np.testing.assert_allclose(found.colour[5, 8], np.array([200, 100, 50]) / 255, atol=1e-6)


@pytest.mark.parametrize("mode", ["LA", "L", "1", "CMYK"])
def test_other_modes(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (W, H), (90, 90, 90, 255))
    image.putpixel((0, 0), (255, 255, 255, 0))
    image = image.convert("RGB").convert(mode) if mode != "LA" else image.convert("LA")
    image.save(tmp_path / "a.tif")
    found = read_source(tmp_path / "a.tif")
    grey = {"1": found.colour[5, 5, 0]}.get(mode, 90 / 255)
    np.testing.assert_allclose(found.colour[5, 5], grey, atol=2 / 255)
    assert (found.alpha is not None) == (mode == "LA")
    assert found.facts["mode"] == mode


def test_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (250, 20, 30)).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(
        read_source(tmp_path / "a.jpg").colour[32, 32], np.array([250, 20, 30]) / 255, atol=0.05
    )


def test_an_embedded_profile_is_applied(tmp_path: Path) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    Image.fromarray(ramp()).save(tmp_path / "a.png", icc_profile=lab.tobytes())
    found = read_source(tmp_path / "a.png")
    assert "sRGB" in found.facts["colour_profile"]
    np.testing.assert_allclose(found.colour, ramp() / 255, atol=2 / 255)
    Image.fromarray(ramp()).save(tmp_path / "b.png", icc_profile=b"no profile")
    assert "profile is unreadable" in read_source(tmp_path / "b.png").warnings[0]


def test_opaque_alpha_is_none(tmp_path: Path) -> None:
    for alpha, said in ((255, False), (180, True)):
        rgba = np.dstack([ramp(), np.full((H, W), alpha, np.uint8)])
        Image.fromarray(rgba).save(tmp_path / "a.png")
        found = read_source(tmp_path / "a.png")
        assert found.alpha is None and bool(found.warnings) == said


def disc(premultiplied: bool) -> Image.Image:
    grid = np.arange(64) - 31.5
    alpha = np.clip(20 - np.hypot(grid[:, None], grid) + 0.5, 0, 4) / 4
    colour = np.ones((64, 64, 3)) * np.array([0.9, 0.6, 0.3])
    if premultiplied:
        colour = colour * alpha[..., None]
    return Image.fromarray(np.rint(np.dstack([colour, alpha]) * 255).astype(np.uint8))


def test_premultiplied_colours_are_divided() -> None:
    straight, divided = read_source(disc(False)), read_source(disc(True))
    assert straight.alpha is not None and divided.alpha is not None
    assert not straight.warnings and "multiplied" in divided.warnings[0]
    soft = straight.alpha > 0.2
    np.testing.assert_allclose(divided.colour[soft], straight.colour[soft], atol=0.02)


def test_a_large_picture_is_reduced() -> None:
    pixels = np.zeros((3000, 4000, 3), np.uint8)
    pixels[:, 2000:] = 255
    found = read_source(Image.fromarray(pixels))
    assert found.size == (3000, 4000) and found.colour.shape == (1536, 2048, 3)
    np.testing.assert_allclose(found.colour[:, 1100:], 1, atol=1e-6)


def test_a_huge_picture_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(ramp()).save(tmp_path / "a.png")
    monkeypatch.setattr(module, "MAX_PIXELS", H * W - 1)
    with pytest.raises(InputError, match=r"a\.png: 20x12 px: .*make it smaller"):
        read_source(tmp_path / "a.png")
    # A file that only claims to be huge never gets as far as memory.
    buffer = io.BytesIO()
    Image.new("1", (30000, 30000)).save(buffer, "PNG")
    (tmp_path / "bomb.png").write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match="make it smaller"):
        read_source(tmp_path / "bomb.png")


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (W, H), (255, 0, 0)), Image.new("RGB", (W, H), (0, 255, 0))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    found = read_source(tmp_path / "a.gif")
    np.testing.assert_allclose(found.colour[5, 5], [1, 0, 0], atol=0.01)
    assert "several pictures" in found.warnings[0]


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "known format"), (b"hello", "known format"), (None, "does not exist"), ("cut", "damaged")],
)
def test_files_that_are_none(tmp_path: Path, data: bytes | str | None, message: str) -> None:
    file = tmp_path / "a.png"
    if data == "cut":
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(file)
        data = file.read_bytes()[:4000]
    if isinstance(data, bytes):
        file.write_bytes(data)
    with pytest.raises(InputError, match=rf"a\.png: .*{message}"):
        read_source(file)


def test_formats_that_are_not_listed_are_refused(tmp_path: Path) -> None:
    Image.fromarray(ramp()).save(tmp_path / "a.png", format="PPM")
    with pytest.raises(InputError, match="known format"):
        read_source(tmp_path / "a.png")


def test_arrays_and_tensors() -> None:
    expected = ramp() / np.float32(255)
    np.testing.assert_allclose(read_source(ramp()).colour, expected)
    np.testing.assert_allclose(
        read_source(torch.from_numpy(expected).permute(2, 0, 1)).colour, expected, atol=1e-6
    )
    np.testing.assert_allclose(read_source(ramp().astype(np.uint16) * 257).colour, expected, atol=1e-6)
    assert read_source(ramp()).sha256 != read_source(255 - ramp()).sha256


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 7), np.uint8), "shape"),
        (np.full((4, 4), np.nan), "must lie in"),
        (np.full((4, 4, 3), 2.0), "must lie in"),
        (np.zeros((4, 4), np.int64), "int64"),
        (np.zeros((0, 4), np.uint8), "shape"),
    ],
)
def test_arrays_that_are_no_picture(array: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_source(array)
