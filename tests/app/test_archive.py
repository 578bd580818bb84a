"""Archives of strangers: what is unpacked, and everything that must not be."""

import stat
import zipfile
from pathlib import Path

import pytest

from one2345.app.archive import unpack
from one2345.app.limits import Limits
from one2345.errors import InputError


def archive(folder: Path, files: dict[str, bytes]) -> Path:
    file = folder / "posed.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return file


def special(folder: Path, name: str, mode: int, data: bytes) -> Path:
    member = zipfile.ZipInfo(name)
    member.create_system, member.external_attr = 3, mode << 16
    file = folder / "posed.zip"
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr(member, data)
    return file


def refused(file: Path, match: str, **limits: float) -> None:
    out = file.parent / "inner" / "out"
    with pytest.raises(InputError, match=match):
        unpack(file, out, limits=Limits(**limits))  # type: ignore[arg-type]
    assert not out.exists(), "something was left behind"
    assert sorted(p.name for p in file.parent.iterdir()) == ["inner", "posed.zip"], "written outside"


def test_files_come_out_as_they_were(tmp_path: Path) -> None:
    file = archive(
        tmp_path, {"transforms.json": b"{}", "images/a.png": b"123", "__MACOSX/images/._a.png": b"x"}
    )
    root = unpack(file, tmp_path / "out", limits=Limits())
    found = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    assert root == tmp_path / "out" and found == {"transforms.json": b"{}", "images/a.png": b"123"}


def test_a_single_folder_at_the_top_is_entered(tmp_path: Path) -> None:
    file = archive(tmp_path, {"scene/transforms.json": b"{}"})
    assert unpack(file, tmp_path / "out", limits=Limits()) == tmp_path / "out" / "scene"


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/../../evil",
        "/etc/evil",
        "..\\evil",
        "C:/evil",
        "C:evil",
        "a/..",
        "bad\nname",
        "//host/evil",
    ],
)
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    refused(archive(tmp_path, {name: b"x"}), "leads out of the archive's folder")


def test_a_name_is_judged_as_it_is_stored(tmp_path: Path) -> None:
    """zipfile cuts its own `filename` at a NUL: what stands behind it must be seen too."""
    file = archive(tmp_path, {"aXb/evil": b"x"})
    file.write_bytes(file.read_bytes().replace(b"aXb/evil", b"a\0b/evil"))
    refused(file, "leads out of the archive's folder")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    refused(special(tmp_path, "images", kind | 0o777, b"/etc"), "a link or a special file")


def test_a_link_cannot_be_written_through(tmp_path: Path) -> None:
    member = zipfile.ZipInfo("images")
    member.create_system, member.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    file = tmp_path / "posed.zip"
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("first.txt", "x")
        packed.writestr(member, str(tmp_path))
        packed.writestr("images/evil", "x")
    refused(file, "link")


def test_too_many_files(tmp_path: Path) -> None:
    refused(archive(tmp_path, {f"{i}.png": b"" for i in range(5)}), "holds 5 files; at most 4", files=4)


def test_bytes_are_counted_as_they_come(tmp_path: Path) -> None:
    """The sizes that the archive states are made small, as a bomb's would be."""
    file = archive(tmp_path, {"a.png": bytes(3_000_000), "b.png": bytes(3_000_000)})
    refused(file, "unpacks to more than 5 MB", unpacked_mb=5)
    size = (3_000_000).to_bytes(4, "little")
    file.write_bytes(file.read_bytes().replace(size, (10).to_bytes(4, "little")))
    refused(file, r"unpacks to more than 5 MB|not a zip file", unpacked_mb=5)


def test_names_that_collide(tmp_path: Path) -> None:
    refused(archive(tmp_path, {"a.png": b"1", "A.PNG": b"2"}), "is in it twice")
    refused(archive(tmp_path, {"a": b"1", "a/b": b"2"}), "both a file and a folder")


@pytest.mark.parametrize("data", [b"", b"no zip at all", b"PK\x03\x04" + bytes(40)])
def test_what_is_no_archive(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "posed.zip").write_bytes(data)
    refused(tmp_path / "posed.zip", "not a zip file")


def test_damage_is_found(tmp_path: Path) -> None:
    file = archive(tmp_path, {"a.png": bytes(range(256)) * 40})
    data = bytearray(file.read_bytes())
    data[60] ^= 0xFF
    file.write_bytes(data)
    refused(file, "not a zip file that can be read")


def test_an_encrypted_member(tmp_path: Path) -> None:
    file = archive(tmp_path, {"a.png": b"123"})
    data = bytearray(file.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(data)
    refused(file, "is encrypted")


def test_an_empty_archive(tmp_path: Path) -> None:
    refused(archive(tmp_path, {"__MACOSX/x": b""}), "the archive is empty")
