"""The report for people: one HTML file without outside assets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path

from one2345.files import write_atomic

from .columns import caveats, column_title, count, number, of_fewer, winners
from .figures import histogram, interval_figure
from .quoted import as_html, quoted_blocks
from .summary import Row, Summary

SURE_FROM = 6
"""So many objects an interval must rest on before the page marks a difference as certain."""
SHOWN_OBJECTS = 64
"""So many objects have their pictures in the page: the worst, the best, and some between."""


@dataclass(frozen=True)
class Strips:
    """A prediction as data: URIs. error: surface coloured by its distance to the truth."""

    colour: str
    clay: str
    error: str


@dataclass(frozen=True)
class ObjectPictures:
    """Picture strips of one object as data: URIs. predictions: predictor → its strips."""

    id: str
    inputs: str | None
    truth: str | None
    truth_shape: str | None
    predictions: Mapping[str, Strips]


def write_report(
    summary: Summary,
    pictures: Sequence[ObjectPictures],
    path: Path,
    *,
    title: str,
    details: Mapping[str, str],
) -> None:
    """The page: facts, means with intervals, comparisons, distributions, cases, and every object's pictures."""
    style = files(__package__ or "").joinpath("report.css").read_text("utf-8")
    flat = {k: str(v) for k, v in summary.provenance.items() if isinstance(v, str | int | float)}
    facts = {**summary.conventions(), "Objects": str(len(summary.objects)), **flat, **details}
    body = [f"<h1>{escape(title)}</h1>", _facts(facts), _source(summary), _notes(summary)]
    body += [
        '<h2>Means <span class="soft">with 95 % interval, median, and mean over objects that are not thin</span></h2>',
        _means(summary),
        f'<div class="card scroll">{interval_figure(summary)}</div>',
    ]
    if summary.unaligned_columns():
        body += ["<h2>Without the alignment</h2>", _unaligned(summary)]
    if summary.pairs():
        body += [
            '<h2>Paired differences <span class="soft">mean, 95 % interval, wins–losses</span></h2>',
            _pairs(summary),
        ]
    body += _quoted(summary)
    body += ["<h2>Distributions</h2>", _histograms(summary)]
    if len(summary.predictors) > len(summary.shown()):
        every = _means(summary, every=True)
        body.append(f"<details><summary>Every setting</summary>{every}</details>")
    body += _cases(summary)
    failed = [row for name in summary.shown() for row in summary.failed(name)]
    if failed:
        body.append(f"<h2>Failed ({len(failed)})</h2>")
        body += [_failure(row) for row in failed]
    shown = _chosen(summary, pictures)
    if shown:
        some = (
            ""
            if len(shown) == len(pictures)
            else f" ({len(shown)} of {len(pictures)}: worst, best, some between)"
        )
        body.append(
            f'<h2>Objects{some} <span class="soft">surface error from blue, 0, to red, 5 % of the longest edge'
            "</span></h2>"
        )
        body += [_object(summary, p) for p in shown]
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


def _source(summary: Summary) -> str:
    unknown = "".join(f"<li>{escape(line)}</li>" for line in summary.protocol.unknown)
    known = f'<p class="soft">{escape(summary.protocol.source)}</p>' if summary.protocol.source else ""
    if not unknown:
        return known
    summary_line = "<summary>What the source leaves open, and what is done here</summary>"
    return f"{known}<details>{summary_line}<ul>{unknown}</ul></details>"


def _notes(summary: Summary) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in caveats(summary))
    return f'<ul class="notes">{lines}</ul>' if lines else ""


def _head(summary: Summary, columns: Sequence[str], *, last: Sequence[str] = ()) -> str:
    better = summary.protocol.metrics
    titles = ["Method", *(column_title(c, better[c]) for c in columns), *last]
    return "<thead><tr>" + "".join(f"<th>{escape(t)}</th>" for t in titles) + "</tr></thead>"


def _table(head: str, lines: Sequence[str]) -> str:
    return f'<div class="card scroll"><table>{head}<tbody>{"".join(lines)}</tbody></table></div>'


def _means(summary: Summary, *, every: bool = False) -> str:
    columns, best = summary.columns(), winners(summary)
    last = ("Watertight", "Floaters", "s / object", "MB")
    lines: list[str] = []
    for name in summary.predictors if every else summary.shown():
        label = name if every else summary.label(name)
        cells = [f"<td>{escape(label)}<small>{escape(count(summary, name))} objects</small></td>"]
        for column in columns:
            stat = summary.statistic(name, column)
            if stat is None:
                cells.append('<td class="soft">–</td>')
                continue
            mark = ' class="best"' if not every and best.get(column) == name else ""
            interval = (
                f"{number(column, stat.low)}–{number(column, stat.high)}" if stat.low == stat.low else ""
            )
            solid = (
                f"not thin {number(column, stat.mean_solid)}"
                if stat.n_solid < stat.n and stat.n_solid
                else ""
            )
            median = f"median {number(column, stat.median)}"
            small = "".join(f"<small>{text}</small>" for text in (interval, median, solid) if text)
            cells.append(f"<td{mark}>{number(column, stat.mean)}{of_fewer(summary, name, stat)}{small}</td>")
        rows = [row for row in summary.of(name) if row.failure is None]
        closed = sum(bool(row.facts.get("watertight")) for row in rows)
        floaters = sum(int(row.facts.get("floaters", 0)) for row in rows)
        seconds = sum(row.seconds for row in rows) / max(1, len(rows))
        measured = sum(row.measure_seconds for row in rows) / max(1, len(rows))
        peak = max((row.peak_mb for row in rows if row.peak_mb is not None), default=None)
        cells += [
            f"<td>{closed} of {len(rows)}</td>",
            f"<td>{floaters}</td>",
            f"<td>{f'{seconds:.1f}' if seconds > 0 else '–'}<small>{measured:.1f} to measure</small></td>",
            f"<td>{'–' if peak is None else f'{peak:.0f}'}</td>",
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return _table(_head(summary, columns, last=last), lines)


def _unaligned(summary: Summary) -> str:
    columns = summary.unaligned_columns()
    lines: list[str] = []
    for name in summary.shown():
        cells = [f"<td>{escape(summary.label(name))}</td>"]
        for column in columns:
            stat = summary.statistic(name, column, unaligned=True)
            cells.append(
                '<td class="soft">–</td>'
                if stat is None
                else f"<td>{number(column, stat.mean)}<small>median {number(column, stat.median)}</small></td>"
            )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return _table(_head(summary, columns), lines)


def _pairs(summary: Summary) -> str:
    columns = summary.columns()
    lines: list[str] = []
    for a, b in summary.pairs():
        cells = [f"<td>{escape(a)} − {escape(b)}</td>"]
        for column in columns:
            pair = summary.paired(a, b, column)
            if pair is None:
                cells.append('<td class="soft">–</td>')
                continue
            low, high = number(column, pair.low, signed=True), number(column, pair.high, signed=True)
            sure = pair.low > 0 or pair.high < 0
            gained = (pair.mean > 0) == summary.protocol.metrics[column]
            sure = f' class="{"best" if gained else "worse"}"' if sure and pair.n >= SURE_FROM else ""
            cells.append(
                f"<td{sure}>{number(column, pair.mean, signed=True)}<small>{low} … {high}</small>"
                f"<small>{pair.better}–{pair.worse} of {pair.n}</small></td>"
            )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return _table(_head(summary, columns), lines)


def _quoted(summary: Summary) -> list[str]:
    blocks = quoted_blocks(summary.protocol.name)
    others = [block for block in quoted_blocks() if block not in blocks]
    parts = ["<h2>Published numbers, quoted</h2>"]
    parts += [f'<div class="card scroll">{as_html(block)}</div>' for block in blocks]
    if others:
        inner = "".join(f'<div class="card scroll">{as_html(block)}</div>' for block in others)
        parts.append(
            f"<details><summary>Published by other protocols: not comparable</summary>{inner}</details>"
        )
    return parts


def _histograms(summary: Summary) -> str:
    columns = [c for c in summary.columns() if c.startswith("iou_")][:1]
    columns += [c for c in ("chamfer", "chamfer_squared") if c in summary.columns()][:1]
    columns = columns or summary.columns()[:1]
    cells: list[str] = []
    for column in columns:
        title = column_title(column, summary.protocol.metrics[column])
        for name in summary.shown():
            values = list(summary.values(name, column).values())
            if values:
                cells.append(histogram(values, title=f"{title} {name}"))
    return f'<div class="card histograms">{"".join(cells)}</div>'


def _cases(summary: Summary) -> list[str]:
    """Links to the best and worst objects of every method that is not a baseline."""
    column, lines = summary.protocol.leading, list[str]()
    more = summary.protocol.metrics[column]
    methods = [n for n in summary.shown() if n not in summary.baselines()] or summary.shown()
    for name in methods:
        ranked = sorted(summary.values(name, column).items(), key=lambda item: item[1], reverse=more)
        if len(ranked) < 2:
            continue
        few = max(1, min(5, len(ranked) // 2))
        for what, chosen in (("best", ranked[:few]), ("worst", ranked[::-1][:few])):
            links = ", ".join(
                f'<a href="#{escape(_anchor(i))}">{escape(i)}</a> {number(column, v)}' for i, v in chosen
            )
            lines.append(f"<p><b>{escape(name)}</b> {what}: {links}</p>")
    title = f"<h2>Best and worst by {escape(column_title(column, more))}</h2>"
    return [title, f'<div class="card">{"".join(lines)}</div>'] if lines else []


def _chosen(summary: Summary, pictures: Sequence[ObjectPictures]) -> list[ObjectPictures]:
    """All, or of many the worst, the best and some between, by the first method's leading column."""
    if len(pictures) <= SHOWN_OBJECTS:
        return list(pictures)
    methods = [n for n in summary.shown() if n not in summary.baselines()] or summary.shown()
    values = summary.values(methods[0], summary.protocol.leading)
    ranked = sorted(pictures, key=lambda p: values.get(p.id, float("-inf")))
    quarter = SHOWN_OBJECTS // 4
    between = ranked[quarter:-quarter]
    step = len(between) / (2 * quarter)
    picked = {p.id for p in (*ranked[:quarter], *ranked[-quarter:])}
    picked |= {between[int(i * step)].id for i in range(2 * quarter)}
    return [p for p in pictures if p.id in picked]


def _object(summary: Summary, pictures: ObjectPictures) -> str:
    shown = [(name, summary.best.get(name, name)) for name in summary.shown()]
    rows = {row.predictor: row for row in summary.rows if row.object == pictures.id}
    cells: list[str] = []
    if pictures.inputs is not None:
        cells += [
            '<div class="label">Input views</div>',
            f'<div class="wide">{_image(pictures.inputs)}</div>',
        ]
    cells += [f'<div class="kind">{kind}</div>' for kind in ("", "Colour", "Shape", "Error")]
    if pictures.truth is not None:
        shape = _image(pictures.truth_shape) if pictures.truth_shape else "<span></span>"
        cells += ['<div class="label">Truth</div>', _image(pictures.truth), shape, "<span></span>"]
    leading = [c for c in summary.columns() if c.startswith(("iou_", "chamfer"))][:2]
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
        better = summary.protocol.metrics
        score = " · ".join(
            f"{column_title(c, better[c])[:-2]} {number(c, row.scores[c])}"
            for c in leading
            if c in row.scores
        )
        cells.append(f'<div class="label">{escape(name)}<small>{score}</small></div>')
        strips = pictures.predictions.get(member)
        cells += ["<span></span>"] * 3 if strips is None else [
            _image(strips.colour), _image(strips.clay), _image(strips.error)
        ]  # fmt: skip
    thickness = summary.thickness.get(pictures.id, float("nan"))
    note = f"2·volume/area {thickness:.1%} of the edge" if thickness == thickness else ""
    return (
        f'<section class="card" id="{escape(_anchor(pictures.id))}"><div class="head"><h3>{escape(pictures.id)}</h3>'
        f'<span class="soft">{note}</span></div><div class="views">{"".join(cells)}</div>'
        f"<details><summary>All scores</summary>{_scores(summary, pictures.id)}</details></section>"
    )


def _scores(summary: Summary, object_id: str) -> str:
    columns = summary.columns()
    last = ("Faces", "Floaters", "Watertight", "Yaw", "Scale", "s")
    lines: list[str] = []
    for row in summary.rows:
        if row.object != object_id or row.failure is not None:
            continue
        cells = "".join(
            f"<td>{number(c, row.scores[c]) if c in row.scores else '–'}"
            + (f"<small>{number(c, row.unaligned[c])} before</small>" if c in row.unaligned else "")
            + "</td>"
            for c in columns
        )
        note = f"<small>{escape(row.note)}</small>" if row.note else ""
        moved = [f"{row.alignment.get(k, d):.4g}" for k, d in (("yaw_degrees", 0.0), ("scale", 1.0))]
        facts = [str(row.facts.get(k, "–")) for k in ("faces", "floaters", "watertight")]
        tail = "".join(f"<td>{escape(x)}</td>" for x in (*facts, *moved, f"{row.seconds:.2f}"))
        mirrored = "<small>mirror image of the truth</small>" if row.facts.get("mirrored") else ""
        lines.append(f"<tr><td>{escape(row.predictor)}{note}{mirrored}</td>{cells}{tail}</tr>")
    head = _head(summary, columns, last=last)
    return f'<div class="scroll"><table>{head}<tbody>{"".join(lines)}</tbody></table></div>'


def _failure(row: Row) -> str:
    return (
        f'<p class="fail"><b>{escape(row.predictor)}</b> on <b>{escape(row.object)}</b>: '
        f"{escape(row.failure or '')}</p>"
    )


def _image(uri: str) -> str:
    return f'<img alt="" loading="lazy" src="{uri}">'


def _anchor(id: str) -> str:
    return "object-" + "".join(c if c.isalnum() and c.isascii() else f"-{ord(c):x}-" for c in id)
