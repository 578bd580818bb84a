"""prepare.py stage=pack: packs, keeps the book, and says what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.data.spheres import RECIPE, Balls, tree

from one2345.cli import prepare
from one2345.data import prepare_objects
from one2345.data.ledger import MANIFEST, Ledger
from one2345.data.stores import ShardStore
from one2345.views import object_folder


def test_pack_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    root, out = tmp_path / "it's a, root", tmp_path / "packed = [x]"
    prepare_objects(Balls(4), out=root, recipe=RECIPE, workers=1, progress=False)
    file = object_folder(root, "ball-1") / "images" / "s3.png"
    whole = file.read_bytes()
    file.write_bytes(whole[:99])
    command = ["stage=pack", f"root={root}", f"out={out}", "images=webp", "chunk_mb=0.05"]
    with pytest.raises(SystemExit) as stopped:
        prepare.run(command)
    assert stopped.value.code
    assert "ball-1/images/s3.png: not a readable PNG" in capsys.readouterr().err.replace("\n", "")
    (row,) = Ledger(out).rows("pack", states=("failed",))
    assert row.id == "ball-1"
    assert "s3.png" in (row.reason or "")
    file.write_bytes(whole)
    prepare.run(command)
    assert "4 objects in 3 chunks (1 already there)" in capsys.readouterr().out
    rows = Ledger(out).rows("pack")
    assert [(r.id, r.state, r.licence) for r in rows] == [(f"ball-{i}", "done", "CC0-1.0") for i in range(4)]
    assert sum(r.bytes or 0 for r in rows) < sum(f.stat().st_size for f in out.glob("*.bin"))
    assert ShardStore(out).record("ball-1").names == ShardStore(out).record("ball-2").names
    before = {name: data for name, data in tree(out).items() if name != MANIFEST}
    prepare.run(command)
    assert {name: data for name, data in tree(out).items() if name != MANIFEST} == before


def test_what_is_not_given_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for command, message in ((["root=x"], "root=x"), ([], "stage=pack needs root=DIR")):
        with pytest.raises(SystemExit):
            prepare.run(["stage=pack", f"out={tmp_path}", *command])
        assert message in capsys.readouterr().err
