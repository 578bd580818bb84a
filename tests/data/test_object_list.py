"""Lists of objects: those of the package, files of users, and one clear line for what is wrong in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from one2345.data import ListedObject, load_object_list, object_lists
from one2345.errors import InputError

SHA = "0123456789abcdef" * 4


def write(folder: Path, text: str) -> Path:
    file = folder / "a list, 'ü'.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_lists_of_the_package() -> None:
    assert object_lists() == ["gso_dev", "ycb_dev"]
    gso, ycb = load_object_list("gso_dev"), load_object_list("ycb_dev")
    assert (len(gso), len(ycb)) == (22, 69)
    assert "Android_Figure_Orange" in gso
    assert all(len(item.sha256) == 64 and item.applies_to(".GLB") for item in (*gso.objects, *ycb.objects))
    # What is measured on a list carries this; a change of it is a change of the benchmark.
    assert (gso.hash, ycb.hash) == ("fb90e8af8a", "79e7c34593")


def test_a_file_of_the_user(tmp_path: Path) -> None:
    text = f"\ufeffid,up,yaw,sha256,split,category\nb,z,90,,val,cup\na,,,{SHA.upper()},train,\n\n"
    found = load_object_list(write(tmp_path, text))
    assert found.ids() == ["a", "b"]
    assert (found.ids("train"), found.ids("test"), found.has_splits) == (["a"], [], True)
    assert found["a"] == ListedObject("a", sha256=SHA, split="train")
    assert found["b"] == ListedObject("b", up="z", yaw=90.0, split="val", category="cup")
    assert found.missing(["b", "c"]) == ["a"]
    with pytest.raises(InputError, match="has no object 'c'"):
        found["c"]


def test_the_hash_is_of_what_the_list_says(tmp_path: Path) -> None:
    def digest(text: str) -> str:
        return load_object_list(write(tmp_path, text)).hash

    base = digest("id,yaw\na,0\nb,90\n")
    assert base == digest("yaw,id,note,split\n90.0,b,as seen in the paper,\n-0,a,,\n")
    assert (
        len({base, digest("id,yaw\na,0\nb,91\n"), digest("id\na\n"), digest("id,up,yaw\na,y,0\nb,,90\n")})
        == 4
    )
    assert digest(f"id,sha256\na,{SHA}\n") != digest("id,sha256\na,\n")


@pytest.mark.parametrize("yaw", [0.0, 90.0, 180.0, -90.0, 450.0, 30.0])
def test_a_turn_is_counter_clockwise_seen_from_above(yaw: float) -> None:
    turned = ListedObject("a", yaw=yaw).turn @ np.array([1.0, 0.0, 5.0, 1.0])
    angle = np.radians(yaw)
    assert turned == pytest.approx([np.cos(angle), np.sin(angle), 5.0, 1.0], abs=1e-12)
    if yaw % 90 == 0:
        assert set(np.abs(turned[:2])) == {0.0, 1.0}


def test_a_checksum_speaks_of_files_of_its_type() -> None:
    assert ListedObject("a", format="glb").applies_to(".GLB")
    assert not ListedObject("a", format="glb").applies_to(".obj")
    assert ListedObject("a").applies_to(".obj")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,sha256\na,12\n", r"line 2: sha256 '12' is not 64 hexadecimal digits"),
        ("id,up\na,y\nb,x\n", r"line 3: up 'x' is unknown; use y, z"),
        ("id,yaw\na,left\n", r"line 2: yaw 'left' is not a number"),
        ("id,yaw\na,nan\n", r"line 2: yaw 'nan' is not a number"),
        ("id,split\na,dev\n", r"line 2: split 'dev' is unknown; use train, val, test"),
        ("id,format\na,fbx\n", r"line 2: format 'fbx' is unknown"),
        ("id\na\na\n", r"line 3: id 'a' appears twice"),
        ("id\n../a\n", r"line 2: object id '../a' can't name a folder"),
        ("id,yaw\na\n", r"line 2: 2 columns are announced"),
        ("id,yaw\na,0,1\n", r"line 2: 2 columns are announced"),
        ("name\na\n", r"unknown column 'name'; the columns are id, sha256"),
        ("sha256\n\n", r"no column 'id'"),
        ("id\n", r"the list is empty"),
        ('id\n"a\n', r"not a readable CSV"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=r"a list, 'ü'.csv.*" + message):
        load_object_list(write(tmp_path, text))


def test_an_unknown_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"list=gso_deb: no such file, and no list .* \(gso_dev, ycb_dev\)"):
        load_object_list("gso_deb")
    (tmp_path / "x.csv").write_bytes(b"id\n\xff\xfe\n")
    with pytest.raises(InputError, match="not a readable CSV"):
        load_object_list(tmp_path / "x.csv")
