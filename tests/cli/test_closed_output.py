"""A reader that has had enough of a command's output ends the command, quietly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from one2345.cli.closed_output import ends_with_its_reader
from one2345.data.ledger import Ledger


@pytest.mark.parametrize("buffered", [True, False])
def test_a_table_whose_reader_is_gone_ends_the_command_without_a_word(tmp_path: Path, buffered: bool) -> None:
    Ledger(tmp_path).add("render", ["a", "b"])
    reader, writer = os.pipe()
    os.close(reader)
    argv = [sys.executable, "-m", "one2345.cli.prepare", "stage=status", f"out={tmp_path}"]
    env = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    try:
        done = subprocess.run(argv, stdout=writer, stderr=subprocess.PIPE, env=env, text=True, timeout=200)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_another_broken_pipe_is_an_error() -> None:
    with pytest.raises(BrokenPipeError), ends_with_its_reader():
        raise BrokenPipeError
