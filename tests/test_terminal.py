"""Progress on a terminal, in a pipe and in an automatic build."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path

import pytest
from tests.in_terminal import in_pipe, in_terminal, is_plain

from one2345 import terminal
from one2345.terminal import Bars, Count, clock, left, watched

JOB = """
import logging, sys, time
from pathlib import Path
from one2345 import terminal
from one2345.cli.summary import show_messages, summary_box
terminal.WORTH_A_LINE = 0.3
show_messages()
with terminal.Bars(every=0.25) as bars:
    for at in range(5):
        bars("views", at, 5, "of [/tmp/a]")
        if at == 2:
            print("printed")
            logging.getLogger("one2345.x").info("logged [b]")
        if at == 3:
            with terminal.Count("within", total=2) as count:
                count.advance(); time.sleep(0.5); count.advance()
        time.sleep(0.1)
    bars("views", 5, 5)
    bars("files", 0, None)
    time.sleep(0.4)
summary_box("done [c]", {"here": Path("."), "absent": Path("absent")})
"""


def test_bars_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(JOB)
    status, written = in_terminal("job.py", cwd=tmp_path)
    assert status == 0
    assert "━" in written and "5/5" in written and "left 0:00:0" in written and "of [/tmp/a]" in written
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")  # the cursor is back
    # What is said meanwhile stands in lines of its own, above the bars.
    for said in ("printed", "logged [b]"):
        assert re.search(rf"(^|\n|\r|\x1b\[2K){re.escape(said)}\s*\r?\n", written), said
    assert "╭" in written and "done [c]" in written and "absent" not in written
    assert "within" not in written[written.rindex("files") :]  # gone with the job within the job


def test_a_narrow_terminal_does_not_break_the_lines(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(JOB.replace("of [/tmp/a]", "of " + "long " * 30))
    _, written = in_terminal("job.py", cwd=tmp_path, columns=60)
    for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)):
        assert len(line.rstrip()) <= 60, line


def test_output_that_goes_elsewhere_goes_there_whole(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(JOB)
    with (tmp_path / "out").open("wb") as out:
        _, written = in_terminal("job.py", cwd=tmp_path, stdout=out.fileno())
    assert (tmp_path / "out").read_text() == "printed\ndone [c]\n  here  .\n"
    assert "printed" not in written and "5/5" in written


@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1"}], ids=["pipe", "colours forced"])
def test_a_pipe_gets_plain_lines(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "job.py").write_text(JOB)
    status, out, error = in_pipe("job.py", cwd=tmp_path, **environment)
    assert status == 0 and is_plain(out + error)
    assert out == "printed\ndone [c]\n  here  .\n"
    lines = error.splitlines()
    assert lines[0] == "logged [b]" or re.match(
        r"views: 2 of 5, 0\.\d s, left 0:00:00  of \[/tmp/a\]", lines[0]
    )
    assert any(re.fullmatch(r"within: 2 of 2, 0\.\d s", line) for line in lines)
    assert any(re.fullmatch(r"views: 5 of 5, \d\.\d s", line) for line in lines)
    assert re.fullmatch(r"files: 0\.\d s", lines[-1])


@pytest.mark.parametrize("environment", [{"CI": "true"}, {"TERM": "dumb"}], ids=["ci", "dumb"])
def test_an_automatic_build_gets_plain_lines_on_a_terminal_too(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "job.py").write_text(JOB)
    _, written = in_terminal("job.py", cwd=tmp_path, **environment)
    assert is_plain(written.replace("\r\n", "\n")) and "views: 5 of 5" in written


def test_time_left_is_by_the_mean_pace() -> None:
    assert left(30, 10, 50, 40.0) == 40.0  # of a run that went on from 10
    assert left(10, 10, 50, 40.0) is None and left(3, 0, None, 40.0) is None
    assert left(60, 0, 50, 60.0) == 0.0
    assert clock(3725.4) == "1:02:05"


def test_stages_that_took_no_time_are_not_worth_a_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    with caplog.at_level(logging.INFO, "one2345.terminal"), Bars(every=10) as bars:
        bars("quick", 0, 1)
        bars("quick", 1, 1)
        bars("slow", 0, 4)
        now[0] = 11.0
        bars("slow", 1, 4)
        now[0] = 12.0
        bars("slow", 2, 4)
        now[0] = 14.0
        bars("slow", 4, 4, "all")
        bars("slow", 4, 4, "all")
        bars("broken", 0, 9)
        now[0] = 80.0
        bars("broken", 3, 9)
        bars.end("broken")
    assert caplog.messages == [
        "slow: 1 of 4, 11.0 s, left 0:00:33", "slow: 4 of 4, 14.0 s  all",
        "broken: 3 of 9, 0:01:06, left 0:02:12",
    ]  # fmt: skip


def test_who_is_to_be_silent_is(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO, "one2345.terminal"),
        Count("x", total=3, enabled=False, every=0) as count,
    ):
        for _ in range(3):
            count.advance()
    assert not caplog.messages and not watched(None) and not watched(io.StringIO())
