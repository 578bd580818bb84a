"""Sources: which objects there are, in which split, and errors for folders and manifests that are wrong."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from tests.data.model_folders import SIZE, block_obj, mujoco_files, official_files, write_files

from one2345.data import FolderSource, ListedObject, ObjectList, ShapesSource, open_meshes
from one2345.errors import InputError
from one2345.objects import load_mesh


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


@pytest.mark.parametrize(
    ("files", "ids"),
    [
        (["b.ply", "a.glb"], ["a", "b"]),
        (["glb/a.glb", "glb/b.glb", "more/c.glb"], ["a", "b", "c"]),
        (["mug/mesh.obj", "cup/scan_7.glb"], ["cup", "mug"]),
        (["002_can/google_16k/textured.obj", "003_box/google_16k/textured.obj"], ["002_can", "003_box"]),
        (["mug/out/mesh.obj"], ["out"]),
        (["mesh.obj", "cup/scan_7.glb"], ["mesh", "scan_7"]),
        ([f"glbs/000-{k:03}/{k:032x}.glb" for k in (1, 2)], [f"{1:032x}", f"{2:032x}"]),
        (["a.glb", ".hidden/b.glb"], ["a"]),
    ],
)
def test_ids_come_from_the_layout(tmp_path: Path, files: list[str], ids: list[str]) -> None:
    write_files(tmp_path, dict.fromkeys(files, b"x"))
    source = open_meshes(tmp_path)
    assert source.ids() == ids
    assert {source.file(id).relative_to(tmp_path).as_posix() for id in ids} <= set(files)


@pytest.mark.parametrize(
    "files",
    [
        ["a/mesh.obj", "a/other.obj", "b/mesh.obj"],
        ["a/x/mesh.obj", "b/x/mesh.obj", "mesh.ply"],
        ["toys/a/m.glb", "shoes/a/m.glb", "shoes/b/m.glb"],
        ["a/meshes/top.obj", "a/meshes/bottom.obj", "a/model.sdf"],
    ],
)
def test_one_id_for_two_files_names_both(tmp_path: Path, files: list[str]) -> None:
    write_files(tmp_path, dict.fromkeys(files, b"x"))
    with pytest.raises(InputError) as caught:
        FolderSource(root=tmp_path)
    assert sum(str(tmp_path / file) in str(caught.value) for file in files) == 2


def test_models_of_simulators_are_one_object_each_and_z_up(tmp_path: Path) -> None:
    write_files(tmp_path / "Can", official_files("Can"))
    write_files(tmp_path / "toys/Bear", mujoco_files())
    write_files(tmp_path, {"plain.obj": block_obj("none.mtl").encode().replace(b"mtllib", b"#")})
    source = open_meshes(tmp_path)
    assert source.ids() == ["Bear", "Can", "plain"]
    assert source.file("Bear") == tmp_path / "toys/Bear/model.obj"
    assert [source.axis(id) for id in source.ids()] == ["z", "z", "y"]
    for id in ("Bear", "Can"):
        assert np.ptp(source.mesh(id).bounds, axis=0).tolist() == list(SIZE)
    assert np.ptp(source.mesh("plain").bounds, axis=0).tolist() == [SIZE[0], SIZE[2], SIZE[1]]
    assert open_meshes(tmp_path, up="z").axis("plain") == "z"
    with pytest.raises(InputError, match="the folder of one model; name the folder above"):
        open_meshes(tmp_path / "Can")
    with pytest.raises(InputError, match=r"source.up='x'"):
        open_meshes(tmp_path, up="x")


def test_a_mesh_is_as_the_file_has_it(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.obj": block_obj("none.mtl").encode()})
    with pytest.warns(match="missing files: none.mtl"):
        mesh, alone = FolderSource(root=tmp_path).mesh("a"), load_mesh(tmp_path / "a.obj")
    assert np.array_equal(mesh.vertices, alone.vertices)
    assert np.ptp(mesh.bounds, axis=0).max() == 3.0


def test_a_list_chooses_turns_and_splits(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_files(tmp_path / "in", {f"{name}.obj": block_obj("none.mtl").encode()})
    sha256 = hashlib.sha256((tmp_path / "in/a.obj").read_bytes()).hexdigest()
    rows = f"id,sha256,format,up,yaw,split\na,{sha256},obj,z,90,test\nb,{sha256},glb,z,0,train\n"
    listed = write_files(tmp_path, {"list.csv": rows.encode()}) / "list.csv"
    source = FolderSource(root=tmp_path / "in", list=listed)
    assert (source.ids(), source.ids("test"), source.split("b")) == (["a", "b"], ["a"], "train")
    assert (source.missing, source.unchecked) == ((), ("b",))
    # What the list says of a GLB does not hold for an OBJ.
    assert (source.axis("a"), source.axis("b")) == ("z", "y")
    plain = FolderSource(root=tmp_path / "in", up="z")
    with pytest.warns(match="none.mtl"):
        turned, straight = source.mesh("a"), plain.mesh("a")
    x, y, z = straight.vertices.T
    assert np.array_equal(turned.vertices, np.stack([-y, x, z], -1))
    assert len({source.fingerprint("a"), source.fingerprint("b"), plain.fingerprint("a")}) == 3
    assert source.fingerprint("b") == FolderSource(root=tmp_path / "in").fingerprint("b") == sha256
    yaw_alone = ObjectList("a list", (ListedObject("a", yaw=90),))
    assert FolderSource(root=tmp_path / "in", list=yaw_alone).fingerprint("a") != sha256
    assert FolderSource(root=tmp_path / "in", list=listed, subset="test").ids() == ["a"]
    assert FolderSource(root=tmp_path / "in", list=listed, check=False).unchecked == ("a", "b")
    with pytest.raises(InputError, match=r"source.ids: the list .*list.csv has no object 'c'"):
        FolderSource(root=tmp_path / "in", list=listed, ids=["c"])


def test_what_the_folder_lacks_of_a_list_is_an_error_or_reported(folder: Path, tmp_path: Path) -> None:
    names = ["one", *(f"gone{k}" for k in range(7))]
    write_files(tmp_path, {"list.csv": "\n".join(["id", *names]).encode()})
    with pytest.raises(
        InputError, match=r"lacks 7 \(gone0, gone1, gone2, gone3, gone4, ...\) .*source.partial=true"
    ):
        FolderSource(root=folder, list=tmp_path / "list.csv")
    source = FolderSource(root=folder, list=tmp_path / "list.csv", partial=True)
    assert source.ids() == ["one"]
    assert (
        source.missing == tuple(f"gone{k}" for k in range(7)) == open_meshes(folder, list=source.list).missing
    )
    assert FolderSource(root=folder, list=source.list, ids=["one"]).missing == ()
    with pytest.raises(InputError, match=r"lacks 2 \(gone0, gone1\)"):
        FolderSource(root=folder, list=source.list, limit=2)


def test_another_file_than_the_list_means_is_refused(folder: Path, tmp_path: Path) -> None:
    write_files(tmp_path, {"list.csv": b"id,sha256\none," + b"0" * 64})
    found = hashlib.sha256(b"x").hexdigest()
    with pytest.raises(
        InputError, match=rf"one.glb: the object 'one' .* expected sha256 0{{64}}, found {found}"
    ):
        FolderSource(root=folder, list=tmp_path / "list.csv")
    assert FolderSource(root=folder, list=tmp_path / "list.csv", check=False).ids() == ["one"]


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
