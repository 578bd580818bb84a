"""Preparation: the same bytes however it ran, and one reason for each object that failed."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from socket import gethostname

import pytest
from tests.data.spheres import RECIPE, Balls, tree

from one2345.data import LoadedObject, prepare, prepare_objects
from one2345.data.ledger import MANIFEST, Ledger, failures
from one2345.data.sources.base import Rejected
from one2345.data.workers import Limits
from one2345.errors import InputError
from one2345.views import list_objects, object_folder, read_object


def test_an_interrupted_and_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "a, [b] = 'ü'"
    prepare_objects(Balls(4, bad=("ball-1",)), out=whole, recipe=RECIPE, workers=1)
    with pytest.raises(KeyboardInterrupt):
        prepare_objects(Balls(4, bad=("ball-1",), stop="ball-2"), out=parts, recipe=RECIPE, workers=1)
    assert list_objects(parts) == ["ball-0"]
    # What a killed process leaves: a half-written object aside.
    (parts / ".partial" / f"{gethostname()}-999999999-0123abcd" / "images").mkdir(parents=True)
    summary = prepare_objects(Balls(4, bad=("ball-1",)), out=parts, recipe=RECIPE, workers=1)
    assert (summary.made, summary.kept) == (2, 1)
    assert tree(parts) == tree(whole)
    assert not (parts / ".partial").exists()
    read_object(object_folder(parts, "ball-3")).check()


def test_complete_objects_are_kept_and_damaged_ones_made_again(tmp_path: Path) -> None:
    prepare_objects(Balls(3), out=tmp_path, recipe=RECIPE, workers=1)
    before = tree(tmp_path)
    stamp = (object_folder(tmp_path, "ball-0") / "object.json").stat().st_mtime_ns
    (object_folder(tmp_path, "ball-1") / "object.json").write_text("{")
    summary = prepare_objects(Balls(3), out=tmp_path, recipe=RECIPE, workers=1)
    assert (summary.made, summary.kept) == (1, 2)
    assert tree(tmp_path) == before
    assert (object_folder(tmp_path, "ball-0") / "object.json").stat().st_mtime_ns == stamp
    assert prepare_objects(Balls(5), out=tmp_path, recipe=RECIPE, workers=1).made == 2


def test_a_changed_source_file_is_prepared_again(tmp_path: Path) -> None:
    prepare_objects(Balls(2, print_={"ball-0": "aa"}), out=tmp_path, recipe=RECIPE, workers=1)
    assert (
        prepare_objects(Balls(2, print_={"ball-0": "aa"}), out=tmp_path, recipe=RECIPE, workers=1).made == 0
    )
    assert (
        prepare_objects(Balls(2, print_={"ball-0": "bb"}), out=tmp_path, recipe=RECIPE, workers=1).made == 1
    )


def test_a_changed_split_is_prepared_again(tmp_path: Path) -> None:
    class Moved(Balls):
        def split(self, id: str) -> str:
            return "test" if id == "ball-0" else super().split(id)

    prepare_objects(Balls(2), out=tmp_path, recipe=RECIPE, workers=1)
    assert prepare_objects(Moved(2), out=tmp_path, recipe=RECIPE, workers=1).made == 1
    record = read_object(object_folder(tmp_path, "ball-0"))
    assert (record.split, record.sample_counts["occupancy"]) == ("test", [16, 64])
    assert prepare_objects(Moved(2), out=tmp_path, recipe=RECIPE, workers=1).made == 0


def test_an_object_that_lies_there_after_all_is_kept(tmp_path: Path) -> None:
    """As when a claim ran out while its owner was still at work."""

    class Overtaken(Balls):
        def load(self, id: str, *, shading: float = 0.0) -> LoadedObject:
            digest = prepare.recipe_hash(prepare.dataset_description(self, RECIPE))
            other = prepare._prepare_one(Balls(2), RECIPE, tmp_path, digest, id)
            assert isinstance(other, prepare._Made) and other.made
            inodes[id] = object_folder(tmp_path, id).stat().st_ino
            return super().load(id, shading=shading)

    inodes: dict[str, int] = {}
    summary = prepare_objects(Overtaken(2), out=tmp_path, recipe=RECIPE, workers=1)
    assert (summary.made, summary.kept) == (0, 2)
    assert {id: object_folder(tmp_path, id).stat().st_ino for id in inodes} == inodes


def test_runs_at_once_share_the_objects(tmp_path: Path) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    prepare_objects(Balls(7), out=alone, recipe=RECIPE, workers=1)
    with ThreadPoolExecutor(3) as pool:
        runs = [
            pool.submit(prepare_objects, Balls(7), out=shared, recipe=RECIPE, workers=1) for _ in range(3)
        ]
    assert [run.result().failed for run in runs] == [{}, {}, {}]
    assert sum(run.result().made for run in runs) == 7
    assert [row.made for row in Ledger(shared).rows("render")] == [1] * 7
    assert tree(shared) == tree(alone)


def test_the_manifest_is_made_anew_from_the_folder(tmp_path: Path) -> None:
    prepare_objects(Balls(4, bad=("ball-3",)), out=tmp_path, recipe=RECIPE, workers=1)
    keep = [(r.id, r.state, r.hash, r.bytes, r.licence) for r in Ledger(tmp_path).rows("render")]
    assert keep[0][4] == "CC0-1.0" and keep[3][1] == "failed"
    (tmp_path / MANIFEST).unlink()
    summary = prepare_objects(Balls(4, bad=("ball-3",)), out=tmp_path, recipe=RECIPE, workers=1)
    assert (summary.made, summary.kept) == (0, 3)
    assert [(r.id, r.state, r.hash, r.bytes, r.licence) for r in Ledger(tmp_path).rows("render")] == keep


def test_rejected_objects_wait_for_other_filters(tmp_path: Path) -> None:
    class Sieve(Balls):
        limit, loads = 1, 0

        def describe_filters(self) -> dict[str, int]:
            return {"limit": self.limit}

        def load(self, id: str, *, shading: float = 0.0) -> LoadedObject:
            self.loads += 1
            if int(id[-1]) > self.limit:
                raise Rejected(f"{id}: too many faces")
            return super().load(id, shading=shading)

    strict, again, lax = Sieve(3), Sieve(3), Sieve(3)
    lax.limit = 2
    summary = prepare_objects(strict, out=tmp_path, recipe=RECIPE, workers=1)
    assert summary.failed == {"ball-2": "ball-2: too many faces"}
    assert Ledger(tmp_path).counts("render")["rejected"] == 1
    assert prepare_objects(again, out=tmp_path, recipe=RECIPE, workers=1).made == again.loads == 0
    assert prepare_objects(lax, out=tmp_path, recipe=RECIPE, workers=1).made == 1


def test_objects_beyond_the_limits_fail_and_the_queue_goes_on(tmp_path: Path) -> None:
    source = Balls(5, slow=("ball-1",), hungry=("ball-3",))
    limits = Limits(seconds=25.0, memory_mb=1500)
    summary = prepare_objects(source, out=tmp_path, recipe=RECIPE, workers=2, limits=limits)
    assert summary.made == 3
    assert summary.failed == {
        "ball-1": "took longer than limits.seconds=25",
        "ball-3": "took more memory than limits.memory_mb=1500",
    }
    assert list_objects(tmp_path) == ["ball-0", "ball-2", "ball-4"]


def test_leftovers_of_killed_writers_are_no_obstacle_and_go(tmp_path: Path) -> None:
    dead, alive = (f".{gethostname()}-{pid}-0123abcd.tmp" for pid in (999999999, os.getpid()))
    for name in (dead, alive, "dataset.json.999999999.tmp"):
        (tmp_path / name).write_text("half a fi")
    assert prepare_objects(Balls(1), out=tmp_path, recipe=RECIPE, workers=1).made == 1
    assert not (tmp_path / dead).exists()
    assert (tmp_path / alive).exists()


def test_another_recipe_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    prepare_objects(Balls(1), out=tmp_path, recipe=RECIPE, workers=1)
    before = tree(tmp_path)
    with pytest.raises(InputError, match=r"another recipe \(recipe.targets was 3, now 5\)"):
        prepare_objects(Balls(1), out=tmp_path, recipe=replace(RECIPE, targets=5), workers=1)
    assert tree(tmp_path) == before


def test_folders_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match=r"is not empty and holds no dataset.json"):
        prepare_objects(Balls(1), out=tmp_path, recipe=RECIPE, workers=1)
    with pytest.raises(InputError, match="is a file"):
        prepare_objects(Balls(1), out=tmp_path / "thesis.txt", recipe=RECIPE, workers=1)


def test_failures_are_listed_with_reasons_and_tried_again(tmp_path: Path, caplog) -> None:
    caplog.set_level("INFO")
    summary = prepare_objects(Balls(3, bad=("ball-2", "ball-0")), out=tmp_path, recipe=RECIPE, workers=1)
    assert summary.failed == {"ball-0": "ball-0: is bad", "ball-2": "ball-2: is bad"}
    assert "ball-2: is bad" in str(summary) and "failed ball-2" in caplog.text
    assert failures(tmp_path, "render") == summary.failed
    assert prepare_objects(Balls(3), out=tmp_path, recipe=RECIPE, workers=1, retry=False).made == 0
    prepare_objects(Balls(3, bad=("ball-2",)), out=tmp_path, recipe=RECIPE, workers=1)
    assert failures(tmp_path, "render") == {"ball-2": "ball-2: is bad"}
    prepare_objects(Balls(3), out=tmp_path, recipe=RECIPE, workers=1)
    assert failures(tmp_path, "render") == {}


def test_nothing_prepared_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"none of 2 objects could be prepared; the first, ball-0: ball-0: is bad"
    ):
        prepare_objects(Balls(2, bad=("ball-0", "ball-1")), out=tmp_path, recipe=RECIPE, workers=1)


def test_a_full_disk_ends_the_run(tmp_path: Path, monkeypatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(prepare, "write_object", full)
    with pytest.raises(OSError, match="No space left"):
        prepare_objects(Balls(2), out=tmp_path, recipe=RECIPE, workers=1)


def test_processes_give_the_same_bytes_and_survive_a_crash(tmp_path: Path) -> None:
    """Two processes, one of which dies: its neighbours are prepared, all files are those of one process."""
    alone, pool = tmp_path / "alone", tmp_path / "pool"
    prepare_objects(Balls(4, bad=("ball-2",)), out=alone, recipe=RECIPE, workers=1)
    summary = prepare_objects(Balls(4, deadly=("ball-2",)), out=pool, recipe=RECIPE, workers=2)
    assert summary.made == 3
    assert "worker process died" in summary.failed["ball-2"]
    assert tree(alone) == tree(pool)
