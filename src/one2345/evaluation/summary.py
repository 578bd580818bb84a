"""Results of an evaluation as plain values: rows, statistics, comparisons, and who failed on what."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .protocol import EvaluationProtocol
from .statistics import Paired, Statistic, describe, paired

FORMAT, FORMAT_VERSION = "one2345-results", 1


@dataclass(frozen=True)
class Row:
    """One predictor on one object: scores by column, or the reason why there are none.

    unaligned: scores before alignment. alignment: the transform found. facts: of the mesh. seconds: of the
    prediction; measure_seconds: of measuring it; peak_mb: most memory held during both.
    """

    object: str
    predictor: str
    scores: Mapping[str, float]
    failure: str | None = None
    seconds: float = 0.0
    note: str = ""
    unaligned: Mapping[str, float] = field(default_factory=dict[str, float])
    alignment: Mapping[str, Any] = field(default_factory=dict[str, Any])
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    measure_seconds: float = 0.0
    peak_mb: float | None = None


@dataclass(frozen=True)
class Summary:
    """All rows of one protocol with their statistics.

    objects: every object of the list, measured or not. groups: name → predictors that compete under it (one
    method at several settings). best: name → the member that is best by the protocol's leading column over
    all objects, failures counted as the worst. truths: object → what is known of its truth; thickness: object →
    2·volume/area over the longest edge. provenance: what the numbers came from. not_computed: column → why.
    notes: lines to stand beside every table. prepared: the truths are prepared data, not meshes.
    """

    protocol: EvaluationProtocol
    objects: tuple[str, ...]
    predictors: tuple[str, ...]
    rows: tuple[Row, ...]
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    best: Mapping[str, str] = field(default_factory=dict[str, str])
    truths: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    thickness: Mapping[str, float] = field(default_factory=dict[str, float])
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])
    not_computed: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()
    prepared: bool = False
    _statistics: dict[tuple[str, str, bool], Statistic | None] = field(
        default_factory=dict[tuple[str, str, bool], "Statistic | None"], repr=False, compare=False
    )

    def conventions(self) -> dict[str, str]:
        """What a table must say beside its numbers."""
        return self.protocol.conventions(prepared=self.prepared)

    def of(self, predictor: str) -> list[Row]:
        """Rows of one predictor in object order; a group's name stands for its best member."""
        name = self.best.get(predictor, predictor)
        return [row for row in self.rows if row.predictor == name]

    def failed(self, predictor: str) -> list[Row]:
        return [row for row in self.of(predictor) if row.failure is not None]

    def thin(self) -> list[str]:
        """Objects thinner than the protocol's bound."""
        return [o for o in self.objects if self.thickness.get(o, math.inf) < self.protocol.thin]

    def values(self, predictor: str, column: str, *, unaligned: bool = False) -> dict[str, float]:
        """Object → value, where there is one."""
        rows = self.of(predictor)
        return {
            r.object: found[column]
            for r in rows
            if column in (found := r.unaligned if unaligned else r.scores)
        }

    def statistic(self, predictor: str, column: str, *, unaligned: bool = False) -> Statistic | None:
        """Over the predictor's objects that have `column`, or None."""
        key = (predictor, column, unaligned)
        if key not in self._statistics:
            self._statistics[key] = describe(
                self.values(predictor, column, unaligned=unaligned),
                thin=self.thin(),
                resamplings=self.protocol.bootstrap,
                seed=self.protocol.seed,
            )
        return self._statistics[key]

    def mean(self, predictor: str, column: str, objects: Sequence[str]) -> float | None:
        """Over `objects`; None unless all of them have `column`."""
        found = self.values(predictor, column)
        values = [found[o] for o in sorted(objects) if o in found]
        return float(np.mean(values)) if values and len(values) == len(objects) else None

    def paired(self, predictor: str, reference: str, column: str) -> Paired | None:
        """`predictor` minus `reference` on the objects that both solved."""
        return paired(
            self.values(predictor, column),
            self.values(reference, column),
            more_is_better=self.protocol.metrics[column],
            resamplings=self.protocol.bootstrap,
            seed=self.protocol.seed,
        )

    def pairs(self) -> list[tuple[str, str]]:
        """(method, reference): every two of the shown methods, the later one as reference."""
        names = self.shown()
        return [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]

    def common(self) -> list[str]:
        """Objects on which no shown predictor failed: the only ones over which means may be compared."""
        bad = {row.object for name in self.shown() for row in self.failed(name)}
        return [o for o in self.objects if o not in bad]

    def shown(self) -> list[str]:
        """Names for tables: groups in the place of their members."""
        group_of = {member: group for group, members in self.groups.items() for member in members}
        return list(dict.fromkeys(group_of.get(p, p) for p in self.predictors))

    def baselines(self) -> list[str]:
        """Shown names that stand for a group: the bars to clear, not methods of their own."""
        return [name for name in self.shown() if name in self.groups]

    def label(self, name: str) -> str:
        """How a shown name reads: a group says which member it stands for."""
        setting = self.best.get(name, name).removeprefix(name).strip()
        return f"{name} (best: {setting})" if setting else name

    def columns(self) -> list[str]:
        """Columns of the protocol that any row has."""
        return [c for c in self.protocol.metrics if any(c in row.scores for row in self.rows)]

    def unaligned_columns(self) -> list[str]:
        """Columns that any row has before alignment."""
        return [c for c in self.protocol.metrics if any(c in row.unaligned for row in self.rows)]

    def mirrored(self, predictor: str) -> list[str]:
        """Objects whose prediction is the truth's mirror image."""
        return [row.object for row in self.of(predictor) if row.facts.get("mirrored")]

    def ambiguous(self) -> list[str]:
        """Objects that several yaws fit equally well, by any predictor."""
        found = {row.object for row in self.rows if row.alignment.get("ambiguous_yaws")}
        return [o for o in self.objects if o in found]

    def as_dict(self) -> dict[str, Any]:
        """For results.json: the same for the same data, except for what is under `timings`."""
        protocol = self.protocol
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "protocol": {**protocol.as_dict(), "hash": protocol.hash},
            "conventions": self.conventions(),
            "provenance": dict(self.provenance),
            "objects": list(self.objects),
            "thin": self.thin(),
            "truths": {
                o: {**self.truths[o], "thickness": _finite(self.thickness.get(o))} for o in self.truths
            },
            "common_objects": len(self.common()),
            "best_of": dict(self.best),
            "not_computed": dict(self.not_computed),
            "notes": list(self.notes),
            "predictors": {name: self._of_predictor(name) for name in [*self.predictors, *self.best]},
            "paired": [self._pair(a, b) for a, b in self.pairs()],
            "rows": [_row(row) for row in self.rows],
            "timings": {
                "predictors": {p: _times(self.of(p)) for p in self.predictors},
                "rows": [
                    {
                        "object": r.object,
                        "predictor": r.predictor,
                        "seconds": r.seconds,
                        "measure_seconds": r.measure_seconds,
                        "peak_mb": r.peak_mb,
                    }
                    for r in self.rows
                ],
            },
        }

    def _of_predictor(self, name: str) -> dict[str, Any]:
        rows, failed, common = self.of(name), self.failed(name), self.common()
        shared = {c: self.mean(name, c, common) for c in self.columns()}
        return {
            "n": len(rows) - len(failed),
            "of": len(self.objects),
            "failed": {row.object: row.failure for row in failed},
            "mirrored": self.mirrored(name),
            "metrics": _statistics({c: self.statistic(name, c) for c in self.columns()}),
            "unaligned": _statistics(
                {c: self.statistic(name, c, unaligned=True) for c in self.unaligned_columns()}
            ),
            "mean_over_common": {c: m for c, m in shared.items() if m is not None},
            "watertight": sum(bool(r.facts.get("watertight")) for r in rows),
            "floaters": sum(int(r.facts.get("floaters", 0)) for r in rows),
        }

    def _pair(self, a: str, b: str) -> dict[str, Any]:
        found = {c: self.paired(a, b, c) for c in self.columns()}
        return {
            "method": a,
            "reference": b,
            "columns": {c: _plain(asdict(p)) for c, p in found.items() if p is not None},
        }


def _statistics(found: Mapping[str, Statistic | None]) -> dict[str, Any]:
    return {c: _plain(asdict(s)) for c, s in found.items() if s is not None}


def _row(row: Row) -> dict[str, Any]:
    return {
        "object": row.object,
        "predictor": row.predictor,
        "scores": dict(row.scores),
        "unaligned": dict(row.unaligned),
        "alignment": dict(row.alignment),
        "facts": dict(row.facts),
        "failure": row.failure,
        "note": row.note,
    }


def _times(rows: Sequence[Row]) -> dict[str, float | None]:
    peaks = [r.peak_mb for r in rows if r.peak_mb is not None]
    return {
        "seconds": float(np.mean([r.seconds for r in rows])) if rows else 0.0,
        "measure_seconds": float(np.mean([r.measure_seconds for r in rows])) if rows else 0.0,
        "peak_mb": max(peaks) if peaks else None,
    }


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """NaN as null, which JSON has."""
    return {k: _finite(v) for k, v in values.items()}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
