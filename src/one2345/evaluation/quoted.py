"""Numbers that papers print, as data with citation and conventions: to stand beside a table, never in it.

Chamfer and F-score values of the same meshes differ by up to 8x between papers, because scale, squaring,
alignment and sampling do. So quoted numbers form blocks of their own, and nothing here ranks them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

import yaml

LABEL = "quoted, not measured here"
_ARROWS = {"higher": " ↑", "lower": " ↓", None: ""}


@dataclass(frozen=True)
class QuotedColumn:
    """unit: as far as it is known. better: 'higher', 'lower' or None."""

    name: str
    unit: str | None
    better: str | None

    @property
    def title(self) -> str:
        """`CD (longest edge of the truth) ↓`."""
        return f"{self.name}{f' ({self.unit})' if self.unit else ''}{_ARROWS[self.better]}"


@dataclass(frozen=True)
class QuotedRow:
    """values: as printed, one per column; None where the source gives none."""

    method: str
    values: tuple[str | None, ...]
    note: str = ""

    @property
    def numbers(self) -> tuple[float | None, ...]:
        """The values as numbers, a deviation left off; None for those that are text."""
        return tuple(_number(value) for value in self.values)


@dataclass(frozen=True)
class QuotedBlock:
    """One published table, or part of it.

    protocol: ours of the same definition, or None. objects: how many, in words. conventions: what is known of
    how the numbers were made, and what isn't. caveats: how far the quotation can be trusted.
    """

    id: str
    title: str
    protocol: str | None
    dataset: str | None
    objects: str
    citation: str
    conventions: tuple[str, ...]
    caveats: tuple[str, ...]
    columns: tuple[QuotedColumn, ...]
    rows: tuple[QuotedRow, ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.values) != len(self.columns):
                raise ValueError(
                    f"{self.id}: {row.method} has {len(row.values)} values for {len(self.columns)} columns"
                )

    @property
    def data(self) -> str:
        """`GSO, 30`."""
        return ", ".join(x for x in (self.dataset, self.objects) if x)


def quoted_blocks(protocol: str | None = None) -> tuple[QuotedBlock, ...]:
    """All blocks, or those of one protocol of ours (none where no paper's numbers follow it)."""
    return tuple(b for b in _all() if protocol is None or b.protocol == protocol)


def as_markdown(block: QuotedBlock) -> str:
    """A heading, what to know about the numbers, and the table."""
    columns = [column.title for column in block.columns]
    lines = [
        f"**{block.title}** ({LABEL})",
        "",
        f"{block.citation}. Objects: {block.data}.",
        "",
        *(f"- {line}" for line in _remarks(block)),
        "",
        _line(["Method", *columns]),
        _line(["---", *("---:" for _ in columns)]),
        *(_line([_with_note(row), *(v or "–" for v in row.values)]) for row in block.rows),
    ]
    return "\n".join(lines) + "\n"


def as_html(block: QuotedBlock) -> str:
    """The same as one `<section class="quoted">`, without style of its own."""
    head = "".join(f"<th>{escape(title)}</th>" for title in ["Method", *(c.title for c in block.columns)])
    rows: list[str] = []
    for row in block.rows:
        note = f"<small>{escape(row.note)}</small>" if row.note else ""
        cells = "".join(f"<td>{escape(v or '–')}</td>" for v in row.values)
        rows.append(f"<tr><td>{escape(row.method)}{note}</td>{cells}</tr>")
    remarks = "".join(f"<li>{escape(line)}</li>" for line in _remarks(block))
    return (
        f'<section class="quoted" id="quoted-{escape(block.id)}">'
        f"<h3>{escape(block.title)} <small>({LABEL})</small></h3>"
        f'<p class="soft">{escape(block.citation)}. Objects: {escape(block.data)}.</p>'
        f"<ul>{remarks}</ul><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></section>"
    )


def _remarks(block: QuotedBlock) -> list[str]:
    return [*block.conventions, *(f"caveat: {line}" for line in block.caveats)]


def _with_note(row: QuotedRow) -> str:
    return f"{row.method} ({row.note})" if row.note else row.method


def _line(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _number(value: str | None) -> float | None:
    try:
        return None if value is None else float(value.partition("±")[0])
    except ValueError:
        return None


@cache
def _all() -> tuple[QuotedBlock, ...]:
    text = files("one2345.evaluation").joinpath("quoted.yaml").read_text(encoding="utf-8")
    return tuple(_block(node) for node in yaml.safe_load(text))


def _block(node: Mapping[str, Any]) -> QuotedBlock:
    parts = _tuples(node)
    parts["columns"] = tuple(QuotedColumn(**column) for column in parts["columns"])
    parts["rows"] = tuple(QuotedRow(**_tuples(row)) for row in parts["rows"])
    return QuotedBlock(**parts)


def _tuples(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in node.items()}
