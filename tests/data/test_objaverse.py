"""Objaverse from a stand-in server: chosen, downloaded with every fault on the way, filtered, prepared."""

from __future__ import annotations

import hashlib
import json
import pickle
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import objaverse
import pytest
import trimesh
from tests.data.objaverse_server import ObjaverseServer, ball, uid_of, zipped
from tests.data.spheres import RECIPE

from one2345.data import ObjaverseSource
from one2345.data.download import Patience
from one2345.data.download.checksums import CHECKSUMS, read_checksums
from one2345.data.download.models import WORK
from one2345.data.download.objaverse_index import official_url
from one2345.data.ledger import Ledger
from one2345.data.obtain import Fetching, obtain_objects
from one2345.data.prepare import prepare_objects
from one2345.data.sources import Filters, Rejected
from one2345.errors import InputError
from one2345.geometry import Mesh
from one2345.views import list_objects, object_folder, read_object

QUICK = Patience(attempts=2, wait=0.0, timeout=30.0, rate=1000.0)
IMPATIENT = Patience(attempts=2, wait=0.0, timeout=2.0, rate=1000.0)  # with what is too slow
NAMES = ("ant", "bee", "cat", "dog", "elk", "fox")
GLB = ball()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjaverseServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = ObjaverseServer(
        dict.fromkeys(NAMES, GLB),
        licences={"dog": "by-nc", "elk": "cc0"},
        categories={
            "ant": "insect",
            "bee": "insect",
            "cat": "cat",
            "dog": "dog",
            "elk": "deer",
            "fox": "fox",
        },
    )
    yield made
    made.close()


def source(server: ObjaverseServer, root: Path, **keywords: Any) -> ObjaverseSource:
    settings = {"url": server.url, "download": True, "patience": QUICK, "licences": None, "workers": 2}
    return ObjaverseSource(root=root, **(settings | keywords))


def ids(*names: str) -> list[str]:
    return sorted(uid_of(name) for name in names)


class Heard(dict[str, tuple[str, str | None, int, str | None]]):
    """id -> what was recorded of it."""

    def __call__(self, id: str, state: str, reason: str | None, size: int, licence: str | None) -> None:
        assert id not in self
        self[id] = (state, reason, size, licence)


def test_the_packages_own_addresses_are_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def retrieve(url: str, filename: str) -> None:
        asked.append(url)
        raise OSError

    before = (objaverse._VERSIONED_PATH, objaverse._load_object_paths, objaverse.urllib)
    default = official_url()
    assert (objaverse._VERSIONED_PATH, objaverse._load_object_paths, objaverse.urllib) == before
    monkeypatch.setattr(urllib.request, "urlretrieve", retrieve)
    monkeypatch.setattr(objaverse, "_VERSIONED_PATH", str(tmp_path))
    for call in (objaverse._load_object_paths, objaverse.load_lvis_annotations):
        with pytest.raises(OSError):
            call()
    assert asked == [f"{default}/object-paths.json.gz", f"{default}/lvis-annotations.json.gz"]
    with pytest.raises(OSError):
        objaverse._download_object("a", "glbs/000-000/a.glb", 1, 0)
    assert asked[-1] == f"{default}/glbs/000-000/a.glb"


def test_objects_are_downloaded_kept_and_credited(server: ObjaverseServer, tmp_path: Path) -> None:
    official_url.cache_clear()  # as in a process of its own
    root = tmp_path / "o, 'é' = [x]"
    made = source(server, root, licences=["by", "cc0"])
    assert isinstance(made, Fetching)
    assert made.ids() == ids("ant", "bee", "cat", "elk", "fox")
    assert made.absent() == made.ids()
    heard = Heard()
    summary = made.fetch(record=heard, progress=False)
    assert (summary.made, summary.kept, summary.failed) == (5, 0, {})
    assert heard[uid_of("ant")] == ("done", None, len(GLB), "CC-BY-4.0")
    assert heard[uid_of("elk")] == ("done", None, len(GLB), "CC0-1.0")
    for name in ("ant", "elk"):
        assert (root / server.paths[name]).read_bytes() == GLB
    assert not (root / WORK).exists() and not list(root.rglob("*.tmp"))
    sums = read_checksums(root / CHECKSUMS)
    assert sums[uid_of("ant")] == {server.paths["ant"]: hashlib.sha256(GLB).hexdigest()}
    loaded = pickle.loads(pickle.dumps(made)).load(uid_of("elk"))
    assert loaded.exact
    assert loaded.provenance["licence"] == "CC0-1.0"
    assert loaded.provenance["author"] == "Ada L."
    assert loaded.provenance["name"] == f"object {uid_of('elk')[:4]}"
    assert loaded.provenance["uri"].endswith(uid_of("elk"))
    # A second time: nothing is asked of the server, not even the index.
    before = len(server.asked)
    again = source(server, root, licences=["by", "cc0"])
    assert again.absent() == []
    assert again.fetch(progress=False).kept == 5
    assert len(server.asked) == before
    # The package finds them too, where it looks.
    assert ObjaverseSource(root=root, licences=["cc0"]).ids() == ids("elk")


def test_choices(server: ObjaverseServer, tmp_path: Path) -> None:
    def chosen(**keywords: Any) -> list[str]:
        return source(server, tmp_path, **keywords).ids()

    assert chosen() == ids(*NAMES)
    assert chosen(licences=["by"]) == ids("ant", "bee", "cat", "fox")
    assert chosen(categories=["insect", "deer"]) == ids("ant", "bee", "elk")
    assert chosen(categories=["insect", "deer"], licences=["cc0"]) == ids("elk")
    assert chosen(ids=ids("fox", "dog")) == ids("dog", "fox")
    assert chosen(limit=2) == ids(*NAMES)[:2]
    assert source(server, tmp_path, categories=["cat"])._row(uid_of("cat"))["category"] == "cat"
    with pytest.raises(InputError, match="'insekt' is no category of LVIS; the nearest are insect"):
        chosen(categories=["insekt"])
    with pytest.raises(InputError, match="licences: 'ccby' is unknown; it takes by, by-sa"):
        chosen(licences=["ccby"])
    with pytest.raises(InputError, match=r"no objects are left .* left out by licence: 1 by-nc"):
        chosen(categories=["dog"], licences=["by"])
    unknown = "f" * 32
    with pytest.raises(InputError, match=rf"Objaverse has no objects 1 \({unknown}\)"):
        chosen(ids=[unknown, uid_of("ant")])
    partial = source(server, tmp_path, ids=[unknown, uid_of("ant")], partial=True)
    assert partial.ids() == ids("ant") and partial.missing == (unknown,)
    drawn = source(server, tmp_path, val_fraction=0.5)
    assert 0 < len(drawn.ids("val")) < len(NAMES)
    assert sorted(drawn.ids("val") + drawn.ids("train")) == ids(*NAMES)


def test_few_objects_need_few_annotations(server: ObjaverseServer, tmp_path: Path) -> None:
    first = ids(*NAMES)[0]
    source(server, tmp_path, limit=1)
    folders = {path.split("/")[1] for name, path in server.paths.items() if uid_of(name) == first}
    assert {path for path, _ in server.asked if "metadata" in path} == {
        f"metadata/{folder}.json.gz" for folder in folders
    }


def test_the_published_split_file_and_lists(server: ObjaverseServer, tmp_path: Path) -> None:
    def entries(*names: str) -> list[dict[str, str]]:
        return [{"folder_id": server.paths[n].split("/")[1], "uid": uid_of(n)} for n in names]

    file = tmp_path / "lvis_split_cc_by.json"
    file.write_text(json.dumps({"train": entries("ant", "cat", "fox"), "val": entries("bee")}))
    split = source(server, tmp_path / "o", split_file=file)
    assert split.ids() == ids("ant", "bee", "cat", "fox")
    assert split.ids("val") == ids("bee") and split.ids("train") == ids("ant", "cat", "fox")
    assert source(server, tmp_path / "o", split_file=file, subset="val").ids() == ids("bee")
    assert source(server, tmp_path / "o", split_file=file, categories=["insect"]).ids() == ids("ant", "bee")
    table = tmp_path / "list.csv"
    table.write_text(f"id,split,sha256,format\n{uid_of('ant')},test,{'0' * 64},glb\n{uid_of('bee')},val,,\n")
    listed = source(server, tmp_path / "o", split_file=table)
    assert listed.ids("test") == ids("ant")
    failed = listed.fetch(progress=False).failed
    assert list(failed) == ids("ant")
    assert f"the list says sha256 {'0' * 64}" in failed[uid_of("ant")]
    for content, message in (
        ("[1]", "is no split file"),
        ("{", "not a readable JSON"),
        ('{"a": [{"uid": "x"}]}', "split 'a' is unknown"),
        ('{"val": [{"uid": "x"}], "train": [{"uid": "x"}]}', "x is in two splits"),
    ):
        file.write_text(content)
        with pytest.raises(InputError, match=message):
            source(server, tmp_path / "o", split_file=file)


@pytest.mark.parametrize("redirects", [False, True])
def test_every_fault_is_recorded_and_the_others_go_on(
    server: ObjaverseServer, tmp_path: Path, redirects: bool
) -> None:
    server.redirects = redirects
    server.faults |= {
        server.paths["ant"]: 404,
        server.paths["bee"]: "truncated",
        server.paths["cat"]: "slow",
        server.paths["dog"]: "corrupt" if redirects else "page",
    }
    server.once[server.paths["elk"]] = [503]
    made, heard = source(server, tmp_path, patience=IMPATIENT), Heard()
    summary = made.fetch(record=heard, progress=False)
    assert (summary.made, sorted(summary.failed)) == (2, ids("ant", "bee", "cat", "dog"))
    reasons = {name: heard[uid_of(name)] for name in NAMES}
    assert {name: state for name, (state, *_) in reasons.items()} == {
        **dict.fromkeys(("ant", "bee", "cat", "dog"), "failed"),
        **dict.fromkeys(("elk", "fox"), "done"),
    }
    assert "the server answers 404" in str(reasons["ant"][1])
    assert f"{len(GLB)} of {len(GLB) + 1000} bytes came (2 attempts)" in str(reasons["bee"][1])
    assert "too slow" in str(reasons["cat"][1])
    expected = "the server says sha256" if redirects else "is no GLB file, it begins with b'<!DOCTYPE"
    assert expected in str(reasons["dog"][1])
    assert sorted(made.absent()) == ids("ant", "bee", "cat", "dog")
    with pytest.raises(InputError, match="is not downloaded, or cut short"):
        made.load(uid_of("bee"))
    # Once the server has come to its senses, only what is missing is asked for, and what broke off is resumed.
    server.faults.clear()
    server.asked.clear()
    summary = made.fetch(progress=False)
    assert (summary.made, summary.kept, summary.failed) == (4, 2, {})
    assert set(server.objects_asked()) == {server.paths[name] for name in ("ant", "bee", "cat", "dog")}
    resumed = {path for path, asked in server.asked if asked}
    assert server.paths["cat"] in resumed
    assert all((tmp_path / path).read_bytes() == GLB for path in server.paths.values())
    assert not (tmp_path / WORK).exists()


def test_bytes_that_nothing_names_are_caught_by_length(server: ObjaverseServer, tmp_path: Path) -> None:
    server.files[server.paths["ant"]] = GLB[:-4]
    server.files[server.paths["bee"]] = GLB + b"more"
    failed = source(server, tmp_path, ids=ids("ant", "bee")).fetch(progress=False).failed
    assert f"states {len(GLB)} bytes, the file has {len(GLB) - 4}" in failed[uid_of("ant")]
    assert f"states {len(GLB)} bytes, the file has {len(GLB) + 4}" in failed[uid_of("bee")]


def test_a_file_cut_short_on_the_disk_is_fetched_again(server: ObjaverseServer, tmp_path: Path) -> None:
    made = source(server, tmp_path, ids=ids("ant"))
    made.fetch(progress=False)
    file = tmp_path / server.paths["ant"]
    file.write_bytes(GLB[:1000])
    assert made.absent() == ids("ant")
    assert made.fetch(progress=False).made == 1
    assert file.read_bytes() == GLB
    # The same length, other bytes: found when it is used, by the recorded checksum.
    file.write_bytes(GLB[:-1] + bytes([GLB[-1] ^ 255]))
    with pytest.raises(InputError, match=f"{CHECKSUMS} has recorded sha256 .*delete the file"):
        made.load(uid_of("ant"))
    assert made.fingerprint(uid_of("ant")) == hashlib.sha256(GLB).hexdigest()


def test_the_disk_budget_is_not_exceeded(server: ObjaverseServer, tmp_path: Path) -> None:
    made = source(server, tmp_path, workers=1)
    index = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    budget = (index + 2.5 * len(GLB)) / 1e9
    made = source(server, tmp_path, workers=1, disk_gb=budget)
    heard = Heard()
    with pytest.raises(InputError, match=r"disk_gb=.* holds .* GB, and .* needs .*; raise source.disk_gb"):
        made.fetch(record=heard, progress=False)
    assert len(heard) == 2
    assert sum(file.stat().st_size for file in (tmp_path / "glbs").rglob("*.glb")) == 2 * len(GLB)
    assert source(server, tmp_path, disk_gb=1.0).fetch(progress=False).made == len(NAMES) - 2
    with pytest.raises(InputError, match="disk_gb=0: must be positive"):
        source(server, tmp_path, disk_gb=0).fetch(progress=False)


def test_an_index_is_whole_or_not_there(server: ObjaverseServer, tmp_path: Path) -> None:
    server.faults["object-paths.json.gz"] = "truncated"
    with pytest.raises(InputError, match="broke off"):
        source(server, tmp_path)
    server.faults["object-paths.json.gz"] = "corrupt"
    with pytest.raises(InputError, match="is no whole gzip file"):
        source(server, tmp_path)
    assert not (tmp_path / "object-paths.json.gz").exists() and not list(tmp_path.rglob("*.tmp"))
    with pytest.raises(InputError, match=r"object-paths.json.gz: is not there; source.download=true"):
        source(server, tmp_path, download=False)
    server.faults.clear()
    server.files["object-paths.json.gz"] = zipped({uid_of("ant"): "../evil.glb"})
    with pytest.raises(InputError, match=r"has the path '../evil.glb'"):
        source(server, tmp_path, lvis=False)
    (tmp_path / "object-paths.json.gz").write_bytes(zipped([1])[:20])
    with pytest.raises(InputError, match=r"is damaged .*; delete it"):
        source(server, tmp_path)
    (tmp_path / "object-paths.json.gz").write_bytes(zipped([1]))
    with pytest.raises(InputError, match="is no table of objects"):
        source(server, tmp_path)
    (tmp_path / "up/hf-objaverse-v1/glbs").mkdir(parents=True)
    with pytest.raises(InputError, match="name the folder in it"):
        source(server, tmp_path / "up")


def test_a_dead_server_ends_the_run(server: ObjaverseServer, tmp_path: Path) -> None:
    many = ObjaverseServer({str(i): GLB for i in range(15)})
    made = source(many, tmp_path)
    many.faults = dict.fromkeys(many.paths.values(), 500)
    with pytest.raises(InputError, match="10 downloads in a row failed"):
        made.fetch(progress=False)
    # Files that are gone are no sign of that.
    many.faults = dict.fromkeys(list(many.paths.values())[:14], 404)
    assert made.fetch(progress=False).made == 1
    many.close()


def test_what_the_annotations_refuse_is_not_downloaded(tmp_path: Path, server: ObjaverseServer) -> None:
    changes: dict[str, dict[str, object]] = {
        "moving": {"animationCount": 3},
        "huge": {"faceCount": 9_000_000},
    }
    other = ObjaverseServer(dict.fromkeys(("fine", "moving", "huge"), GLB), changes=changes)
    made, heard = source(other, tmp_path, filters=Filters()), Heard()
    made.fetch(record=heard, progress=False)
    assert heard[uid_of("fine")][0] == "done"
    assert heard[uid_of("moving")][:2] == (
        "rejected",
        "animated: 3 animations (filters.animated=true takes it)",
    )
    assert heard[uid_of("huge")][0] == "rejected" and "9000000" in str(heard[uid_of("huge")][1])
    assert other.objects_asked() == [other.paths["fine"]]
    with pytest.raises(Rejected, match="animated"):
        made.load(uid_of("moving"))
    other.close()


def test_from_server_to_prepared_objects(server: ObjaverseServer, tmp_path: Path) -> None:
    """Faults, filters and good objects, through the manifest."""
    flat = trimesh.creation.box((1, 1, 0.001)).subdivide().subdivide()
    models = {"good": GLB, "flat": cast(bytes, flat.export(file_type="glb")), "gone": GLB}
    other = ObjaverseServer(models)
    other.faults[other.paths["gone"]] = 404
    out = tmp_path / "out"
    made = source(other, tmp_path / "objaverse", filters=Filters())
    assert obtain_objects(made, out=out) == {"done": 2, "failed": 1, "rejected": 0, "waiting": 0}
    prepare_objects(made, out=out, recipe=RECIPE, workers=1)
    assert list_objects(out) == [uid_of("good")]
    record = read_object(object_folder(out, uid_of("good")))
    assert record.provenance["licence"] == "CC-BY-4.0" and record.provenance["author"] == "Ada L."
    rows = {row.id: row for row in Ledger(out).rows("render")}
    assert rows[uid_of("flat")].state == "rejected"
    assert str(rows[uid_of("flat")].reason).startswith("flat: 0.10% as thick as long")
    assert rows[uid_of("gone")].state == "failed"
    other.close()


def test_flat_is_measured_along_the_thinnest_axis() -> None:
    plate = trimesh.creation.box((1, 0.8, 0.02)).subdivide().subdivide()
    plate.apply_transform(trimesh.transformations.euler_matrix(0.5, 1.0, 2.0))
    mesh = Mesh(np.asarray(plate.vertices), np.asarray(plate.faces))
    Filters(flat=0.019).check_mesh(mesh)
    with pytest.raises(Rejected, match=r"flat: 2\.00% as thick as long, less than filters.flat=0.021"):
        Filters(flat=0.021).check_mesh(mesh)
