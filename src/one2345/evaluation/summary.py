"""Results of an evaluation as plain values: rows, means, medians, and who failed on what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .protocol import EvaluationProtocol


@dataclass(frozen=True)
class Row:
    """One predictor on one object: scores by column, or the reason why there are none."""

    object: str
    predictor: str
    scores: Mapping[str, float]
    failure: str | None = None
    seconds: float = 0.0
    note: str = ""
    faces: int = 0


@dataclass(frozen=True)
class Statistic:
    """Mean and median over the n objects that have the column."""

    mean: float
    median: float
    n: int


@dataclass(frozen=True)
class Summary:
    """All rows with their statistics.

    groups: name → predictors that compete under it (one method at several settings). best: name → the member
    with the highest mean IoU over its objects, failures counted as 0.
    """

    protocol: EvaluationProtocol
    objects: tuple[str, ...]
    predictors: tuple[str, ...]
    rows: tuple[Row, ...]
    groups: Mapping[str, Sequence[str]]
    best: Mapping[str, str]

    def of(self, predictor: str) -> list[Row]:
        """Rows of one predictor in object order; a group's name stands for its best member."""
        name = self.best.get(predictor, predictor)
        return [row for row in self.rows if row.predictor == name]

    def failed(self, predictor: str) -> list[Row]:
        return [row for row in self.of(predictor) if row.failure is not None]

    def statistic(
        self, predictor: str, column: str, objects: Sequence[str] | None = None
    ) -> Statistic | None:
        """Over the predictor's objects that have `column` (of `objects`, where given), or None."""
        values = [
            r.scores[column]
            for r in self.of(predictor)
            if column in r.scores and (objects is None or r.object in objects)
        ]
        if not values:
            return None
        return Statistic(float(np.mean(values)), float(np.median(values)), len(values))

    def common(self) -> list[str]:
        """Objects on which no shown predictor failed: the only ones over which means may be compared."""
        bad = {row.object for name in self.shown() for row in self.failed(name)}
        return [o for o in self.objects if o not in bad]

    def shown(self) -> list[str]:
        """Names for tables: groups in the place of their members."""
        group_of = {member: group for group, members in self.groups.items() for member in members}
        return list(dict.fromkeys(group_of.get(p, p) for p in self.predictors))

    def label(self, name: str) -> str:
        """How a shown name reads: a group says which member it stands for."""
        if name not in self.best:
            return name
        return f"{name} (best: {self.best[name].removeprefix(name).strip()})"

    def columns(self) -> list[str]:
        """Columns of the protocol that any row has."""
        return [c for c in self.protocol.metrics if any(c in row.scores for row in self.rows)]

    def as_dict(self) -> dict[str, Any]:
        """For summary.json: the same for the same data, except for what is under `seconds`."""
        names = [*self.predictors, *self.best]
        common = self.common()
        table: dict[str, Any] = {}
        for name in names:
            rows, failed = self.of(name), self.failed(name)
            stats = {c: self.statistic(name, c) for c in self.columns()}
            shared = {c: self.statistic(name, c, common) for c in self.columns()}
            table[name] = {
                "n": len(rows) - len(failed),
                "failed": {row.object: row.failure for row in failed},
                "metrics": {
                    c: {"mean": s.mean, "median": s.median, "n": s.n}
                    for c, s in stats.items()
                    if s is not None
                },
                "mean_over_common": {c: s.mean for c, s in shared.items() if s is not None},
            }
        return {
            "protocol": self.protocol.as_dict(),
            "objects": len(self.objects),
            "common_objects": len(common),
            "best_of": dict(self.best),
            "predictors": table,
            "seconds": {
                p: float(np.mean([r.seconds for r in self.of(p)])) if self.of(p) else 0.0
                for p in self.predictors
            },
        }
