"""The manifest: claims that no two workers share, leases that end, reasons that stay, files that are refused."""

from __future__ import annotations

import hashlib
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socket import gethostname

import pytest

from one2345.data.claims import Claims, reconcile
from one2345.data.ledger import MANIFEST, Content, Ledger, content_of, failures
from one2345.errors import InputError

IDS = [f"x{n}" for n in range(6)]


def states(ledger: Ledger, stage: str = "render") -> dict[str, str]:
    return {row.id: row.state for row in ledger.rows(stage)}


def test_a_claim_is_one_workers_alone(tmp_path: Path) -> None:
    a, b = Ledger(tmp_path), Ledger(tmp_path)
    a.add("render", IDS)
    a.add("render", IDS)
    assert a.claim("render", 2, lease=60) == ["x0", "x1"]
    assert b.claim("render", 2, lease=60, ids=["x4", "x0", "x2", "x1"]) == ["x4", "x2"]
    assert a.claim("render", 9, lease=60) == ["x3", "x5"]
    assert b.claim("render", 9, lease=60) == []
    b.release("render")
    assert a.claim("render", 9, lease=60) == ["x2", "x4"]
    assert a.counts("render") == {"waiting": 0, "claimed": 6, "done": 0, "failed": 0, "rejected": 0}
    assert sum(a.counts("predict").values()) == 0


def test_many_workers_at_once_get_each_object_once(tmp_path: Path) -> None:
    Ledger(tmp_path).add("render", [f"{n:03}" for n in range(120)])

    def work(_: int) -> list[str]:
        ledger, mine = Ledger(tmp_path), []
        while taken := ledger.claim("render", 3, lease=60):
            mine += taken
        return mine

    with ThreadPoolExecutor(6) as pool:
        parts = list(pool.map(work, range(6)))
    assert sorted(id for part in parts for id in part) == [f"{n:03}" for n in range(120)]


def test_what_a_dead_worker_held_is_free_at_once_and_what_a_silent_one_held_in_time(tmp_path: Path) -> None:
    code = "import sys; from one2345.data.ledger import Ledger; Ledger(sys.argv[1]).claim('render', 1, lease=1e6)"
    dead, far, here = Ledger(tmp_path), Ledger(tmp_path), Ledger(tmp_path)
    here.add("render", ["a", "b"])
    dead.worker, far.worker = f"{gethostname()}-999999999-01234567", "elsewhere-1-01234567"
    assert dead.claim("render", 1, lease=1e6) == ["a"]
    assert far.claim("render", 1, lease=1e6, ids=["b"]) == ["b"]
    assert here.claim("render", 2, lease=60) == ["a"]
    far.renew("render", -1.0)
    assert here.claim("render", 2, lease=60) == ["b"]
    far.fail("render", "b", "comes too late")
    assert states(here)["b"] == "claimed"
    here.add("render", ["c"])
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert states(here)["c"] == "claimed" and here.claim("render", 1, lease=60) == ["c"]


def lease(ledger: Ledger, id: str) -> float:
    (row,) = ledger.rows("render", ids=[id])
    return row.lease or 0.0


def test_claims_are_renewed_while_they_are_held_and_released_after(tmp_path: Path) -> None:
    a, b = Ledger(tmp_path), Ledger(tmp_path)
    a.add("render", ["x", "y"])
    with a.holding("render", 8.0):  # renewed every two seconds
        assert a.claim("render", 2, lease=8.0) == ["x", "y"]
        a.finish("render", "x", Content(1))
        first, over = lease(b, "y"), time.monotonic() + 100
        while lease(b, "y") == first:
            assert time.monotonic() < over
            time.sleep(0.05)
        assert lease(b, "y") > first
        assert b.claim("render", 2, lease=60) == []
    assert states(b) == {"x": "done", "y": "waiting"}


def test_failures_and_rejections_wait_for_a_later_run_or_other_filters(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add("render", ["bad", "big"])
    begun = time.time()
    ledger.claim("render", 2, lease=60, policy="p")
    ledger.fail("render", "bad", "no faces", seconds=2.0)
    ledger.reject("render", "big", "too many faces", policy="p")
    assert failures(tmp_path, "render") == {"bad": "no faces", "big": "too many faces"}
    assert ledger.claim("render", 2, lease=60, failed_before=begun, policy="p") == []
    assert ledger.claim("render", 2, lease=60) == []
    assert ledger.claim("render", 2, lease=60, policy="other") == ["big"]
    assert ledger.claim("render", 2, lease=60, failed_before=time.time() + 1) == ["bad"]
    assert failures(tmp_path, "render") == {}


def test_who_made_what_and_how_often(tmp_path: Path) -> None:
    a, b = Ledger(tmp_path), Ledger(tmp_path)
    a.add("render", ["x"])
    a.claim("render", 1, lease=60)
    a.finish("render", "x", Content(10, "ff", "CC0", 1.5))
    b.finish("render", "x", Content(10, "ff", "CC0"), made=False)
    (row,) = b.rows("render")
    assert (row.maker, row.made, row.seconds, row.bytes, row.hash, row.licence) == (
        a.worker, 1, 1.5, 10, "ff", "CC0"
    )  # fmt: skip
    assert b.query("SELECT sum(bytes) FROM work WHERE state='done'") == [(10,)]


def test_the_files_are_the_truth(tmp_path: Path) -> None:
    a, b = Ledger(tmp_path), Ledger(tmp_path)
    a.add("render", IDS)
    a.claim("render", 1, lease=60)
    there = {"x0", "x1", "x2"}
    content = lambda id: Content(1, "aa")  # noqa: E731
    reconcile(b, "render", [*IDS, "new"], there.__contains__, content)
    found = states(b)
    assert found == {"x0": "claimed", "x1": "done", "x2": "done"} | dict.fromkeys(
        [*IDS[3:], "new"], "waiting"
    )
    time.sleep(0.01)
    reconcile(b, "render", IDS, {"x2"}.__contains__, content, check=False)
    assert states(b)["x1"] == "done"
    reconcile(b, "render", IDS, {"x2"}.__contains__, content)
    assert (states(b)["x1"], states(b)["x2"]) == ("waiting", "done")


def test_claims_end_when_nothing_is_left_to_hope_for(tmp_path: Path) -> None:
    a, b = Ledger(tmp_path), Ledger(tmp_path)
    a.add("render", IDS)
    other = a.claim("render", 1, lease=60)
    claims = Claims(b, "render", IDS, batch=2, poll=0.0)
    taken = [id for _ in range(5) if (id := claims.take())]
    assert taken == IDS[1:] and claims.take() is None and claims.left
    for id in taken:
        b.fail("render", id, "bad")
    a.release("render")
    claims.rest()
    assert claims.take() == other[0] and claims.take() is None and not claims.left


def test_the_content_hash_is_over_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.txt").write_bytes(b"two")
    (tmp_path / "a").write_bytes(b"1")
    expected = hashlib.sha256(b"1 a 1 1" + b"7 b/c.txt 3 two").hexdigest()
    assert content_of(tmp_path) == Content(4, expected)
    (tmp_path / "a").rename(tmp_path / "d")
    assert content_of(tmp_path).hash != expected


def test_files_that_are_no_manifest_are_refused(tmp_path: Path) -> None:
    file = tmp_path / MANIFEST
    with pytest.raises(InputError, match=f"holds no {MANIFEST}"):
        Ledger(tmp_path, create=False)
    assert not file.exists()
    file.write_bytes(b"this is no database, but a text that is long enough to be one" * 20)
    with pytest.raises(InputError, match=r"damaged or no manifest .*delete it"):
        Ledger(tmp_path)
    file.unlink()
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE thesis (text)")
    db.close()
    with pytest.raises(InputError, match="of another program"):
        Ledger(tmp_path)
    file.unlink()
    Ledger(tmp_path)
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(InputError, match="of version 9, this program reads 1"):
        Ledger(tmp_path)
    with pytest.raises(InputError, match="can't be used"):
        Ledger(tmp_path / "nowhere")


def test_an_unknown_stage_is_a_fault_of_the_program(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no stage"):
        Ledger(tmp_path).add("rendr", ["x"])
