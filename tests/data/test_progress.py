"""Progress on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from one2345.data import progress


def test_brackets_in_notes_are_shown_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(
        progress, "Console", lambda **_: Console(file=shown, force_terminal=True, width=120, no_color=True)
    )
    with progress.Progress("reading [/tmp/b]", total=1) as bar:
        bar.advance("[/tmp/a]: network")
    assert "reading [/tmp/b]" in shown.getvalue()
    assert "[/tmp/a]: network" in shown.getvalue()
