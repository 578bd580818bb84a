"""Sources: which objects there are, in which split, and errors for folders and manifests that are wrong."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from one2345.data import FolderSource, ShapesSource
from one2345.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "a, [b] = 'ü'"
    (root / "sub").mkdir(parents=True)
    for name in ("one.glb", "sub/two.OBJ", "notes.txt"):
        (root / name).write_bytes(b"x")
    return root


def write_manifest(root: Path, text: str) -> None:
    (root / "manifest.csv").write_text(text, encoding="utf-8")


def test_a_folder_without_manifest_is_searched(folder: Path) -> None:
    source = FolderSource(root=folder)
    assert source.ids() == ["one", "two"]
    assert source.split("one") is None
    assert source.fingerprint("one") == source.fingerprint("two")
    assert pickle.loads(pickle.dumps(source)).ids() == source.ids()
    (folder / "one.ply").write_bytes(b"y")
    with pytest.raises(InputError, match=r"one.glb and .*one.ply would both be the object 'one'"):
        FolderSource(root=folder)


def test_a_manifest_decides_ids_splits_and_rows(folder: Path) -> None:
    write_manifest(folder, "id,file,split,tier\nb,one.glb,train,core\na,sub/two.OBJ,val,extra\n")
    source = FolderSource(root=folder)
    assert source.ids() == ["a", "b"]
    assert (source.ids("train"), source.ids("val"), source.ids("test")) == (["b"], ["a"], [])
    assert FolderSource(root=folder, where={"tier": "core"}).ids() == ["b"]
    assert FolderSource(root=folder, subset="val").ids() == ["a"]
    assert FolderSource(root=folder, ids=["b"]).ids() == ["b"]
    assert FolderSource(root=folder, limit=1).ids() == ["a"]


def test_a_fraction_is_set_aside_by_id(tmp_path: Path) -> None:
    for k in range(200):
        (tmp_path / f"m{k}.glb").write_bytes(b"")
    source = FolderSource(root=tmp_path, val_fraction=0.2)
    val = source.ids("val")
    assert 20 <= len(val) <= 60
    assert sorted(val + source.ids("train")) == source.ids()
    (tmp_path / "m0.glb").unlink()
    assert FolderSource(root=tmp_path, val_fraction=0.2).ids("val") == [i for i in val if i != "m0"]


def test_a_fraction_is_set_aside_of_a_manifest_without_splits_alone(folder: Path) -> None:
    rows = "".join(f"m{k},one.glb\n" for k in range(50))
    write_manifest(folder, "id,file\n" + rows)
    source = FolderSource(root=folder, val_fraction=0.2)
    assert 2 <= len(source.ids("val")) <= 20
    assert sorted(source.ids("val") + source.ids("train")) == source.ids()
    assert FolderSource(root=folder, val_fraction=0.2, subset="val").ids() == source.ids("val")
    write_manifest(folder, "id,file,split\n" + rows.replace("\n", ",test\n"))
    assert len(FolderSource(root=folder, val_fraction=0.2).ids("test")) == 50


@pytest.mark.parametrize(
    "name", ["../secret.off", "sub/../../secret.off", "{out}/secret.off", "link.off", "a\0b"]
)
def test_a_manifest_cannot_name_files_outside_its_folder(folder: Path, name: str) -> None:
    secret = folder.parent / "secret.off"
    secret.write_text("OFF\n4 4 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 2 1\n3 0 1 3\n3 1 2 3\n3 0 3 2\n")
    (folder / "link.off").symlink_to(secret)
    write_manifest(folder, f"id,file\nthief,{name.format(out=folder.parent)}\n")
    source = FolderSource(root=folder)
    for use in (source.load, source.fingerprint):
        with pytest.raises(
            InputError, match=r"manifest.csv: id 'thief': file .* (lies outside|must be a path)"
        ):
            use("thief")


def test_a_root_behind_a_link_is_no_way_out(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    write_manifest(folder, "id,file\na,sub/../one.glb\n")
    assert FolderSource(root=tmp_path / "link").fingerprint("a")


@pytest.mark.parametrize(
    ("manifest", "keywords", "message"),
    [
        ("id,file\na,one.glb\na,one.glb\n", {}, "line 3: id 'a' appears twice"),
        ("id,path\na,one.glb\n", {}, "line 2: needs a value for id and file"),
        ("id,file\na,one.glb\n", {"ids": ["c"]}, "no object 'c'"),
        ("id,file\na,one.glb\n", {"where": {"tier": "core"}}, "no column 'tier'"),
        ("id,file\na,one.glb\n", {"subset": "val"}, "no objects are left"),
        ("id,file\na,one.glb\n", {"labels": "good"}, "exact, approximate, unreliable"),
    ],
)
def test_bad_manifests_and_filters(folder: Path, manifest: str, keywords: dict, message: str) -> None:
    write_manifest(folder, manifest)
    with pytest.raises(InputError, match=message):
        FolderSource(root=folder, **keywords)


def test_missing_things_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        FolderSource(root=tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no mesh files"):
        FolderSource(root=tmp_path / "empty")
    write_manifest(folder, "id,file\na,gone.glb\n")
    with pytest.raises(InputError, match=r"gone.glb: the manifest lists this file, but it does not exist"):
        FolderSource(root=folder).load("a")
    with pytest.raises(InputError, match="no object 'zz'"):
        FolderSource(root=folder).split("zz")


def test_shapes_have_disjoint_splits_and_keep_their_ids() -> None:
    small, large = ShapesSource(train=3, val=2, test=1), ShapesSource(train=5, val=3, test=4)
    assert len(set(large.ids())) == 12
    for split in ("train", "val", "test"):
        assert set(small.ids(split)) <= set(large.ids(split))
        assert all(large.split(id) == split for id in large.ids(split))
    assert small.ids("train") == ["shape-0-000000", "shape-0-000001", "shape-0-000002"]
    assert small.describe() == large.describe() != ShapesSource(seed=1).describe()
    with pytest.raises(InputError, match=r"source.val=60000"):
        ShapesSource(val=60_000)
    with pytest.raises(InputError, match="no shape of seed 0"):
        small.load("shape-1-000000")
    with pytest.raises(InputError, match="no split 'dev'"):
        small.ids("dev")
