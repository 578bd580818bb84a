"""Figures as SVG text: means with their intervals, and histograms over objects."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from .columns import column_title, number
from .summary import Summary

COLOURS = ("#2f6fed", "#e07b39", "#2b9a66", "#a45bd6", "#c2384b", "#6b7a90", "#1f9fb5", "#b58b1f")
INK, SOFT = "#647084", "#c9d0da"


def standalone(svg: str) -> str:
    """Text of an .svg file; within a page the name space is known."""
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"


def interval_figure(summary: Summary, *, width: int = 900) -> str:
    """One panel a column: each method's mean as a dot with its 95 % interval, values written beside."""
    names, columns, better = summary.shown(), summary.columns(), summary.protocol.metrics
    panel, row = 300, 20
    per_line = max(1, width // panel)
    height_of = 34 + row * len(names)
    lines = -(-len(columns) // per_line)
    parts: list[str] = []
    for index, column in enumerate(columns):
        x0, y0 = (index % per_line) * panel, (index // per_line) * height_of
        found = {name: stat for name in names if (stat := summary.statistic(name, column)) is not None}
        ends = [v for s in found.values() for v in (s.low, s.high, s.mean) if np.isfinite(v)]
        low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
        if high - low <= 0:  # equal values stand in the middle
            low, high = low - 1, high + 1
        span = high - low
        left, room = x0 + 110, panel - 180
        parts.append(_text(x0 + 4, y0 + 16, column_title(column, better[column]), weight=600))
        for position, name in enumerate(names):
            y = y0 + 34 + row * position
            colour = COLOURS[position % len(COLOURS)]
            parts.append(_text(x0 + 4, y + 4, _short(name)))
            if (stat := found.get(name)) is None:
                parts.append(_text(left, y + 4, "–"))
                continue
            place = [left + room * (v - low) / span for v in (stat.low, stat.high, stat.mean)]
            if np.isfinite(stat.low):
                parts.append(
                    f'<line x1="{place[0]:.1f}" x2="{place[1]:.1f}" y1="{y}" y2="{y}" stroke="{colour}" '
                    'stroke-width="2" opacity="0.55"/>'
                )
            parts.append(f'<circle cx="{place[2]:.1f}" cy="{y}" r="4" fill="{colour}"/>')
            parts.append(_text(left + room + 10, y + 4, number(column, stat.mean)))
    height = max(1, lines) * height_of + 6
    return _svg(per_line * panel, height, parts, f"Means with 95 % intervals, {summary.protocol.name}")


def histogram(
    values: Sequence[float], *, title: str, width: int = 260, height: int = 90, bins: int = 20
) -> str:
    """Counts of values in equal bins, the ends of the range written below."""
    array = np.asarray(values, np.float64)
    low, high = float(array.min()), float(array.max())
    room = max(
        (high - low) / 2, 1e-6 * max(abs(low), abs(high), 1e-6)
    )  # values that differ by rounding are one bar
    middle = (low + high) / 2
    counts, edges = np.histogram(
        array, bins=min(bins, max(1, len(array))), range=(middle - room, middle + room)
    )
    top, room = max(1, int(counts.max())), height - 34
    step = width / len(counts)
    parts = [_text(0, 11, title, weight=600)]
    for i, c in enumerate(counts.tolist()):
        bar = room * c / top
        parts.append(
            f'<rect x="{i * step + 0.5:.1f}" y="{18 + room - bar:.1f}" width="{step - 1:.1f}" height="{bar:.1f}" '
            f'fill="{COLOURS[0]}"/>'
        )
    parts.append(f'<line x1="0" x2="{width}" y1="{18 + room}" y2="{18 + room}" stroke="{SOFT}"/>')
    parts.append(_text(0, height - 2, f"{edges[0]:.3g}"))
    parts.append(_text(width, height - 2, f"{edges[-1]:.3g}", anchor="end"))
    return _svg(width, height, parts, title)


def _text(x: float, y: float, text: str, *, weight: int = 400, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="11" font-weight="{weight}" fill="{INK}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )


def _short(name: str, length: int = 18) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


def _svg(width: int, height: int, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="system-ui, sans-serif" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
