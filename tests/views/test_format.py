"""The format on disk: round trips, the same bytes, and one clear error for each kind of damage."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from one2345.errors import InputError
from one2345.views import PosedViews, Samples, read_object, write_object
from one2345.views.images import MAX_DEPTH, composite, encode_depth, straight_rgba

AWKWARD = "a, b [c]='d' é 数.x"


def tree(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def edit(folder: Path, change) -> None:
    file = folder / "object.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    change(document)
    file.write_text(json.dumps(document), encoding="utf-8")


def test_round_trip(tmp_path: Path, views: PosedViews, samples: Samples) -> None:
    folder = write_object(
        tmp_path,
        "one",
        views=views,
        samples=samples,
        provenance={"licence": "CC0"},
        split="val",
        recipe="abc",
    )
    record = read_object(folder)
    assert (record.id, record.split, record.recipe, record.provenance) == (
        "one",
        "val",
        "abc",
        {"licence": "CC0"},
    )
    assert record.parents == (None, "v0", None)
    assert record.source_indices() == [0]
    back = record.views(depth=True)
    assert torch.equal(back.cameras.K, views.cameras.K)
    assert torch.equal(back.cameras.c2w, views.cameras.c2w)
    assert (back.masks - views.masks).abs().max() <= 0.5 / 255 + 1e-6
    assert (back.images - views.images).abs().max() <= 1.01 / 255
    assert (back.depth - views.depth).abs().max() <= 0.5 / 20000 + 1e-7
    assert (back.names, back.roles, back.parents) == (views.names, views.roles, views.parents)
    labels = record.samples()
    assert torch.equal(labels.sdf_points, samples.sdf_points)
    assert torch.equal(labels.sdf_values, samples.sdf_values)
    assert torch.equal(labels.occupancy[8], samples.occupancy[8])
    assert (labels.surface_normals - samples.surface_normals).abs().max() < 1e-3
    assert (labels.surface_colours - samples.surface_colours).abs().max() <= 0.51 / 255
    assert record.samples(occupancy=False).occupancy == {}


def test_normals_round_trip(tmp_path: Path, views_with_normals: PosedViews) -> None:
    views = views_with_normals
    back = read_object(write_object(tmp_path, "n", views=views)).views(normals=True)
    cosine = (back.normals * views.normals).sum(1)
    seen = views.normals.norm(dim=1) > 0.5
    assert cosine[seen].min() > 0.9999
    assert back.normals.permute(0, 2, 3, 1)[~seen].abs().max() == 0


def test_straight_alpha_composites_back_within_half_a_level() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(2, 9, 9, generator=generator)
    alpha = (masks * 255).round() / 255
    images = torch.rand(2, 3, 9, 9, generator=generator) * alpha[:, None] + 1 - alpha[:, None]
    back, mask = composite(torch.from_numpy(straight_rgba(images, masks)))
    assert (back - images).abs().max() <= 0.5 / 255 + 1e-6
    assert torch.allclose(mask, alpha)
    clear = straight_rgba(torch.ones(1, 3, 1, 1), torch.zeros(1, 1, 1))
    assert clear.tolist() == [[[[255, 255, 255, 0]]]]


def test_depth_out_of_range_is_refused() -> None:
    assert encode_depth(torch.tensor([[0.0, MAX_DEPTH]])).tolist() == [[0, 65535]]
    for bad in (MAX_DEPTH + 0.01, -0.1, float("nan")):
        with pytest.raises(InputError, match="depth lies in"):
            encode_depth(torch.tensor([[1.0, bad]]))


def test_same_arguments_same_bytes(tmp_path: Path, views: PosedViews, samples: Samples) -> None:
    for name in ("a", "b"):
        write_object(tmp_path / name, "x", views=views, samples=samples, provenance={"z": 1, "a": [1, 2]})
    first, second = tree(tmp_path / "a"), tree(tmp_path / "b")
    assert first == second
    assert len(first) == 8
    with zipfile.ZipFile(tmp_path / "a/objects/x/samples.npz") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    write_object(tmp_path / "a", "x", views=views, samples=samples, provenance={"z": 1, "a": [1, 2]})
    assert tree(tmp_path / "a") == second


def test_awkward_paths_and_ids(tmp_path: Path, views: PosedViews) -> None:
    root = tmp_path / AWKWARD
    folder = write_object(root, AWKWARD, views=views)
    assert read_object(folder).views(["v1"]).names == ("v1",)
    for bad in ("", "../x", "a/b", ".hidden", "x" * 201, "new\nline"):
        with pytest.raises(InputError, match="object id"):
            write_object(root, bad, views=views)


def test_a_writer_that_is_overtaken_still_ends_with_a_whole_object(
    tmp_path: Path, views: PosedViews, monkeypatch
) -> None:
    final, rename, others = tmp_path / "objects" / "one", os.rename, []

    def overtaken(source, target) -> None:
        if Path(target) == final and not others:
            others.append(shutil.copytree(source, final))  # another writer, between the look and the leap
        rename(source, target)

    monkeypatch.setattr(os, "rename", overtaken)
    assert len(read_object(write_object(tmp_path, "one", views=views)).views()) == 3
    assert not list((tmp_path / ".partial").iterdir())


def test_a_failed_write_leaves_nothing(tmp_path: Path, views: PosedViews, monkeypatch) -> None:
    import one2345.views.writer as writer

    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(writer, "write_png", fail)
    with pytest.raises(OSError, match="disk full"):
        write_object(tmp_path, "x", views=views)
    assert tree(tmp_path) == {}
    assert not (tmp_path / "objects" / "x").exists()
    assert list((tmp_path / ".partial").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["views"][1]["c2w"][0].__setitem__(3, float("nan")), r"views\[1\].c2w \(v1\): holds NaN"),
        (lambda d: d["views"][0]["K"][0].__setitem__(0, 0), r"views\[0\].K \(v0\): focal"),
        (lambda d: d["views"][0]["K"][0].__setitem__(0, None), r"views\[0\].K\[0\]\[0\]: None is not"),
        (lambda d: d["views"][2]["c2w"][0].__setitem__(0, 5.0), r"views\[2\].c2w \(v2\).*no rotation"),
        (
            lambda d: d["views"][2].update(c2w=[[-x for x in r[:1]] + r[1:] for r in d["views"][2]["c2w"]]),
            r"views\[2\].c2w \(v2\).*determinant -1",
        ),
        (
            lambda d: d["views"][0].update(c2w=[[r[0], -r[1], -r[2], r[3]] for r in d["views"][0]["c2w"]]),
            r"views\[0\].c2w \(v0\).*looks away",
        ),
        (lambda d: d["views"][0]["c2w"].pop(), r"views\[0\].c2w"),
        (lambda d: d["views"][0].update(c2w=[*d["views"][0]["c2w"][:3], [0, 0, 1, 1]]), r"last row"),
        (lambda d: d["views"][1].update(name="v0"), r"views\[1\].name: 'v0' appears twice"),
        (lambda d: d["views"][1].update(name="../v0"), r"views\[1\].name"),
        (lambda d: d["views"][1].update(parent="gone"), r"views\[1\].parent: there is no view 'gone'"),
        (lambda d: d["views"][1].update(role="far"), r"views\[1\].role"),
        (lambda d: d.update(size=[16, 0]), r"size\[1\]"),
        (lambda d: d.update(surprise=1), r"surprise"),
        (lambda d: d.pop("views"), r"'views' is a required"),
        (lambda d: d.update(version=2), r"version is 2"),
        (lambda d: d.update(schema="other"), r"schema"),
    ],
)
def test_bad_descriptions(tmp_path: Path, views: PosedViews, change, message: str) -> None:
    folder = write_object(tmp_path, "x", views=views)
    edit(folder, change)
    with pytest.raises(InputError, match=message) as caught:
        read_object(folder)
    assert str(folder / "object.json") in str(caught.value)


@pytest.mark.parametrize(
    ("id", "message"),
    [("other", "id is 'other', but the folder is called 'one'"), ("../one", "id: .* can't name a folder")],
)
def test_the_id_is_the_name_of_the_folder(tmp_path: Path, views: PosedViews, id: str, message: str) -> None:
    folder = write_object(tmp_path, "one", views=views)
    edit(folder, lambda document: document.update(id=id))
    with pytest.raises(InputError, match=message):
        read_object(folder)


def test_the_folder_may_be_given_from_within(tmp_path: Path, views: PosedViews, monkeypatch) -> None:
    monkeypatch.chdir(write_object(tmp_path, "one", views=views))
    assert read_object(".").id == "one"


def test_every_truncation_of_a_png_is_named(tmp_path: Path, views: PosedViews) -> None:
    folder = write_object(tmp_path, "x", views=views)
    record = read_object(folder)
    file = folder / "images" / "v1.png"
    whole = file.read_bytes()
    for length in range(0, len(whole) - 12, 23):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match="not a readable PNG") as caught:
            record.views()
        assert str(file) in str(caught.value)
    record.views(["v0"])


def test_wrong_files_are_named(tmp_path: Path, views: PosedViews, samples: Samples) -> None:
    folder = write_object(tmp_path, "x", views=views, samples=samples)
    record = read_object(folder)
    Image.fromarray(np.zeros((8, 16, 4), np.uint8)).save(folder / "images" / "v0.png")
    with pytest.raises(InputError, match=r"v0.png: is 16x8 px, but object.json says 16x16"):
        record.views()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(folder / "images" / "v0.png")
    with pytest.raises(InputError, match=r"v0.png: expected a RGBA PNG"):
        record.views()
    (folder / "images" / "v0.png").unlink()
    with pytest.raises(InputError, match=r"v0.png: the file is missing"):
        record.views()
    archive = folder / "samples.npz"
    whole = archive.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 30):
        archive.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"samples.npz: not a readable"):
            record.samples()
    with pytest.raises(InputError, match=r"v0.png: the file is missing"):
        record.check()


def test_damaged_bytes_never_pass_silently(tmp_path: Path, views: PosedViews, samples: Samples) -> None:
    """A flipped byte in the data of samples.npz is found by the archive's checksum."""
    folder = write_object(tmp_path, "x", views=views, samples=samples)
    archive = folder / "samples.npz"
    whole = bytearray(archive.read_bytes())
    at = whole.find(samples.sdf_points.numpy().tobytes()[:16])
    whole[at + 3] ^= 0x10
    archive.write_bytes(bytes(whole))
    with pytest.raises(InputError, match=r"samples.npz"):
        read_object(folder).samples()


def test_unknown_views_and_missing_parts(tmp_path: Path, views: PosedViews) -> None:
    record = read_object(write_object(tmp_path, "x", views=views))
    with pytest.raises(InputError, match="no view 'zz'; views: v0, v1, v2"):
        record.views(["zz"])
    with pytest.raises(InputError, match="without samples"):
        record.samples()
    with pytest.raises(InputError, match="without normals"):
        record.views(normals=True)
    with pytest.raises(InputError, match="no such object folder"):
        read_object(tmp_path / "objects" / "y")
