"""Predictors on objects under one or several protocols: scores, meshes, tables and reports."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from one2345.errors import InputError
from one2345.geometry import Mesh
from one2345.memory import peak_memory
from one2345.meshing import write_mesh
from one2345.views import check_id

from . import shares
from .appearance import LoadedAppearance
from .finished import Finished, Outcome
from .measure import Measured, measure, picture_scores
from .pictures import Portrait, clay, draw, error_map, strip
from .prediction import FAILURES, Case, Prediction, Predictor
from .protocol import EvaluationProtocol
from .report import ObjectPictures, Strips, write_report
from .results import write_results
from .summary import Row, Summary
from .truth import RecordTruth, Truth

log = logging.getLogger(__name__)

ERROR_SHOWN = 0.05
"""Surface error at which the heat map ends, in longest edges."""


def evaluate(
    predictors: Mapping[str, Predictor],
    cases: Sequence[Case],
    out: Path | str,
    protocols: Sequence[EvaluationProtocol],
    *,
    best_of: Mapping[str, Sequence[str]] | None = None,
    appearance: LoadedAppearance | None = None,
    title: str = "Evaluation",
    details: Mapping[str, str] | None = None,
    provenance: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    mesh_format: str | None = "glb",
    pictures: bool = True,
    device: torch.device | None = None,
    shared: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
    key: str | None = None,
) -> list[Summary]:
    """Run every predictor on every object, measure it under every protocol, and write under `out` (with several
    protocols under out/<protocol>): results.json, objects.csv, table.md, table.tex, figure.svg, report.html; and
    meshes/<predictor>/<object>.<mesh_format> (None: none) as the predictor made them.

    best_of: name → predictors that stand for one method at several settings, the baselines; tables show the one
    that is best by the protocol's leading column, named. details: facts for the report's head. provenance: facts
    for results.json. notes: lines to stand beside every table. pictures: draw those of the (first) report.
    progress: called with (predictions measured, of how many, what), before each and at the end.
    key: what decides the scores beside the arguments, as digests of code, weights and objects do. With one, what an
    object gave is kept under out/finished until everything is written, and the same call goes on where it was stopped.

    A predictor that fails on an object (see `prediction.FAILURES`), or an object whose truth cannot be read, is
    recorded with its reason, and counted in every table. shared: share the objects out over the processes of
    torch's process group; the first one writes and returns the summaries, in order of `protocols`, the others
    return none.

    Raises InputError for no objects, no predictors, or a prepared object without what a protocol needs, before
    anything is measured; and, once everything is written, when no predictor outside the groups of `best_of`
    solved any object.
    """
    out, groups = Path(out), dict(best_of or {})
    check_request(predictors, cases, protocols, groups)
    outcomes: list[Outcome] = []
    finished = _finished(out, key, predictors, protocols, mesh_format, pictures)
    share = shares.mine(cases) if shared else cases
    total = len(share) * len(predictors)

    def tell(done: int, what: str) -> None:
        if progress is not None:
            progress(done, total, what)

    for index, case in enumerate(share):
        before = index * len(predictors)
        gave = None if finished is None else finished.outcomes(case.id)
        if gave is not None:
            tell(before, f"{case.id}: measured before")
        else:
            gave = _on_object(
                case, predictors, protocols, out, mesh_format, pictures, appearance, device,
                lambda at, name, before=before, id=case.id: tell(before + at, f"{id}: {name}"),
            )  # fmt: skip
            if finished is not None:
                finished.keep(case.id, gave)
        outcomes += gave
    tell(total, "report")
    gathered = shares.gathered(outcomes) if shared else outcomes
    if gathered is None:
        return []
    summaries: list[Summary] = []
    for index, protocol in enumerate(protocols):
        found = {o.object: o for o in gathered if o.protocol == index}
        ordered = [found[case.id] for case in cases]
        rows = tuple(row for outcome in ordered for row in outcome.rows)
        summary = Summary(
            protocol=protocol,
            objects=tuple(case.id for case in cases),
            predictors=tuple(predictors),
            rows=rows,
            groups=groups,
            best={name: _best(rows, members, protocol) for name, members in groups.items()},
            truths={o.object: o.truth for o in ordered},
            thickness={o.object: o.thickness for o in ordered},
            provenance=dict(provenance or {}),
            not_computed=_not_computed(protocol, appearance, rows),
            notes=tuple(notes),
            prepared=any(case.measured_by_record for case in cases),
        )
        summaries.append(summary)
        folder = out if len(protocols) == 1 else out / folder_name(protocol.name)
        write_results(summary, folder)
        shown = [o.pictures for o in ordered if o.pictures is not None]
        write_report(summary, shown, folder / "report.html", title=title, details=details or {})
    if finished is not None:
        finished.drop([case.id for case in cases])
    _check_outcome(summaries, out)
    return summaries


def _finished(
    out: Path,
    key: str | None,
    predictors: Mapping[str, Predictor],
    protocols: Sequence[EvaluationProtocol],
    mesh_format: str | None,
    pictures: bool,
) -> Finished | None:
    """Where outcomes are kept, if they are; they are those of the same arguments."""
    if key is None:
        return None
    text = json.dumps([key, list(predictors), [p.hash for p in protocols], mesh_format, pictures])
    return Finished(out / "finished", hashlib.blake2b(text.encode(), digest_size=16).hexdigest())


def check_request(
    predictors: Mapping[str, Predictor],
    cases: Sequence[Case],
    protocols: Sequence[EvaluationProtocol],
    groups: Mapping[str, Sequence[str]],
) -> None:
    """Raises InputError for what can be told before anything is measured."""
    if not predictors:
        raise InputError("nothing to evaluate: no predictors")
    if not protocols:
        raise InputError("nothing to evaluate by: no protocols")
    if not cases:
        raise InputError("nothing to evaluate on: the dataset has no objects in this split")
    for what, names in (("objects", [c.id for c in cases]), ("protocols", [p.name for p in protocols])):
        if repeated := sorted({i for i in names if names.count(i) > 1}):
            raise InputError(f"{what} repeat: {repeated}")
    for name, members in groups.items():
        unknown = sorted(set(members) - set(predictors))
        if unknown or not members or (name in predictors and tuple(members) != (name,)):
            raise InputError(f"best_of group {name!r} needs predictors as members, not {list(members)}")
    for case in cases:
        check_id(case.id)
    folders = [folder_name(name) for name in predictors]
    if len(set(folders)) != len(folders):
        raise InputError(f"predictor names need different folder names: {list(predictors)}")
    for case in cases:
        if case.measured_by_record:
            truth = RecordTruth(case.views())
            for protocol in protocols:
                truth.check(protocol)


def _on_object(
    case: Case,
    predictors: Mapping[str, Predictor],
    protocols: Sequence[EvaluationProtocol],
    out: Path,
    mesh_format: str | None,
    pictures: bool,
    appearance: LoadedAppearance | None,
    device: torch.device | None,
    tell: Callable[[int, str], None],
) -> list[Outcome]:
    """One object: its truth is read once, every prediction made once, then measured by every protocol.

    tell: called with the number and the name of each predictor before it is asked.
    """
    tell(0, "truth")
    try:
        truth = case.truth
        thickness, facts = truth.thickness(), truth.facts()
        portrait = truth.portrait() if pictures else None
    except FAILURES as error:
        reason = f"the truth cannot be used: {_reason(error)}"
        log.warning("%s: %s", case.id, reason)
        case.close()
        lost = tuple(Row(case.id, name, {}, failure=reason) for name in predictors)
        return [
            Outcome(i, case.id, lost, {"failure": reason}, float("nan"), None) for i in range(len(protocols))
        ]
    rows: list[list[Row]] = [[] for _ in protocols]
    strips: list[dict[str, Strips]] = [{} for _ in protocols]
    inputs = None
    for at, (name, predictor) in enumerate(predictors.items()):
        tell(at, name)
        with peak_memory(device) as peak:
            prediction, failure, seconds = _predict(name, predictor, case)
        if prediction is None:
            for of_protocol in rows:
                of_protocol.append(Row(case.id, name, {}, failure=failure, seconds=seconds))
            continue
        note = prediction.note
        if mesh_format is not None and prediction.keep and not prediction.mesh.is_empty:
            path = out / "meshes" / folder_name(name) / f"{case.id}.{mesh_format}"
            note = "; ".join(x for x in (note, _written(prediction.mesh, path)) if x)
        inputs = prediction.inputs if inputs is None else inputs
        for index, protocol in enumerate(protocols):
            row, measured = _measure(name, prediction, truth, protocol, appearance, device)
            rows[index].append(
                replace(row, seconds=seconds, peak_mb=_larger(peak.mb, row.peak_mb), note=note)
            )
            if measured is not None and portrait is not None and index == 0:
                strips[index][name] = _strips(measured, truth, protocol, portrait)
    if inputs is None and case.record is not None and portrait is not None:
        source = case.record.source_indices()
        inputs = case.record.views(source).images if source else None
    outcomes: list[Outcome] = []
    for index in range(len(protocols)):
        shown = None
        if portrait is not None and index == 0:
            shown = ObjectPictures(
                id=case.id,
                inputs=None if inputs is None else strip(inputs, count=8),
                truth=portrait.colour,
                truth_shape=portrait.clay,
                predictions=strips[index],
            )
        outcomes.append(Outcome(index, case.id, tuple(rows[index]), facts, thickness, shown))
    case.close()
    return outcomes


def _predict(name: str, predictor: Predictor, case: Case) -> tuple[Prediction | None, str | None, float]:
    """The prediction or the reason why there is none, and the wall time."""
    start = time.perf_counter()
    try:
        prediction = predictor(case)
    except FAILURES as error:
        reason = _reason(error)
        log.warning("%s failed on %s: %s", name, case.id, reason)
        log.debug("traceback", exc_info=error)
        return None, reason, time.perf_counter() - start
    seconds = time.perf_counter() - start
    return prediction, None, seconds if prediction.seconds is None else prediction.seconds


def _written(mesh: Mesh, path: Path) -> str:
    """Write the mesh; an empty text, or why it could not be kept: no reason to lose what was measured."""
    try:
        write_mesh(mesh, path)
    except (OSError, InputError) as error:
        log.warning("%s: the mesh is not kept: %s", path, error)
        return f"mesh not kept: {error}"
    return ""


def _measure(
    name: str,
    prediction: Prediction,
    truth: Truth,
    protocol: EvaluationProtocol,
    appearance: LoadedAppearance | None,
    device: torch.device | None,
) -> tuple[Row, Measured | None]:
    start = time.perf_counter()
    try:
        with peak_memory() as peak:
            to_world = prediction.to_world(truth, protocol)
            measured = measure(
                prediction.mesh, to_world, truth, protocol, appearance=appearance, device=device or "cpu"
            )
            scores = measured.scores
            if prediction.images is not None and appearance is not None:
                scores |= picture_scores(prediction.images, truth, protocol, appearance, "_field")
    except FAILURES as error:
        reason = _reason(error)
        log.warning("%s failed on %s: %s", name, truth.id, reason)
        log.debug("traceback", exc_info=error)
        return Row(truth.id, name, {}, failure=reason, measure_seconds=time.perf_counter() - start), None
    seconds = time.perf_counter() - start
    every = [*scores.items(), *measured.unaligned.items()]
    bad = sorted({column for column, value in every if not np.isfinite(value)})
    if bad:
        reason = f"not finite: {', '.join(bad)}"
        return Row(truth.id, name, {}, failure=reason, measure_seconds=seconds), None
    row = Row(
        object=truth.id, predictor=name, scores=scores, unaligned=measured.unaligned,
        alignment=measured.alignment, facts=measured.facts, measure_seconds=seconds, peak_mb=peak.mb,
    )  # fmt: skip
    return row, measured


def _strips(measured: Measured, truth: Truth, protocol: EvaluationProtocol, portrait: Portrait) -> Strips:
    drawn = draw(measured.mesh, portrait.cameras)
    return Strips(
        colour=strip(drawn.rgb),
        clay=strip(clay(drawn.normal, drawn.mask)),
        error=strip(error_map(measured.mesh, _distances(measured, truth, protocol), portrait.cameras)),
    )


def _distances(measured: Measured, truth: Truth, protocol: EvaluationProtocol) -> NDArray[np.float64]:
    """(n,) of the vertices to the true points, as shares of the largest that is shown."""
    vertices = measured.mesh.vertices * protocol.scale
    return truth.cloud(protocol).neighbours().query(vertices)[0] / (ERROR_SHOWN * protocol.edge)


def _best(rows: Sequence[Row], members: Sequence[str], protocol: EvaluationProtocol) -> str:
    """The member with the best mean of the leading column; the earlier one of equals."""
    column = protocol.leading
    more = protocol.metrics[column]
    worst = 0.0 if more else float("inf")

    def mean(member: str) -> float:
        value = float(np.mean([row.scores.get(column, worst) for row in rows if row.predictor == member]))
        return value if more else -value

    return max(members, key=mean)


def _not_computed(
    protocol: EvaluationProtocol, appearance: LoadedAppearance | None, rows: Sequence[Row]
) -> dict[str, str]:
    """Picture columns that the protocol has and no row got, with the reason."""
    reasons: dict[str, str] = {}
    for column in protocol.pictures:
        if any(column in row.scores for row in rows):
            continue
        if appearance is None:
            reasons[column] = "pictures were not asked for"
        else:
            default = "no prediction has colours, or the truth no pictures at the protocol's cameras"
            reasons[column] = appearance.unavailable.get(column, default)
    return reasons


def _check_outcome(summaries: Sequence[Summary], out: Path) -> None:
    """A run in which the method itself never worked is no result."""
    baselines = {member for members in summaries[0].groups.values() for member in members}
    methods = [p for p in summaries[0].predictors if p not in baselines] or list(summaries[0].predictors)
    rows = [row for summary in summaries for row in summary.rows if row.predictor in methods]
    if all(row.failure is not None for row in rows):
        first = rows[0]
        raise InputError(
            f"{', '.join(methods)} failed on every object; the first, {first.object}: {first.failure} "
            f"(all reasons: {out})"
        )


def _reason(error: BaseException) -> str:
    kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
    return f"{kind}{error}"


def _larger(a: float | None, b: float | None) -> float | None:
    return max((x for x in (a, b) if x is not None), default=None)


def folder_name(name: str) -> str:
    """A folder name for a predictor or a protocol."""
    plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    return "_" * max(1, len(plain)) if set(plain) <= {"."} else plain
