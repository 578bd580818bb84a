"""Predictors on prepared objects: scores, meshes, tables and a report."""

from __future__ import annotations

import csv
import io
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from one2345.errors import InputError
from one2345.files import write_atomic
from one2345.meshing import write_mesh
from one2345.views import ObjectRecord

from .pictures import clay, clay_of_views, strip
from .prediction import FAILURES, Prediction, Predictor
from .protocol import EvaluationProtocol
from .report import ObjectPictures, write_report
from .summary import Row, Summary
from .truth import Truth, draw, evaluate_mesh, view_scores

log = logging.getLogger(__name__)


def evaluate(
    predictors: Mapping[str, Predictor],
    records: Sequence[ObjectRecord],
    out: Path | str,
    protocol: EvaluationProtocol,
    *,
    best_of: Mapping[str, Sequence[str]] | None = None,
    title: str = "Evaluation",
    details: Mapping[str, str] | None = None,
    mesh_format: str | None = "glb",
    progress: Callable[[int, int, str], None] | None = None,
) -> Summary:
    """Run every predictor on every object and write, under `out`:

    objects.csv and objects.json (one row per object and predictor), summary.json, report.html
    (self-contained) and meshes/<predictor>/<object>.<mesh_format> (None: none).

    best_of: name → predictors that stand for one method at several settings; tables show the one with the
    highest mean IoU, named. details: facts for the report's head. progress: called with (done, total,
    what). A predictor that fails on an object (see `prediction.FAILURES`) is logged and recorded with its
    reason, and counted in every table.

    Raises InputError for no objects, no predictors, or an object without samples or the protocol's occupancy
    grids, before anything is measured; for a truth that cannot be read; and, once everything is written, when
    no predictor outside the groups of `best_of` (which hold the baselines) solved any object.
    """
    out, groups = Path(out), dict(best_of or {})
    _check(predictors, records, groups)
    _check_truths(records, protocol)
    rows: list[Row] = []
    pictures: list[ObjectPictures] = []
    total, done = len(records) * len(predictors), 0
    for record in records:
        truth = Truth.from_record(record)
        strips: dict[str, tuple[str, str]] = {}
        inputs = None
        for name, predictor in predictors.items():
            if progress is not None:
                progress(done, total, f"{record.id}: {name}")
            row, prediction, drawn = _measure(name, predictor, record, truth, protocol)
            rows.append(row)
            done += 1
            if prediction is None:
                continue
            if mesh_format is not None:
                write_mesh(prediction.mesh, out / "meshes" / _folder(name) / f"{record.id}.{mesh_format}")
            if drawn is not None:
                strips[name] = (strip(drawn.rgb), strip(clay(drawn.normal, drawn.mask)))
            inputs = prediction.inputs if inputs is None else inputs
        pictures.append(_object_pictures(record, truth, inputs, strips))
    if progress is not None:
        progress(total, total, "done")
    summary = Summary(
        protocol=protocol,
        objects=tuple(record.id for record in records),
        predictors=tuple(predictors),
        rows=tuple(rows),
        groups=groups,
        best={name: _best(rows, members, protocol) for name, members in groups.items()},
    )
    _write_tables(summary, out)
    write_report(summary, pictures, out / "report.html", title=title, details=details or {})
    _check_outcome(summary, out)
    return summary


def _check(
    predictors: Mapping[str, Predictor], records: Sequence[ObjectRecord], groups: Mapping[str, Sequence[str]]
) -> None:
    if not predictors:
        raise InputError("nothing to evaluate: no predictors")
    if not records:
        raise InputError("nothing to evaluate on: the dataset has no objects in this split")
    ids = [record.id for record in records]
    if len(set(ids)) != len(ids):
        raise InputError(f"objects repeat: {sorted({i for i in ids if ids.count(i) > 1})}")
    for name, members in groups.items():
        unknown = sorted(set(members) - set(predictors))
        if unknown or not members or name in predictors:
            raise InputError(f"best_of group {name!r} needs predictors as members, not {list(members)}")
    folders = [_folder(name) for name in predictors]
    if len(set(folders)) != len(folders):
        raise InputError(f"predictor names need different folder names: {list(predictors)}")


def _check_truths(records: Sequence[ObjectRecord], protocol: EvaluationProtocol) -> None:
    """Every object must have what the protocol measures against."""
    for record in records:
        stored = (record.sample_counts or {}).get("occupancy", [])
        missing = sorted(set(protocol.resolutions) - set(stored))
        if missing:
            there = f"has {_listed(stored)}" if stored else "has none"
            kind = "train" if record.split == "train" else "eval"
            raise InputError(
                f"{record.folder}: protocol {protocol.name} needs occupancy grids {_listed(protocol.resolutions)}, "
                f"{record.id} {there}; choose protocol.resolutions among those that are there, or prepare the "
                f"data with render.{kind}_samples.occupancy={_listed(protocol.resolutions).replace(' ', '')}"
            )


def _check_outcome(summary: Summary, out: Path) -> None:
    """A run in which the method itself never worked is no result."""
    baselines = {member for members in summary.groups.values() for member in members}
    methods = [p for p in summary.predictors if p not in baselines] or list(summary.predictors)
    rows = [row for row in summary.rows if row.predictor in methods]
    if all(row.failure is not None for row in rows):
        first = rows[0]
        raise InputError(
            f"{', '.join(methods)} failed on every object; the first, {first.object}: {first.failure} "
            f"(all reasons: {out / 'objects.csv'})"
        )


def _listed(numbers: Sequence[int]) -> str:
    return f"[{', '.join(str(n) for n in numbers)}]"


def _measure(
    name: str, predictor: Predictor, record: ObjectRecord, truth: Truth, protocol: EvaluationProtocol
) -> tuple[Row, Prediction | None, Any]:
    start = time.perf_counter()
    try:
        prediction = predictor(record)
        seconds = time.perf_counter() - start if prediction.seconds is None else prediction.seconds
        drawn = None
        if truth.views is not None and not prediction.mesh.is_empty:
            drawn = draw(prediction.mesh, truth.views.cameras)
        scores = evaluate_mesh(prediction.mesh, truth, protocol, drawn=drawn)
        if prediction.images is not None and truth.views is not None and protocol.views:
            scores |= view_scores(prediction.images, truth.views, "_field")
    except FAILURES as error:
        reason = f"{type(error).__name__}: {error}"
        log.warning("%s failed on %s: %s", name, record.id, reason)
        log.debug("traceback", exc_info=error)
        seconds = time.perf_counter() - start
        return Row(record.id, name, {}, failure=reason, seconds=seconds), None, None
    bad = [column for column, value in scores.items() if not np.isfinite(value)]
    if bad:
        return Row(record.id, name, {}, failure=f"not finite: {', '.join(bad)}", seconds=seconds), None, None
    row = Row(record.id, name, scores, None, seconds, prediction.note, len(prediction.mesh.faces))
    return row, prediction, drawn


def _object_pictures(
    record: ObjectRecord, truth: Truth, inputs: Any, strips: dict[str, tuple[str, str]]
) -> ObjectPictures:
    if inputs is None:
        source = record.source_indices()
        inputs = record.views(source).images if source else None
    shape = None if truth.views is None else clay_of_views(truth.views)
    return ObjectPictures(
        id=record.id,
        inputs=None if inputs is None else strip(inputs, count=8),
        truth=None if truth.views is None else strip(truth.views.images),
        truth_shape=None if shape is None else strip(shape),
        predictions=strips,
    )


def _best(rows: Sequence[Row], members: Sequence[str], protocol: EvaluationProtocol) -> str:
    """The member with the highest mean IoU at the first resolution; the earlier one of equals."""
    column = f"iou_{protocol.resolutions[0]}"

    def mean(member: str) -> float:
        return float(np.mean([row.scores.get(column, 0.0) for row in rows if row.predictor == member]))

    return max(members, key=mean)


def _write_tables(summary: Summary, out: Path) -> None:
    columns = summary.columns()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["object", "predictor", "status", *columns, "faces", "seconds", "note", "reason"])
    documents: list[dict[str, Any]] = []
    for row in summary.rows:
        status = "ok" if row.failure is None else "failed"
        values = [f"{row.scores[c]:.6g}" if c in row.scores else "" for c in columns]
        writer.writerow(
            [
                row.object,
                row.predictor,
                status,
                *values,
                row.faces,
                f"{row.seconds:.3f}",
                row.note,
                row.failure or "",
            ]
        )
        document = {"object": row.object, "predictor": row.predictor, "status": status}
        document |= {"scores": dict(row.scores), "faces": row.faces, "note": row.note, "reason": row.failure}
        documents.append(document | {"seconds": row.seconds})
    write_atomic(out / "objects.csv", text.getvalue())
    write_atomic(out / "objects.json", json.dumps(documents, indent=1, allow_nan=False) + "\n")
    write_atomic(out / "summary.json", json.dumps(summary.as_dict(), indent=1, allow_nan=False) + "\n")


def _folder(name: str) -> str:
    """A folder name for a predictor."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name) or "_"
