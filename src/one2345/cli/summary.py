"""The box at the end of a command: what was written where, and the numbers that matter."""

import os
from collections.abc import Mapping
from pathlib import Path


def relative(path: Path) -> str:
    """`path` as the user would type it from here."""
    inside = os.path.relpath(path)
    return os.fspath(path) if inside.startswith("..") else inside


def summary_box(
    title: str, paths: Mapping[str, Path], scores: Mapping[str, Mapping[str, float]] | None = None
) -> None:
    """Print `scores` (one row per predictor) as a table and below it the paths that exist, in a box."""
    from rich.console import Console, Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    rows: list[object] = []
    if scores:
        columns = list(dict.fromkeys(name for values in scores.values() for name in values))
        table = Table("", *columns, box=None, pad_edge=False, header_style="bold")
        for predictor, values in scores.items():
            table.add_row(predictor, *(f"{values[c]:.4f}" if c in values else "-" for c in columns))
        rows += [table, Text("")]
    listing = Table.grid(padding=(0, 2))
    for name, path in paths.items():
        if path.exists():
            listing.add_row(Text(name, style="bold"), Text(relative(path), overflow="fold"))
    rows.append(listing)
    Console().print(Panel(Group(*rows), title=title, expand=False))
