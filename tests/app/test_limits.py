"""What the page refuses before anything is decoded."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from one2345.app.limits import Limits
from one2345.errors import InputError


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is this large and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_a_large_picture_is_refused_by_its_header(tmp_path: Path) -> None:
    file = tmp_path / "poster.png"
    file.write_bytes(png_header(10000, 5000))
    with pytest.raises(InputError, match=r"poster\.png: 10000 x 5000 px are 50 megapixels; at most 40"):
        Limits().check_picture(file)
    Limits(megapixels=50).check_picture(file)


def test_a_small_picture_passes(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    Limits().check_picture(tmp_path / "a.png")


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("just text")
    with pytest.raises(InputError, match="not a readable picture"):
        Limits().check_picture(tmp_path / "a.png")


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(bytes(3_000_000))
    with pytest.raises(InputError, match=r"a\.zip: 3 MB; at most 2 MB"):
        Limits(upload_mb=2).check_upload(tmp_path / "a.zip")


def test_limits_must_be_positive() -> None:
    with pytest.raises(InputError, match=r"limits\.seconds=0"):
        Limits(seconds=0)
