"""Preparation: the same bytes however it ran, and one reason for each object that failed."""

from __future__ import annotations

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from socket import gethostname

import pytest
from tests.data.spheres import RECIPE, Balls, tree

from one2345.data import LoadedObject, prepare, prepare_objects
from one2345.data.prepare import QUARANTINE, read_quarantine
from one2345.errors import InputError
from one2345.views import list_objects, object_folder, read_object


def test_an_interrupted_and_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "a, [b] = 'ü'"
    prepare_objects(Balls(4, bad=("ball-1",)), out=whole, recipe=RECIPE, workers=1)
    with pytest.raises(KeyboardInterrupt):
        prepare_objects(Balls(4, bad=("ball-1",), stop="ball-2"), out=parts, recipe=RECIPE, workers=1)
    assert list_objects(parts) == ["ball-0"]
    # What a killed process leaves: a half-written object aside, half a line in the quarantine list.
    (parts / ".partial" / f"{gethostname()}-999999999-0123abcd" / "images").mkdir(parents=True)
    with (parts / QUARANTINE).open("a") as file:
        file.write('{"id": "ball-3", "rea')
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


def test_runs_on_one_folder_at_once_keep_what_the_other_made(tmp_path: Path) -> None:
    class Overtaken(Balls):
        def load(self, id: str, *, shading: float = 0.0) -> LoadedObject:
            assert prepare_objects(Balls(2), out=tmp_path, recipe=RECIPE, workers=1, ids=[id]).made == 1
            inodes[id] = object_folder(tmp_path, id).stat().st_ino
            return super().load(id, shading=shading)

    inodes: dict[str, int] = {}
    summary = prepare_objects(Overtaken(2), out=tmp_path, recipe=RECIPE, workers=1)
    assert (summary.made, summary.kept) == (0, 2)
    assert {id: object_folder(tmp_path, id).stat().st_ino for id in inodes} == inodes


def test_two_runs_in_step_give_the_folder_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither sees the other's objects in time: both write all of them."""
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    prepare_objects(Balls(3), out=alone, recipe=RECIPE, workers=1)
    monkeypatch.setattr(prepare, "_complete", lambda *_: False)
    with ThreadPoolExecutor(3) as pool:
        runs = [
            pool.submit(prepare_objects, Balls(3), out=shared, recipe=RECIPE, workers=1) for _ in range(3)
        ]
    assert [run.result().quarantined for run in runs] == [{}, {}, {}]
    assert tree(shared) == tree(alone)


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
    assert summary.quarantined == {"ball-0": "ball-0: is bad", "ball-2": "ball-2: is bad"}
    assert "ball-2: is bad" in str(summary)
    lines = (tmp_path / QUARANTINE).read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["ball-0", "ball-2"]
    assert "quarantined ball-2" in caplog.text
    prepare_objects(Balls(3, bad=("ball-2",)), out=tmp_path, recipe=RECIPE, workers=1)
    assert read_quarantine(tmp_path) == {"ball-2": "ball-2: is bad"}
    prepare_objects(Balls(3), out=tmp_path, recipe=RECIPE, workers=1)
    assert not (tmp_path / QUARANTINE).exists()


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
    assert "worker process died" in summary.quarantined["ball-2"]
    first, second = tree(alone), tree(pool)
    del first[QUARANTINE], second[QUARANTINE]
    assert first == second
