"""Results as files: results.json, objects.csv, and the table as Markdown, LaTeX and a figure."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from one2345.files import write_atomic

from .columns import caveats, column_title, count, number, of_fewer, winners
from .figures import interval_figure, standalone
from .quoted import as_markdown, quoted_blocks
from .summary import Summary


def write_results(summary: Summary, folder: Path) -> None:
    """results.json (everything), objects.csv, table.md, table.tex and figure.svg in `folder`.

    results.json is the same for the same data, except for what is under `timings`.
    """
    document = json.dumps(summary.as_dict(), indent=1, allow_nan=False, ensure_ascii=False)
    write_atomic(folder / "results.json", document + "\n")
    write_atomic(folder / "objects.csv", _csv(summary))
    write_atomic(folder / "table.md", markdown(summary))
    write_atomic(folder / "table.tex", latex(summary))
    write_atomic(folder / "figure.svg", standalone(interval_figure(summary)))


def _csv(summary: Summary) -> str:
    columns, unaligned = summary.columns(), summary.unaligned_columns()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["object", "predictor", "status", *columns, *(f"unaligned_{c}" for c in unaligned)]
    tail = [
        "faces",
        "floaters",
        "watertight",
        "mirrored",
        "yaw",
        "scale",
        "seconds",
        "measure_seconds",
        "peak_mb",
    ]
    writer.writerow([*head, *tail, "note", "reason"])
    for row in summary.rows:
        values = [f"{row.scores[c]:.6g}" if c in row.scores else "" for c in columns]
        values += [f"{row.unaligned[c]:.6g}" if c in row.unaligned else "" for c in unaligned]
        facts = [row.facts.get(k, "") for k in ("faces", "floaters", "watertight", "mirrored")]
        moved = [f"{row.alignment[k]:.6g}" if k in row.alignment else "" for k in ("yaw_degrees", "scale")]
        times = [f"{row.seconds:.3f}", f"{row.measure_seconds:.3f}"]
        peak = "" if row.peak_mb is None else f"{row.peak_mb:.0f}"
        status = "ok" if row.failure is None else "failed"
        writer.writerow(
            [
                row.object,
                row.predictor,
                status,
                *values,
                *facts,
                *moved,
                *times,
                peak,
                row.note,
                row.failure or "",
            ]
        )
    return text.getvalue()


def markdown(summary: Summary) -> str:
    """The table of means with its conventions, what was left out, and the published rows, quoted apart."""
    better, best = summary.protocol.metrics, winners(summary)
    columns = summary.columns()
    lines = [f"# {summary.protocol.name} v{summary.protocol.version}", ""]
    lines += [f"- {key}: {value}" for key, value in _facts(summary).items()]
    head = ["method", "objects", *(column_title(c, better[c]) for c in columns)]
    lines += ["", "Mean [95 % interval], median, mean over objects that are not thin:", ""]
    lines += [_line(head), _line(["---"] * len(head))]
    for name in summary.shown():
        cells = [summary.label(name), count(summary, name)]
        for column in columns:
            stat = summary.statistic(name, column)
            if stat is None:
                cells.append("–")
                continue
            mean = number(column, stat.mean)
            mean = f"**{mean}**" if best.get(column) == name else mean
            mean += of_fewer(summary, name, stat)
            interval = (
                f" [{number(column, stat.low)}, {number(column, stat.high)}]" if stat.low == stat.low else ""
            )
            solid = number(column, stat.mean_solid) if stat.n_solid else "–"
            cells.append(f"{mean}{interval}, {number(column, stat.median)}, {solid}")
        lines.append(_line(cells))
    if moved := summary.unaligned_columns():
        lines += ["", "Without the alignment, mean (median):", ""]
        lines += [
            _line(["method", *(column_title(c, better[c]) for c in moved)]),
            _line(["---"] * (len(moved) + 1)),
        ]
        for name in summary.shown():
            found = [(c, summary.statistic(name, c, unaligned=True)) for c in moved]
            cells = ["–" if s is None else f"{number(c, s.mean)} ({number(c, s.median)})" for c, s in found]
            lines.append(_line([summary.label(name), *cells]))
    lines += _markdown_pairs(summary)
    if notes := caveats(summary):
        lines += ["", *(f"- {line}" for line in notes)]
    for block in quoted_blocks(summary.protocol.name):
        lines += ["", as_markdown(block)]
    return "\n".join(lines) + "\n"


def _markdown_pairs(summary: Summary) -> list[str]:
    better, columns = summary.protocol.metrics, summary.columns()
    if not summary.pairs():
        return []
    head = ["difference", *(column_title(c, better[c]) for c in columns)]
    lines = ["", "Paired differences, mean [95 % interval], wins–losses over common objects:", ""]
    lines += [_line(head), _line(["---"] * len(head))]
    for a, b in summary.pairs():
        cells = [f"{a} − {b}"]
        for column in columns:
            pair = summary.paired(a, b, column)
            if pair is None:
                cells.append("–")
                continue
            low, high = number(column, pair.low, signed=True), number(column, pair.high, signed=True)
            mean = number(column, pair.mean, signed=True)
            cells.append(f"{mean} [{low}, {high}], {pair.better}–{pair.worse}")
        lines.append(_line(cells))
    return lines


def latex(summary: Summary) -> str:
    """A booktabs table of means, best in bold; the conventions stand in comments and the caption."""
    better, best, columns = summary.protocol.metrics, winners(summary), summary.columns()
    facts = [f"% {key}: {value}" for key, value in _facts(summary).items()]
    notes = [f"% {line}" for line in caveats(summary)]
    head = " & ".join([r"Method", r"Objects", *(_tex(column_title(c, better[c])) for c in columns)])
    body: list[str] = []
    for name in summary.shown():
        cells = [_tex(summary.label(name)), count(summary, name)]
        for column in columns:
            stat = summary.statistic(name, column)
            text = "--" if stat is None else number(column, stat.mean)
            text = rf"\textbf{{{text}}}" if best.get(column) == name else text
            cells.append(text if stat is None else text + of_fewer(summary, name, stat))
        body.append(" & ".join(cells) + r" \\")
    protocol = summary.protocol
    caption = (
        f"Mean over objects by protocol {protocol.name} version {protocol.version} ({protocol.hash}); "
        f"alignment: {protocol.alignment.describe()}; points: {summary.conventions()['Points']}; seed {protocol.seed}."
    )
    return "\n".join(
        [
            *facts,
            *notes,
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{lr{'r' * len(columns)}}}",
            r"\toprule",
            head + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{_tex(caption)}}}",
            r"\end{table}",
            "",
        ]
    )


def _facts(summary: Summary) -> dict[str, str]:
    flat = {k: str(v) for k, v in summary.provenance.items() if isinstance(v, str | int | float)}
    facts = {**summary.conventions(), "Objects": str(len(summary.objects)), **flat}
    return {key: " ".join(value.split()) for key, value in facts.items()}


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "↑": r"$\uparrow$",
    "↓": r"$\downarrow$", "³": r"$^3$", "²": r"$^2$", "·": r"$\cdot$", "°": r"$^\circ$",
}  # fmt: skip


def _tex(text: str) -> str:
    return "".join(_TEX.get(c, c) for c in text)
