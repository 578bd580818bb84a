"""Atomic writing."""

from __future__ import annotations

import os
from pathlib import Path
from socket import gethostname

import pytest

from one2345 import files


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "new folder" / "a, [b] = 'ü'.txt"
    files.write_atomic(file, "ü")
    assert file.read_bytes() == "ü".encode()

    def full(path: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(files, "sync", full)
    with pytest.raises(OSError, match="disk full"):
        files.write_atomic(file, b"half")
    assert [p.read_bytes() for p in file.parent.iterdir()] == ["ü".encode()]


def test_the_longest_names_can_be_written(tmp_path: Path) -> None:
    files.write_atomic(tmp_path / ("n" * 255), b"")


def test_abandoned_is_what_a_dead_process_of_this_machine_left() -> None:
    host = gethostname()
    assert files.is_abandoned(f"{host}-999999999-0123abcd")
    assert not files.is_abandoned(f"{host}-{os.getpid()}-0123abcd")
    assert not files.is_abandoned(f"elsewhere-{host}-999999999-0123abcd")
    assert not files.is_abandoned("notes")
    assert not files.is_abandoned(files.aside_name())
