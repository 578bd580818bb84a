"""The table of results on a terminal."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .columns import caveats, column_title, count, number, of_fewer, winners
from .summary import Summary


def print_table(summary: Summary, console: Console | None = None) -> None:
    """Mean (median) per column and method; what was not measured is counted, and named below."""
    console = console or Console()
    better, names, best = summary.protocol.metrics, summary.shown(), winners(summary)
    # Names, ids and reasons go in as Text: as str, rich would read their brackets as markup.
    title = f"{summary.protocol.name} v{summary.protocol.version}: mean (median) over objects"
    table = Table(title=Text(title), caption=Text(f"alignment: {summary.protocol.alignment.describe()}"))
    table.add_column("")
    for name in names:
        table.add_column(Text(summary.label(name)), justify="right", overflow="fold")
    table.add_row("objects", *(count(summary, name) for name in names), end_section=True)
    for column in summary.columns():
        cells: list[Text] = []
        for name in names:
            stat = summary.statistic(name, column)
            text = "-"
            if stat is not None:
                fewer = of_fewer(summary, name, stat)
                text = f"{number(column, stat.mean)}{fewer} ({number(column, stat.median)})"
            cells.append(Text(text, "bold green" if best.get(column) == name else ""))
        table.add_row(column_title(column, better[column]), *cells)
    seconds = [np.mean([row.seconds for row in summary.of(name)]) for name in names]
    table.add_row("s / object", *(f"{s:.2f}" if s > 0 else "–" for s in seconds))
    console.print(table)
    for name in names:
        for row in summary.failed(name):
            console.print(Text("failed", "red"), Text(f"{row.predictor} on {row.object}: {row.failure}"))
    for line in caveats(summary):
        console.print(Text(line, "yellow"))
