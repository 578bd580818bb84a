"""How a sweep stands: python -m one2345.cli.sweep_report DIR

DIR is the folder that holds the tasks of a `-m` run. Prints a table, and writes report.html, tasks.csv and the plots
(PNG and SVG) to DIR/report. It may be asked while tasks run.
"""

import argparse
import csv
import io
import json
import sys
from dataclasses import asdict
from html import escape
from pathlib import Path

from one2345.cli.compose import one_line
from one2345.cli.exit_codes import DONE, INPUT
from one2345.cli.summary import show_messages, summary_box
from one2345.cli.sweep_table import Row, SweepTable, sweep_table
from one2345.errors import InputError, One2345Error
from one2345.files import write_atomic
from one2345.terminal import busy

TABLE = "tasks.csv"
STYLE = """body{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c2430}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{padding:.3rem .6rem;text-align:left;
border-bottom:1px solid #dde2ea;vertical-align:top}.scroll{overflow-x:auto}.best{font-weight:600;background:#eaf1ff}
.failed{color:#c2384b}.preempted,.interrupted{color:#b55a1e}svg{max-width:100%;height:auto}"""


def run(argv: list[str] | None = None) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m one2345.cli.sweep_report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="the sweep's folder")
    parser.add_argument("--out", type=Path, help="where the report goes; default: DIR/report")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON instead of a table")
    parser.add_argument("--no-plots", action="store_true", help="write no plots")
    given = parser.parse_args(argv)
    show_messages()
    try:
        table = sweep_table(given.folder)
        if given.json:
            print(json.dumps(as_json(table), indent=1))
        else:
            print_rows(table)
        out = given.out or given.folder / "report"
        with busy("report"):
            page = write_report(table, out, plots=not given.no_plots)
    except One2345Error as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return INPUT
    if not given.json:
        plots = (
            {f"plot {file.stem}": file for file in sorted(out.glob("*.png"))} if not given.no_plots else {}
        )
        summary_box("sweep report: done", {"report": page, "table": out / TABLE, **plots})
    return DONE


def as_json(table: SweepTable) -> dict[str, object]:
    """Counts, number of the best task, rows."""
    best = table.best
    rows = [{k: v for k, v in asdict(row).items() if k != "curve"} for row in table.rows]
    return {"counts": table.counts(), "best": best.number if best else None, "tasks": rows}


def write_report(table: SweepTable, out: Path, *, plots: bool = True) -> Path:
    """Write page, CSV and plots to `out`; the page's path."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(out / TABLE, _csv(table))
        figures = []
        if plots:
            from one2345.cli.sweep_plots import write_plots

            figures = [path.read_text(encoding="utf-8") for path in write_plots(table, out)]
        write_atomic(out / "report.html", _page(table, figures))
    except OSError as error:
        raise InputError(f"cannot write the report to {out}: {error}; --out DIR moves it") from error
    return out / "report.html"


def print_rows(table: SweepTable) -> None:
    """The table in the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=Text(_headline(table)), title_justify="left")
    for name in _columns(table):
        shown.add_column(Text(name), overflow="fold")
    best = table.best
    for row in table.rows:
        style = "bold" if best is not None and row.number == best.number else ""
        shown.add_row(*(Text(cell) for cell in _cells(table, row)), style=style)
    console = Console()
    if not console.is_terminal:  # a log has no width at which cells would have to break
        console.width = 500
    console.print(shown)


def _headline(table: SweepTable) -> str:
    counts = ", ".join(f"{number} {state}" for state, number in table.counts().items())
    best = table.best
    return f"{counts}; best: " + (f"task {best.number}, {best.objective:.4f}" if best else "none yet")


def _columns(table: SweepTable) -> list[str]:
    return ["task", "state", *table.settings, "objective", "step", "restarts", "time", "job", "reason"]


def _cells(table: SweepTable, row: Row) -> list[str]:
    mark = " (best)" if table.best is row else ""
    steps = "" if row.steps is None else f" of {row.steps}"
    return [
        str(row.number),
        row.state + mark,
        *(row.settings.get(name, "") for name in table.settings),
        "" if row.objective is None else f"{row.objective:.4f}",
        "" if row.step is None else f"{row.step}{steps}",
        str(row.restarts),
        _duration(row.seconds),
        row.job or "",
        row.reason or "",
    ]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _csv(table: SweepTable) -> str:
    """All digits, and the folder, for programs that read it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ["objective", "step", "steps", "restarts", "seconds", "job", "reason", "folder"]
    writer.writerow(["task", "state", "best", *table.settings, *names])
    for row in table.rows:
        settings = [row.settings.get(name, "") for name in table.settings]
        values = [getattr(row, name) for name in names]
        writer.writerow([row.number, row.state.value, int(table.best is row), *settings, *values])
    return text.getvalue()


def _page(table: SweepTable, figures: list[str]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in _columns(table))
    body = []
    for row in table.rows:
        kind = "best" if table.best is row else row.state.value
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in _cells(table, row))
        body.append(f'<tr class="{kind}">{cells}</tr>')
    drawn = "\n".join(f"<figure>{svg[svg.index('<svg') :]}</figure>" for svg in figures)
    name = escape(table.folder.resolve().name)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{name}</title><style>{STYLE}</style></head><body>
<h1>{name}</h1>
<p>{escape(_headline(table))}</p>
<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>
{chr(10).join(body)}
</tbody></table></div>
{drawn}
</body></html>
"""


if __name__ == "__main__":
    sys.exit(run())
