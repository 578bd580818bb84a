"""Downloads that a source does by itself, and what the manifest says of them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from one2345.data.ledger import Ledger
from one2345.data.obtain import Record, obtain_objects
from one2345.errors import InputError


class Remote:
    """Objects whose files are 'downloaded' into `root`; `gone` fail, `shy` are passed over in silence."""

    def __init__(self, root: Path, *, gone: Sequence[str] = (), shy: Sequence[str] = (), full: bool = False):
        self.root, self.gone, self.shy, self.full = root, gone, shy, full
        self.asked: list[list[str]] = []

    def ids(self, split: str | None = None) -> list[str]:
        return ["a", "b", "c"]

    def file(self, id: str) -> Path:
        return self.root / f"{id}.glb"

    def absent(self, ids: Sequence[str] | None = None) -> list[str]:
        return [id for id in ids or self.ids() if not self.file(id).is_file()]

    def fetch(self, ids: Sequence[str] | None = None, *, record: Record | None = None) -> None:
        assert ids is not None and record is not None
        self.asked.append(list(ids))
        for id in ids:
            if self.full:
                raise InputError("the disk is full")
            if id in self.gone:
                record(id, "failed", "404", 0, None)
            elif id not in self.shy:
                self.file(id).write_bytes(b"glTF")
                record(id, "done", None, 4, "CC-BY")


def test_what_is_missing_is_downloaded_and_recorded(tmp_path: Path) -> None:
    (tmp_path / "b.glb").write_bytes(b"old")
    source = Remote(tmp_path, gone=["c"])
    assert obtain_objects(source, out=tmp_path) == {"done": 2, "failed": 1, "rejected": 0, "waiting": 0}
    assert source.asked == [["a", "c"]]
    rows = {
        row.id: (row.state, row.bytes, row.licence, row.reason) for row in Ledger(tmp_path).rows("download")
    }
    assert rows == {
        "a": ("done", 4, "CC-BY", None),
        "b": ("done", 3, None, None),
        "c": ("failed", None, None, "404"),
    }
    again = Remote(tmp_path)
    assert obtain_objects(again, out=tmp_path)["done"] == 3 and again.asked == [["c"]]
    (tmp_path / "a.glb").unlink()
    assert obtain_objects(again, out=tmp_path)["done"] == 3 and again.asked[1:] == [["a"]]


def test_one_run_downloads_and_others_wait(tmp_path: Path) -> None:
    sources = [Remote(tmp_path) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda source: obtain_objects(source, out=tmp_path), sources))
    assert [result["done"] for result in results] == [3, 3, 3]
    assert sorted(id for source in sources for batch in source.asked for id in batch) == ["a", "b", "c"]


def test_a_source_that_stops_leaves_nothing_claimed_and_one_that_is_silent_ends(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="disk is full"):
        obtain_objects(Remote(tmp_path, full=True), out=tmp_path)
    assert Ledger(tmp_path).counts("download")["waiting"] == 3
    assert obtain_objects(Remote(tmp_path, shy=["b"]), out=tmp_path)["failed"] == 1
