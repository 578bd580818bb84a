"""Packing: the same bytes however it went, nothing to be seen before all is there, and litdata reads it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.data.spheres import RECIPE, Balls, tree

from one2345.data import prepare_objects
from one2345.data.pack import pack_objects
from one2345.data.stores import FolderStore, ShardStore, open_store
from one2345.data.stores.chunks import INDEX, PARTS, split
from one2345.errors import InputError
from one2345.views import ObjectRecord, object_folder, read_object
from one2345.views.images import encode_webp, read_png

TINY = 0.07  # MiB: two balls


@pytest.fixture(scope="session")
def pack(balls: Path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("pack") / "pack"
    pack_objects(balls, out=out, chunk_mb=TINY, progress=False)
    return out


def assert_same(packed: ObjectRecord, stored: ObjectRecord) -> None:
    for name in (
        "id",
        "names",
        "roles",
        "parents",
        "sources",
        "has_depth",
        "sample_counts",
        "split",
        "recipe",
    ):
        assert getattr(packed, name) == getattr(stored, name)
    for view in range(len(stored)):
        assert np.array_equal(packed.rgba(view), stored.rgba(view))
        assert np.array_equal(packed.stored_depth(view), stored.stored_depth(view))
    ours, theirs = packed.samples(), stored.samples()
    for name in ("sdf_points", "sdf_values", "surface_points", "surface_normals", "surface_colours"):
        assert (getattr(ours, name) == getattr(theirs, name)).all()
    assert ours.occupancy.keys() == theirs.occupancy.keys()


@pytest.mark.parametrize("images", ["png", "webp"])
def test_what_is_read_is_what_was_packed(balls: Path, tmp_path: Path, images: str) -> None:
    summary = pack_objects(balls, out=tmp_path / "p", images=images, chunk_mb=TINY, progress=False)
    store, folder = open_store(tmp_path / "p"), FolderStore(balls)
    assert isinstance(store, ShardStore)
    assert store.ids() == folder.ids() == [f"ball-{i}" for i in range(5)]
    assert summary.objects == 5
    for id in folder.ids():
        assert store.split(id) == folder.split(id)
        assert_same(store.record(id), folder.record(id))
        store.record(id).check()
    assert store.catalogue.licences == ["CC0-1.0"] * 5
    groups = dict(zip(store.ids(), store.groups(store.ids()), strict=True))
    assert len(set(groups.values())) == summary.chunks >= 3
    for a in store.ids():
        assert all(store.split(a) == store.split(b) for b in store.ids() if groups[a] == groups[b])


@pytest.fixture
def stream(pack: Path, monkeypatch):
    """litdata's own reader; without its question to the registry whether there is a newer one."""
    import litdata
    from litdata.streaming.item_loader import PyTreeLoader

    monkeypatch.setattr("litdata.streaming.dataset._check_version_and_prompt_upgrade", lambda version: None)
    loader = PyTreeLoader()
    yield litdata.StreamingDataset(str(pack), shuffle=False, item_loader=loader)
    loader.close(0)  # it leaves the file of the last chunk open


def test_litdata_streams_it(balls: Path, stream) -> None:
    assert len(stream) == 5
    found = {}
    for item in stream:
        assert tuple(item) == PARTS
        record = next(
            r
            for r in map(FolderStore(balls).record, FolderStore(balls).ids())
            if f'"{r.id}"'.encode() in item["object"]
        )
        found[record.id] = item
        for part in ("images", "depth"):
            files = [(record.folder / part / f"{n}.png").read_bytes() for n in record.names]
            assert [bytes(f) for f in split(memoryview(item[part]))] == files
        assert item["samples"] == (record.folder / "samples.npz").read_bytes()
        assert item["object"] == (record.folder / "object.json").read_bytes()
    assert len(found) == 5


def test_chunks_are_what_litdata_writes(pack: Path, stream, tmp_path: Path) -> None:
    from litdata.streaming.writer import BinaryWriter

    items = list(stream)
    index = json.loads((pack / INDEX).read_text())
    writer = BinaryWriter(str(tmp_path), chunk_size=100)
    first = index["chunks"][0]["chunk_size"]
    for i in range(first):
        writer[i] = {part: items[i][part] for part in PARTS}
    writer.done()
    (chunk,) = tmp_path.glob("chunk-*.bin")
    assert chunk.read_bytes() == (pack / "chunk-0-0.bin").read_bytes()
    config = json.loads(next(tmp_path.glob("*index.json")).read_text())["config"]
    assert config["data_spec"] == index["config"]["data_spec"]
    assert config.keys() == index["config"].keys()
    assert config["data_format"] == index["config"]["data_format"]


def test_the_bytes_depend_on_the_objects_alone(balls: Path, pack: Path, tmp_path: Path) -> None:
    pack_objects(balls, out=tmp_path / "a", chunk_mb=TINY, workers=1, progress=False)
    pack_objects(balls, out=tmp_path / "b", chunk_mb=TINY, workers=3, progress=False)
    assert tree(tmp_path / "a") == tree(tmp_path / "b") == tree(pack)
    again = pack_objects(balls, out=tmp_path / "a", chunk_mb=TINY, progress=False)
    assert again.kept == again.chunks
    assert tree(tmp_path / "a") == tree(pack)


def test_a_run_that_stops_at_any_write_is_continued(
    balls: Path, pack: Path, tmp_path: Path, monkeypatch
) -> None:
    """Every write of a file in turn is the last one that happens."""
    import one2345.data.pack as module
    import one2345.data.stores.chunks as chunks
    from one2345.files import write_atomic

    class Killed(BaseException):
        pass

    for last in range(100):
        out, count = tmp_path / str(last), 0

        def write(path: Path, data: bytes | str, last: int = last) -> None:
            nonlocal count
            if count == last:
                raise Killed
            count += 1
            write_atomic(path, data)

        monkeypatch.setattr(module, "write_atomic", write)
        monkeypatch.setattr(chunks, "write_atomic", write)
        try:
            pack_objects(balls, out=out, chunk_mb=TINY, progress=False)
            break
        except Killed:
            assert not ShardStore.at(out)
            with pytest.raises(InputError):
                open_store(out)
        monkeypatch.undo()
        kept = pack_objects(balls, out=out, chunk_mb=TINY, progress=False).kept
        assert kept == min(last // 2, len(list(pack.glob("*.bin"))))
        assert tree(out) == tree(pack)
    assert last >= 8


def test_what_an_interrupted_run_left_of_other_settings_is_written_anew(
    balls: Path, pack: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(pack, out)
    (out / INDEX).unlink()
    (out / "chunk-0-9.bin").write_bytes(b"of a larger pack")
    pack_objects(balls, out=out, chunk_mb=TINY, progress=False)
    assert tree(out) == tree(pack)


def test_objects_made_anew_since_an_interrupted_run_are_packed_anew(
    balls: Path, tmp_path: Path, monkeypatch
) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    shutil.copytree(balls, root)

    def interrupted(*args: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("one2345.data.pack.write_catalogue", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pack_objects(root, out=out, chunk_mb=TINY, progress=False)
    file = object_folder(root, "ball-0") / "object.json"
    document = json.loads(file.read_text())
    document["provenance"]["author"] = "somebody else"
    file.write_text(json.dumps(document))
    pack_objects(root, out=out, chunk_mb=TINY, progress=False)
    pack_objects(root, out=tmp_path / "fresh", chunk_mb=TINY, progress=False)
    assert tree(out) == tree(tmp_path / "fresh")
    assert ShardStore(out).record("ball-0").provenance["author"] == "somebody else"


def test_another_pack_is_not_overwritten(balls: Path, pack: Path, tmp_path: Path) -> None:
    before = tree(pack)
    with pytest.raises(InputError, match=r"packed with pack.images=png"):
        pack_objects(balls, out=pack, images="webp", progress=False)
    with pytest.raises(InputError, match=r"pack of other objects \(ball-3 differs\)"):
        pack_objects(balls, out=pack, ids=["ball-0", "ball-1", "ball-2", "ball-4"], progress=False)
    other = tmp_path / "other"
    prepare_objects(Balls(5), out=other, recipe=replace(RECIPE, targets=1), workers=1)
    with pytest.raises(InputError, match="pack of other objects"):
        pack_objects(other, out=pack, progress=False)
    with pytest.raises(InputError, match="is packed already"):
        pack_objects(pack, out=tmp_path / "x", progress=False)
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds thesis.txt"):
        pack_objects(balls, out=tmp_path / "y", progress=False)
    with pytest.raises(InputError, match=r"pack.images=jpeg"):
        pack_objects(balls, out=tmp_path / "z", images="jpeg", progress=False)
    assert tree(pack) == before


def test_a_damaged_object_is_named_and_goes_on_once_it_is_mended(
    balls: Path, pack: Path, tmp_path: Path
) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    shutil.copytree(balls, root)
    file = object_folder(root, "ball-2") / "depth" / "t1.png"
    whole = file.read_bytes()
    file.write_bytes(whole[:50])
    with pytest.raises(InputError, match=r"ball-2/depth/t1.png: not a readable PNG"):
        pack_objects(root, out=out, chunk_mb=TINY, progress=False)
    assert not ShardStore.at(out)
    file.write_bytes(whole)
    pack_objects(root, out=out, chunk_mb=TINY, progress=False)
    assert tree(out) == tree(pack)


def test_lossless_webp_keeps_colour_under_alpha_and_opaque_pictures() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    pixels[:4, :, 3] = 0
    for alpha in (pixels, np.concatenate([pixels[..., :3], np.full((9, 7, 1), 255, np.uint8)], -1)):
        found = read_png(Path("x"), mode="RGBA", size=(9, 7), data=encode_webp(alpha))
        assert np.array_equal(found, alpha)
    with pytest.raises(InputError, match="not a readable PNG"):
        read_png(Path("x"), mode="I;16", size=(9, 7), data=encode_webp(pixels))


@pytest.mark.slow
def test_kill_at_any_moment(balls: Path, pack: Path, tmp_path: Path) -> None:
    """A process of its own, slow at every file that it writes, killed with SIGKILL as soon as it is at the n-th."""
    code = f"""
import os, sys, time
from one2345.data.pack import pack_objects
replace = os.replace
def slow(*names, **keywords):
    print("file", flush=True)
    time.sleep(0.2)
    replace(*names, **keywords)
os.replace = slow
pack_objects(sys.argv[1], out=sys.argv[2], chunk_mb={TINY}, progress=False)
"""
    out, draws = tmp_path / "out", random.Random(5)
    for files in (1, 2, 3, 2, 1):
        process = subprocess.Popen([sys.executable, "-c", code, str(balls), str(out)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(files):
            assert process.stdout.readline() == b"file\n"
        time.sleep(draws.uniform(0.0, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not ShardStore.at(out) or len(ShardStore(out).ids()) == 5
    pack_objects(balls, out=out, chunk_mb=TINY, progress=False)
    assert tree(out) == tree(pack)


def test_ids_of_any_writing(tmp_path: Path, balls: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(balls / "objects" / "ball-0", root / "objects" / "ä, [b] = 'ç'")
    shutil.copy(balls / "dataset.json", root)
    file = root / "objects" / "ä, [b] = 'ç'" / "object.json"
    file.write_text(file.read_text().replace("ball-0", "ä, [b] = 'ç'"))
    pack_objects(root, out=tmp_path / "p", progress=False)
    assert_same(ShardStore(tmp_path / "p").record("ä, [b] = 'ç'"), read_object(file.parent))
