"""Downloads from a stand-in server that cuts, lies, fails and comes back; archives that attack."""

from __future__ import annotations

import errno
import hashlib
import io
import stat
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from socket import gethostname

import pytest
from tests.data.fuel import Fuel
from tests.data.model_folders import official_files, write_files, zipped

from one2345.data.download import GSO, Collection, DownloadSummary, Patience, download_models, fetch, unpack
from one2345.data.download import archive as archive_module
from one2345.data.download.checksums import CHECKSUMS, read_checksums
from one2345.data.download.fetch import Stopped
from one2345.data.download.models import WORK
from one2345.data.object_list import ListedObject, ObjectList
from one2345.data.sources import open_meshes
from one2345.errors import InputError

QUICK = Patience(attempts=3, wait=0.0, timeout=5.0)
NAMES = ("Alarm", "Bear", "Can, large", "Dog", "Eagle")


@pytest.fixture
def fuel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fuel]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Fuel(*NAMES, pad=200_000)
    yield server
    server.close()


def collection(fuel: Fuel) -> Collection:
    return replace(GSO, url=fuel.url, models=None)


def download(fuel: Fuel, root: Path, **keywords) -> DownloadSummary:
    settings = {"patience": QUICK, "workers": 2, "progress": False, "collection": collection(fuel)}
    return download_models(root, **(settings | keywords))


def listed(sha256: str, format: str = "", id: str = "Bear") -> ObjectList:
    return ObjectList("a list", (ListedObject(id, sha256=sha256, format=format),))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_the_official_addresses() -> None:
    assert GSO.page_url(3) == (
        "https://fuel.gazebosim.org/1.0/models?page=3&per_page=100&q=collections:Scanned%20Objects%20by%20Google%20Research"
    )
    assert GSO.model_url("A b/c") == "https://fuel.gazebosim.org/1.0/GoogleResearch/models/A%20b%2Fc.zip"
    assert GSO.models == 1030


def test_a_collection_is_listed_downloaded_kept_and_usable(fuel: Fuel, tmp_path: Path) -> None:
    root = tmp_path / "gso, 'é' = [x]"
    summary = download(fuel, root)
    assert (summary.made, summary.kept, summary.failed) == (5, 0, {})
    assert sorted(p.name for p in root.iterdir()) == sorted([*NAMES, CHECKSUMS])
    source = open_meshes(root)
    assert source.ids() == sorted(NAMES)
    assert all(source.mesh(id).texture is not None for id in source.ids())
    recorded = read_checksums(root / CHECKSUMS)
    assert recorded["Bear"]["meshes/model.obj"] == sha256(official_files("Bear")["meshes/model.obj"])
    assert "thumbnails/0.jpg" not in recorded["Bear"]
    before, requests = (root / CHECKSUMS).read_bytes(), len(fuel.asked)
    summary = download(fuel, root)
    assert (summary.made, summary.kept) == (0, 5)
    assert {name for name, _ in fuel.asked[requests:]} == {"list"}
    assert (root / CHECKSUMS).read_bytes() == before


@pytest.mark.parametrize("last", [200, 404])
def test_pages_are_read_to_the_end(fuel: Fuel, last: int, caplog: pytest.LogCaptureFixture) -> None:
    fuel.last = last
    assert collection(fuel).ids(patience=QUICK) == sorted(NAMES)
    assert [name for name, _ in fuel.asked] == ["list"] * 4
    assert replace(collection(fuel), models=7).ids(patience=QUICK) == sorted(NAMES)
    assert "lists 5 models; Scanned Objects by Google Research is known to have 7" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>", r"answers with no list of models, but with b'<html>'"),
        (b'{"error": 1}', "answers with no list"),
        (b'[{"owner": "GoogleResearch"}]', "answers with no list"),
        (b'[{"name": "../a", "owner": "GoogleResearch"}]', "can't name a folder"),
        (b'[{"name": "a", "owner": "SomebodyElse"}]', "lists no models of GoogleResearch"),
        (b"[]", "lists no models"),
    ],
)
def test_a_list_that_is_none(fuel: Fuel, tmp_path: Path, content: bytes, message: str) -> None:
    fuel.list_content = content
    with pytest.raises(InputError, match=message):
        download(fuel, tmp_path)
    assert not list((tmp_path / WORK).iterdir())


def test_what_broke_off_is_resumed(fuel: Fuel, tmp_path: Path) -> None:
    fuel.faults["Bear"] = ["cut", "cut"]
    assert download(fuel, tmp_path, ids=["Bear"]).made == 1
    size = len(fuel.models["Bear"])
    half = size // 2
    assert fuel.asked == [
        ("Bear", None),
        ("Bear", f"bytes={half}-"),
        ("Bear", f"bytes={half + (size - half) // 2}-"),
    ]
    assert (tmp_path / "Bear/thumbnails/0.jpg").read_bytes() == official_files("Bear", 200_000)[
        "thumbnails/0.jpg"
    ]


def test_the_next_run_resumes_too(fuel: Fuel, tmp_path: Path) -> None:
    fuel.faults["Bear"] = ["cut", "cut", "cut"]
    summary = download(fuel, tmp_path, ids=["Bear", "Dog"])
    assert (summary.made, list(summary.failed)) == (1, ["Bear"])
    assert "broke off:" in summary.failed["Bear"]
    assert "(3 attempts)" in str(summary)
    part = tmp_path / WORK / "Bear.zip.part"
    begun = part.stat().st_size
    assert 0 < begun < len(fuel.models["Bear"])
    assert download(fuel, tmp_path, ids=["Bear", "Dog"]).made == 1
    assert fuel.asked[-1] == ("Bear", f"bytes={begun}-")
    assert not (tmp_path / WORK).exists()


@pytest.mark.parametrize("fault", ["range", "elsewhere"])
def test_a_server_that_does_not_mind_the_range(fuel: Fuel, tmp_path: Path, fault: str) -> None:
    fuel.faults["Bear"] = ["cut", fault]
    assert download(fuel, tmp_path, ids=["Bear"]).made == 1
    assert (tmp_path / "Bear/meshes/model.obj").read_bytes() == official_files("Bear")["meshes/model.obj"]


@pytest.mark.parametrize("extra", [0, 5])
def test_a_part_that_is_whole_or_too_long(fuel: Fuel, tmp_path: Path, extra: int) -> None:
    """A run was killed between the download and the unpacking; or the archive has become shorter."""
    write_files(tmp_path / WORK, {"Bear.zip.part": fuel.models["Bear"] + b"x" * extra})
    assert download(fuel, tmp_path, ids=["Bear"]).made == 1
    assert len(fuel.asked) == (1 if extra == 0 else 2)


def test_a_part_of_another_archive_is_noticed(fuel: Fuel, tmp_path: Path) -> None:
    write_files(tmp_path / WORK, {"Bear.zip.part": b"PK" + b"\0" * 1000})
    assert download(fuel, tmp_path, ids=["Bear"]).made == 1
    assert [asked for _, asked in fuel.asked] == ["bytes=1002-", None]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_errors_that_pass(fuel: Fuel, tmp_path: Path, status: int) -> None:
    fuel.faults["list"], fuel.faults["Bear"] = [status], [status, status]
    assert download(fuel, tmp_path).made == 5


def test_errors_that_stay(fuel: Fuel, tmp_path: Path) -> None:
    fuel.faults["Alarm"], fuel.faults["Bear"], fuel.faults["Dog"] = [500] * 9, ["html"] * 9, [403] * 9
    fuel.faults["Eagle"] = ["unsized"] * 9
    failed = download(fuel, tmp_path, ids=[*NAMES, "Fox"]).failed
    assert "the server answers 500 Internal Server Error (3 attempts)" in failed["Alarm"]
    assert "is no zip archive, it begins with b'<!DOCTYPE html>" in failed["Bear"]
    assert "the server answers 403" in failed["Dog"]
    assert "Eagle.zip.part: is damaged: File is not a zip file" in failed["Eagle"]
    assert "Fox.zip: the server answers 404" in failed["Fox"]
    count = {name: sum(n == name for n, _ in fuel.asked) for name in ("Alarm", "Bear", "Dog", "Fox")}
    assert count == {"Alarm": 3, "Bear": 2, "Dog": 1, "Fox": 1}
    assert not any("\n" in reason for reason in failed.values())
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == ["Can, large"]


def test_bytes_that_changed_on_the_way_are_fetched_again(fuel: Fuel, tmp_path: Path) -> None:
    fuel.faults["Bear"] = ["wrong"]
    assert download(fuel, tmp_path, ids=["Bear"]).made == 1
    fuel.faults["Dog"] = ["wrong", "wrong"]
    assert "Dog.zip.part: is damaged" in download(fuel, tmp_path, ids=["Dog"]).failed["Dog"]
    assert not (tmp_path / "Dog").exists()


def test_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    gone = Fuel("Bear")
    gone.close()
    with pytest.raises(InputError, match=r"cannot be reached: .*refused.* \(3 attempts\)"):
        download(gone, tmp_path)
    ids = [f"m{k}" for k in range(40)]
    with pytest.raises(InputError, match=r"10 downloads in a row failed; m\d+: .*cannot be reached"):
        download(gone, tmp_path, ids=ids)
    with pytest.raises(InputError, match="only http and https addresses"):
        download_models(tmp_path, collection=replace(GSO, url="file:///etc"), progress=False)


@pytest.mark.parametrize("format", ["zip", "obj", ""])
def test_the_lists_checksums_are_compared(fuel: Fuel, tmp_path: Path, format: str) -> None:
    mesh = sha256(official_files("Bear")["meshes/model.obj"])
    right = sha256(fuel.models["Bear"]) if format == "zip" else mesh
    summary = download(fuel, tmp_path / "right", list=listed(right, format))
    assert (summary.made, summary.unchecked) == (1, ())
    failed = download(fuel, tmp_path / "wrong", list=listed("0" * 64, format)).failed
    assert f"of 'Bear' has sha256 {right}, the list a list expects {'0' * 64}" in failed["Bear"]
    assert not (tmp_path / "wrong/Bear").exists()
    # On the next run the archive is gone, the mesh file can still be compared.
    assert download(fuel, tmp_path / "right", list=listed(right, format)).unchecked == (
        ("Bear",) if format == "zip" else ()
    )


def test_checksums_of_other_files_are_reported_as_not_compared(fuel: Fuel, tmp_path: Path) -> None:
    assert download(fuel, tmp_path, list=listed("0" * 64, "glb")).unchecked == ("Bear",)


def test_a_file_that_changed_since_is_named(fuel: Fuel, tmp_path: Path) -> None:
    download(fuel, tmp_path, ids=["Bear", "Dog"])
    file = tmp_path / "Bear/materials/textures/texture.png"
    file.write_bytes(b"x")
    (tmp_path / "Bear/my notes.txt").write_text("files of the user are no concern")
    summary = download(fuel, tmp_path, ids=["Bear", "Dog"])
    assert summary.kept == 1
    assert f"Bear/materials/textures/texture.png: {CHECKSUMS} has recorded" in summary.failed["Bear"]
    assert f"found {sha256(b'x')}; delete the folder" in summary.failed["Bear"]
    file.unlink()
    assert "found missing" in download(fuel, tmp_path, ids=["Bear"]).failed["Bear"]


def test_another_archive_than_the_first_time_is_refused(fuel: Fuel, tmp_path: Path) -> None:
    download(fuel, tmp_path, ids=["Bear"])
    recorded = (tmp_path / CHECKSUMS).read_text()
    (tmp_path / "Bear").rename(tmp_path.parent / "Bear")
    other = official_files("Bear") | {"meshes/model.obj": official_files("Bear")["meshes/model.obj"] + b"#\n"}
    fuel.models["Bear"] = zipped(other)
    assert (
        "Bear/meshes/model.obj: checksums.csv has recorded"
        in download(fuel, tmp_path, ids=["Bear"]).failed["Bear"]
    )
    assert not (tmp_path / "Bear").exists()
    # The same files in an archive of other bytes are the same model.
    fuel.models["Bear"] = zipped(
        {f"Bear/{name}": content for name, content in official_files("Bear").items()}
    )
    assert download(fuel, tmp_path, ids=["Bear"]).made == 1
    assert (tmp_path / CHECKSUMS).read_text() == recorded


def test_a_full_disk_ends_the_run(fuel: Fuel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    download(fuel, tmp_path, ids=["Alarm"])

    def full(*args: object, **keywords: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("one2345.data.download.models.unpack", full)
    with pytest.raises(
        InputError, match=r"No space left on device, after \d models; the same command goes on"
    ):
        download(fuel, tmp_path)
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert download(fuel, tmp_path).made == 4


def test_a_folder_is_downloaded_into_by_one_process(fuel: Fuel, tmp_path: Path) -> None:
    (tmp_path / WORK).mkdir()
    lock = tmp_path / WORK / "lock"
    lock.write_text(f"elsewhere-{1}-0123abcd")
    with pytest.raises(InputError, match="another download into this folder is running"):
        download(fuel, tmp_path, ids=["Bear"])
    lock.write_text(f"{gethostname()}-999999999-0123abcd")
    write_files(tmp_path / WORK / f"{gethostname()}-999999999-0123abcd", {"Bear/half.obj": b""})
    assert download(fuel, tmp_path, ids=["Bear"]).made == 1
    assert not (tmp_path / WORK).exists()
    write_files(tmp_path, {"manifest.csv": b"id,file\n"})
    with pytest.raises(InputError, match=r"has a manifest.csv"):
        download(fuel, tmp_path)


def test_a_download_can_be_called_off(fuel: Fuel, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        fetch(f"{fuel.url}/GoogleResearch/models/Bear.zip", tmp_path / "part", stop=stop)


def test_a_file_without_end_is_given_up(fuel: Fuel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="larger than anything that is expected"):
        fetch(f"{fuel.url}/GoogleResearch/models/Bear.zip", tmp_path / "part", limit=1000)


def archive(tmp_path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    file = tmp_path / "Bear.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members:
            zipped.writestr(name, content)
    return file


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/evil", "C:/evil", "..\\evil", "a/" + "x" * 300, "a\0b"]
)
def test_names_that_could_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    info = zipfile.ZipInfo("placeholder")
    info.filename = name
    with pytest.raises(InputError, match=r"Bear.zip: the name .* could lead out"):
        unpack(archive(tmp_path, ("fine", b""), (info, b"x")), tmp_path / "in/Bear", name="Bear")
    assert not (tmp_path / "in").exists()
    assert not (tmp_path / "evil").exists()


def test_links_and_doubles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'way_out' is a link or a device"):
        unpack(
            archive(tmp_path, (link("way_out"), b"/etc"), ("way_out/x", b"")), tmp_path / "in", name="Bear"
        )
    for names in (("a", "a/b"), ("a/b", "a")):
        members = [(name, b"x") for name in names]
        with pytest.raises(InputError, match="holds 'a' twice"):
            unpack(archive(tmp_path, *members), tmp_path / "-".join(names).replace("/", ""), name="Bear")


def test_bombs_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = archive(tmp_path, ("zeros", bytes(1 << 20)))
    assert bomb.stat().st_size < 2000
    with pytest.raises(InputError, match="unpacks to 1048576 bytes in 1 files"):
        unpack(bomb, tmp_path / "in", name="Bear", most_bytes=1 << 19)
    monkeypatch.setattr(archive_module, "MOST_FILES", 2)
    with pytest.raises(InputError, match="in 3 files, more than is taken"):
        unpack(archive(tmp_path, ("a", b""), ("b", b""), ("c", b"")), tmp_path / "in", name="Bear")
    assert not (tmp_path / "in").exists()


def test_an_archive_that_lies_about_its_size_writes_no_more_than_it_stated(tmp_path: Path) -> None:
    content = archive(tmp_path, ("zeros", bytes(100_000))).read_bytes()
    stated = (100_000).to_bytes(4, "little")
    assert content.count(stated) == 2
    (tmp_path / "Bear.zip").write_bytes(content.replace(stated, (10).to_bytes(4, "little")))
    with pytest.raises(InputError, match="is damaged"):
        unpack(tmp_path / "Bear.zip", tmp_path / "in", name="Bear")
    assert (tmp_path / "in/zeros").stat().st_size <= 10


def test_archives_that_are_none(tmp_path: Path) -> None:
    whole = zipped(official_files("Bear"))
    for content, message in (
        (b"", "is no zip archive, it begins with b''"),
        (whole[:-40], "is damaged"),
        (whole[: len(whole) // 2], "is damaged"),
    ):
        (tmp_path / "Bear.zip").write_bytes(content)
        with pytest.raises(InputError, match=message):
            unpack(tmp_path / "Bear.zip", tmp_path / "in", name="Bear")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as odd:
        odd.writestr("a", b"x" * 100)
    (tmp_path / "Bear.zip").write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match="compressed in an unusual way"):
        unpack(tmp_path / "Bear.zip", tmp_path / "in", name="Bear")
