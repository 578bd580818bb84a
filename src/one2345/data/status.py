"""What the manifest of a folder answers: how much of each stage is done, how fast, and why the rest isn't."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .ledger import STAGES, STATES, Ledger, State

_NUMBER = re.compile(r"\b[0-9a-f]{64}\b|(?<![\w.])\d[\d,]*(\.\d+)*")  # a sha256 is one, too


@dataclass(frozen=True)
class StageStatus:
    """One stage. bytes: of all that is done. licences: licence -> objects done.

    reasons: the most frequent, with the number of objects that failed or were rejected for it; numbers in them are
    written #. per_hour: objects made in the last hour in which any were, by all runs together; None for fewer than
    two. seconds: mean time of an object in its process.
    """

    stage: str
    counts: dict[State, int]
    bytes: int
    licences: dict[str, int]
    reasons: list[tuple[str, int]]
    per_hour: float | None
    seconds: float | None


def status(root: Path | str, *, reasons: int = 5) -> list[StageStatus]:
    """The stages of which the manifest knows objects. Raises InputError where `root` has no manifest."""
    ledger = Ledger(root, create=False)
    stages = [(stage, ledger.counts(stage)) for stage in STAGES]
    return [_status(ledger, stage, counts, reasons) for stage, counts in stages if any(counts.values())]


def as_json(stages: list[StageStatus]) -> dict[str, Any]:
    """Stage -> its figures, as plain JSON values."""
    return {s.stage: {k: v for k, v in asdict(s).items() if k != "stage"} for s in stages}


def as_table(stages: list[StageStatus]) -> str:
    """Text for a terminal."""
    head = ["stage", *reversed(STATES), "size", "objects/hour", "s/object"]
    rows = [
        [
            s.stage,
            *(f"{s.counts[state]:,}" for state in reversed(STATES)),
            _size(s.bytes),
            "" if s.per_hour is None else f"{s.per_hour:,.0f}",
            "" if s.seconds is None else f"{s.seconds:.2f}",
        ]
        for s in stages
    ]
    widths = [max(len(row[n]) for row in [head, *rows]) for n in range(len(head))]
    lines = [
        "  ".join(
            cell.rjust(width) if n else cell.ljust(width) for n, (cell, width) in enumerate(zip(row, widths))
        )
        for row in [head, *rows]
    ]
    for s in stages:
        if s.licences:
            lines.append(f"{s.stage}, licences: " + ", ".join(f"{k} {n:,}" for k, n in s.licences.items()))
        lines += [f"{s.stage}, {n:,} x: {reason}" for reason, n in s.reasons]
    return "\n".join(lines)


def _status(ledger: Ledger, stage: str, counts: dict[State, int], reasons: int) -> StageStatus:
    done = "FROM work WHERE stage=? AND state='done'"
    size, seconds = ledger.query(f"SELECT coalesce(sum(bytes), 0), avg(seconds) {done}", (stage,))[0]
    licences = ledger.query(
        f"SELECT coalesce(licence, 'not stated'), count(*) AS n {done} GROUP BY 1 ORDER BY n DESC, 1",
        (stage,),
    )
    why = ledger.query(
        "SELECT id, coalesce(reason, '') FROM work WHERE stage=? AND state IN ('failed', 'rejected')",
        (stage,),
    )
    count, first, last = ledger.query(
        f"SELECT count(*), min(changed), max(changed) {done} AND maker IS NOT NULL AND seconds IS NOT NULL "
        f"AND changed > (SELECT max(changed) - 3600 {done} AND maker IS NOT NULL AND seconds IS NOT NULL)",
        (stage, stage),
    )[0]
    return StageStatus(
        stage=stage,
        counts=counts,
        bytes=size,
        licences=dict(licences),
        reasons=Counter(_kind(id, reason) for id, reason in why).most_common(reasons),
        per_hour=(count - 1) / (last - first) * 3600 if count > 1 and last > first else None,
        seconds=seconds,
    )


def _kind(id: str, reason: str) -> str:
    """The reason without what differs from object to object: its name and the numbers."""
    return _NUMBER.sub("#", reason.replace(id, "<id>"))


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} TB"
