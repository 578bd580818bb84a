"""The table of what was done, against a manifest filled by hand."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from one2345.cli import app, prepare, status
from one2345.data.ledger import Content, Ledger
from one2345.data.status import as_json, as_table
from one2345.data.status import status as read_status
from one2345.errors import InputError


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    ledger = Ledger(tmp_path)
    ids = [f"x{n}" for n in range(8)]
    ledger.add("render", ids)
    ledger.claim("render", 7, lease=60)
    for id, licence in zip(ids[:4], ("CC0", "CC-BY", "CC-BY", None), strict=True):
        ledger.finish("render", id, Content(1_000_000, "ab", licence, 2.0))
    ledger.fail("render", "x4", "x4: 12 of 1,300 faces, 2.5%")
    ledger.fail("render", "x5", "x5: 7 of 99 faces, 10.0%")
    ledger.reject("render", "x6", "too many faces")
    with ledger._transaction() as db:
        for n in range(4):  # one every 90 seconds: 40 an hour
            db.execute("UPDATE work SET changed=? WHERE id=?", (1000.0 + 90 * n, f"x{n}"))
    return tmp_path


def test_the_figures_are_those_of_the_manifest(filled: Path) -> None:
    (found,) = read_status(filled)
    assert found.counts == {"waiting": 1, "claimed": 0, "done": 4, "failed": 2, "rejected": 1}
    assert (found.bytes, found.seconds) == (4_000_000, 2.0)
    assert found.per_hour == pytest.approx(40.0)
    assert found.licences == {"CC-BY": 2, "CC0": 1, "not stated": 1}
    assert found.reasons == [("<id>: # of # faces, #%", 2), ("too many faces", 1)]
    text = as_table([found])
    assert "rejected" in text.splitlines()[0] and "4.0 MB" in text and "CC-BY 2" in text
    assert as_json([found])["render"]["counts"]["done"] == 4


def test_reasons_are_one_where_addresses_and_checksums_differ(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add("download", ["x-ant", "x-bee"])
    for id, port, digit in (("x-ant", 4000, "0a"), ("x-bee", 4001, "f1")):
        ledger.claim("download", 1, lease=60, ids=[id])
        ledger.fail("download", id, f"http://127.0.0.1:{port}/{id}.glb: the server says sha256 {digit * 32}")
    (found,) = read_status(tmp_path)
    assert found.reasons == [("http://#:#/<id>.glb: the server says sha256 #", 2)]


def test_the_command_prints_it_while_another_writes(filled: Path, capsys, monkeypatch) -> None:
    over = threading.Event()

    def write() -> None:
        ledger = Ledger(filled)
        while not over.is_set():
            ledger.claim("render", 1, lease=60)
            ledger.release("render")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(5):
            prepare.run(["stage=status", f"out={filled}", "format=json"])
            assert json.loads(capsys.readouterr().out)["render"]["counts"]["done"] == 4
    finally:
        over.set()
        thread.join()
    prepare.run(["stage=status", f"out={filled}"])
    assert "render, 2 x: <id>: # of # faces, #%" in capsys.readouterr().out


def test_what_has_no_manifest_is_said(tmp_path: Path, capsys) -> None:
    with pytest.raises(InputError, match="holds no manifest"):
        read_status(tmp_path)
    for argv, message in (
        ([f"out={tmp_path}"], "holds no manifest"),
        ([], "needs out=DIR"),
        ([f"out={tmp_path}/gone"], "no such folder"),
        ([f"out={tmp_path}", "format=xml"], "it takes table, json"),
    ):
        assert app.execute(status.COMMAND, ["stage=status", *argv]) == 2
        assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
