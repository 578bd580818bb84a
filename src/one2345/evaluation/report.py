"""Tables for people: on the terminal, and as one HTML file without outside assets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from one2345.files import write_atomic

from .summary import Summary


@dataclass(frozen=True)
class ObjectPictures:
    """Picture strips of one object as data: URIs. predictions: predictor → (colour, clay)."""

    id: str
    inputs: str | None
    truth: str | None
    truth_shape: str | None
    predictions: Mapping[str, tuple[str, str]]


NAMES = {
    "chamfer": "Chamfer",
    "chamfer_squared": "Chamfer²",
    "normal_consistency": "Normals",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "psnr_field": "PSNR field",
    "ssim_field": "SSIM field",
}


def column_title(column: str, more_is_better: bool) -> str:
    """`IoU 64³ ↑`."""
    if column.startswith("iou_"):
        title = f"IoU {column.removeprefix('iou_')}³"
    elif column.startswith("f_"):
        title = f"F {float(column.removeprefix('f_')):.0%}"
    else:
        title = NAMES.get(column, column)
    return f"{title} {'↑' if more_is_better else '↓'}"


def number(column: str, value: float) -> str:
    """Digits that fit the column."""
    if column.startswith("psnr"):
        return f"{value:.2f}"
    return f"{value:.5f}" if column == "chamfer_squared" else f"{value:.4f}"


def print_table(summary: Summary, console: Console | None = None) -> None:
    """Mean (median) per column and method; failures are counted, and named below."""
    console = console or Console()
    better, names, winners = summary.protocol.metrics, summary.shown(), _winners(summary)
    # Names, ids and reasons go in as Text: as str, rich would read their brackets as markup.
    title = f"{summary.protocol.name} v{summary.protocol.version}: mean (median) over objects"
    table = Table(title=Text(title))
    table.add_column("")
    for name in names:
        table.add_column(Text(summary.label(name)), justify="right", overflow="fold")
    table.add_row("objects", *(_count(summary, name) for name in names), end_section=True)
    for column in summary.columns():
        cells: list[Text] = []
        for name in names:
            stat = summary.statistic(name, column)
            text = "-" if stat is None else f"{number(column, stat.mean)} ({number(column, stat.median)})"
            cells.append(Text(text, "bold green" if winners.get(column) == name else ""))
        table.add_row(column_title(column, better[column]), *cells)
    seconds = [np.mean([row.seconds for row in summary.of(name)]) for name in names]
    table.add_row("s / object", *(f"{s:.2f}" for s in seconds))
    console.print(table)
    for name in names:
        for row in summary.failed(name):
            console.print(Text("failed", "red"), Text(f"{row.predictor} on {row.object}: {row.failure}"))
    if any(summary.failed(name) for name in names):
        console.print(
            "[yellow]Where methods failed, means are over different objects; mean_over_common in "
            f"summary.json has those over the {len(summary.common())} objects that all of them solved.[/]"
        )


def write_report(
    summary: Summary,
    pictures: Sequence[ObjectPictures],
    path: Path,
    *,
    title: str,
    details: Mapping[str, str],
) -> None:
    """The page: facts, table of means, failures, and for each object its pictures and scores."""
    style = files(__package__ or "").joinpath("report.css").read_text("utf-8")
    protocol = summary.protocol
    facts = {
        "Protocol": f"{protocol.name} v{protocol.version}",
        "Objects": str(len(summary.objects)),
        "Points": f"{protocol.points:,}",
        "Seed": str(protocol.seed),
        "Distances": "in longest edges of the truth",
        "Alignment": "none",
        **details,
    }
    head = '<h2>Mean <span class="soft">and median</span> over objects</h2>'
    body = [f"<h1>{escape(title)}</h1>", _facts(facts), head, _means(summary)]
    failed = [row for name in summary.shown() for row in summary.failed(name)]
    if failed:
        body.append(f"<h2>Failed ({len(failed)})</h2>")
        body += [
            f'<p class="fail"><b>{escape(r.predictor)}</b> on <b>{escape(r.object)}</b>: '
            f"{escape(r.failure or '')}</p>"
            for r in failed
        ]
    if len(summary.predictors) > len(summary.shown()):
        body.append("<details><summary>Every setting</summary>" + _means(summary, every=True) + "</details>")
    body.append("<h2>Objects</h2>")
    body += [_object(summary, p) for p in pictures]
    html = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )
    write_atomic(path, html)


def _facts(facts: Mapping[str, str]) -> str:
    items = "".join(f"<li>{escape(k)} <b>{escape(v)}</b></li>" for k, v in facts.items())
    return f'<ul class="facts">{items}</ul>'


def _means(summary: Summary, *, every: bool = False) -> str:
    columns, better, winners = summary.columns(), summary.protocol.metrics, _winners(summary)
    head = "".join(f"<th>{escape(column_title(c, better[c]))}</th>" for c in columns)
    lines: list[str] = []
    for name in summary.predictors if every else summary.shown():
        cells: list[str] = []
        for column in columns:
            stat = summary.statistic(name, column)
            if stat is None:
                cells.append('<td class="soft">–</td>')
                continue
            mark = ' class="best"' if not every and winners.get(column) == name else ""
            median = number(column, stat.median)
            cells.append(f"<td{mark}>{number(column, stat.mean)}<small>{median}</small></td>")
        label = name if every else summary.label(name)
        seconds = sum(r.seconds for r in summary.of(name)) / max(1, len(summary.of(name)))
        lines.append(
            f"<tr><td>{escape(label)}</td><td>{_count(summary, name)}</td>{''.join(cells)}"
            f"<td>{seconds:.1f}</td></tr>"
        )
    return (
        '<div class="card scroll"><table><thead><tr><th>Method</th><th>Objects</th>'
        f"{head}<th>s / object</th></tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _object(summary: Summary, pictures: ObjectPictures) -> str:
    shown = [(name, summary.best.get(name, name)) for name in summary.shown()]
    rows = {row.predictor: row for row in summary.rows if row.object == pictures.id}
    cells: list[str] = []
    if pictures.inputs is not None:
        cells += [
            '<div class="label">Input views</div>',
            f'<div class="wide">{_image(pictures.inputs)}</div>',
        ]
    cells.append('<div class="kind"></div><div class="kind">Colour</div><div class="kind">Shape</div>')
    if pictures.truth is not None:
        shape = _image(pictures.truth_shape) if pictures.truth_shape else "<span></span>"
        cells += ['<div class="label">Truth</div>', _image(pictures.truth), shape]
    first = f"iou_{summary.protocol.resolutions[0]}"
    for name, member in shown:
        row = rows.get(member)
        if row is None:
            continue
        if row.failure is not None:
            cells += [
                f'<div class="label">{escape(name)}</div>',
                f'<div class="wide fail">{escape(row.failure)}</div>',
            ]
            continue
        score = f"IoU {row.scores[first]:.3f} · Chamfer {row.scores['chamfer']:.4f}"
        cells.append(f'<div class="label">{escape(name)}<small>{score}</small></div>')
        strips = pictures.predictions.get(member)
        cells += (
            ["<span></span>", "<span></span>"] if strips is None else [_image(strips[0]), _image(strips[1])]
        )
    return (
        f'<section class="card"><div class="head"><h3>{escape(pictures.id)}</h3></div>'
        f'<div class="views">{"".join(cells)}</div>'
        f"<details><summary>All scores</summary>{_scores(summary, pictures.id)}</details></section>"
    )


def _scores(summary: Summary, object_id: str) -> str:
    columns, better = summary.columns(), summary.protocol.metrics
    head = "".join(f"<th>{escape(column_title(c, better[c]))}</th>" for c in columns)
    lines: list[str] = []
    for row in summary.rows:
        if row.object == object_id and row.failure is None:
            cells = "".join(
                f"<td>{number(c, row.scores[c]) if c in row.scores else '–'}</td>" for c in columns
            )
            note = f"<small>{escape(row.note)}</small>" if row.note else ""
            lines.append(
                f"<tr><td>{escape(row.predictor)}{note}</td>{cells}<td>{row.faces:,}</td>"
                f"<td>{row.seconds:.2f}</td></tr>"
            )
    return (
        f'<div class="scroll"><table><thead><tr><th>Method</th>{head}<th>Faces</th><th>s</th></tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _image(uri: str) -> str:
    return f'<img alt="" loading="lazy" src="{uri}">'


def _count(summary: Summary, name: str) -> str:
    total, failed = len(summary.of(name)), len(summary.failed(name))
    return f"{total - failed} of {total}" if failed else str(total)


def _winners(summary: Summary) -> dict[str, str]:
    """Column → best shown method by mean over the objects that all of them solved."""
    names, common, result = summary.shown(), summary.common(), dict[str, str]()
    for column, more in summary.protocol.metrics.items():
        stats = {name: summary.statistic(name, column, common) for name in names}
        means = {name: s.mean for name, s in stats.items() if s is not None}
        if len(means) > 1:
            result[column] = (max if more else min)(means, key=lambda n: means[n])
    return result
