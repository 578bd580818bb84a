"""Loops that are compiled on first use: pieces, threads, forks, and places where nothing can be kept."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from one2345.loops import as_array, compiled, share_out

PROGRAM = """
import numpy as np
from one2345.loops import compiled

@compiled()
def add(values, sums):
    for i in range(len(values)):
        sums[0] += values[i]

sums = np.zeros(1, np.float32)
add(np.arange(5, dtype=np.float32), sums)
print(sums[0])
"""


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 1000])
def test_pieces_make_up_the_whole(count: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    seen = np.zeros(count, np.int64)

    def work(start: int, stop: int) -> None:
        seen[start:stop] += 1

    share_out(count, work)
    assert (seen == 1).all()


def test_a_piece_that_fails_is_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def work(start: int, stop: int) -> None:
        raise ZeroDivisionError(start)

    with pytest.raises(ZeroDivisionError):
        share_out(10, work)


def test_infinities_are_kept_and_sums_are_single() -> None:
    @compiled()
    def largest(values: np.ndarray, out: np.ndarray) -> None:
        for value in values:
            out[0] = max(out[0], value)

    out = np.full(1, -np.inf, np.float32)
    largest(np.array([-np.inf, -np.inf], np.float32), out)
    assert out[0] == -np.inf
    largest(np.array([-np.inf, 2.0], np.float32), out)
    assert out[0] == 2.0


def test_an_array_is_the_memory_of_its_tensor() -> None:
    tensor = torch.zeros(3, requires_grad=True)
    as_array(tensor)[1] = 5
    assert tensor.tolist() == [0.0, 5.0, 0.0]
    assert as_array(torch.zeros(3, 4).T).flags["C_CONTIGUOUS"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_threads_of_its_own() -> None:
    """The parent's don't come along: without new ones the child would wait for ever."""
    program = """
import os, torch
from one2345.loops import share_out
torch.set_num_threads(2)
share_out(8, lambda start, stop: None)
child = os.fork()
if not child:
    share_out(8, lambda start, stop: None)
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.split() == ["0"], done.stderr


@pytest.mark.slow
def test_where_nothing_can_be_kept_it_is_compiled_each_time(tmp_path: Path) -> None:
    """The program lies beside a file where numba's folder would be, and the user's own folder is one as well."""
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "__pycache__").write_text("", encoding="utf-8")
    (tmp_path / "home").write_text("", encoding="utf-8")
    home = str(tmp_path / "home")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py")], capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "HOME": home, "XDG_CACHE_HOME": home + "/cache"},
    )  # fmt: skip
    assert done.stdout.split() == ["10.0"], done.stderr
