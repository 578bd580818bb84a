"""A synthesiser over prepared objects: its pictures saved beside each other, as `inputs=predicted` reads them.

Every picture is written aside and renamed; one that is there is kept, so a run goes on where it was stopped, and
several jobs may share the objects. What is made depends on the object, the synthesiser and the seed alone.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from one2345.errors import InputError, One2345Error
from one2345.files import remove_abandoned, write_atomic
from one2345.geometry import spherical
from one2345.seeding import key
from one2345.terminal import Count
from one2345.views import ObjectRecord, check_id, object_folder, read_object
from one2345.views.images import encode_png, straight_rgba
from one2345.views.synthesis import Synthesised, ViewRequest, ViewSynthesizer

from .claims import Claims, reason_of, reconcile
from .ledger import Content, Ledger, content_of
from .predict_published import is_missing, publish

log = logging.getLogger(__name__)

RECORD = "prediction.json"
STAGE = "predict"

Open = Callable[[ObjectRecord], ViewSynthesizer]
"""Gives the synthesiser for an object: the same for all, or one that knows the object."""


@dataclass(frozen=True)
class PredictSummary:
    """made, kept: objects predicted now, found complete. failed: id -> reason."""

    out: Path
    made: int
    kept: int
    failed: dict[str, str]

    def __str__(self) -> str:
        head = f"{self.out}: {self.made} predicted, {self.kept} already there, {len(self.failed)} failed"
        return "\n".join([head, *(f"  {id}: {why}" for id, why in list(self.failed.items())[:10])])


@dataclass(frozen=True, kw_only=True)
class PredictSettings:
    """seed: of the pictures. chain: near views from the predicted stage-1 view; else from the true one, as in the
    published training set. stage1: predict the stage-1 views too (chain needs and makes them anyway)."""

    seed: int = 0
    chain: bool = False
    stage1: bool = False


def predict_objects(
    open_synthesizer: Open,
    *,
    root: Path | str,
    ids: Sequence[str],
    out: Path | str,
    settings: PredictSettings | None = None,
    published: bool = False,
    retry: bool = True,
    check: bool = True,
    progress: bool = True,
) -> PredictSummary:
    """Predict the views of the objects `ids` of a prepared `root` into OUT/<id>/<view name>.png (RGBA).

    OUT/<id>/prediction.json says how, and comes last: an object that has it is complete. Objects that fail are in
    the manifest of OUT with the reason, and tried again by the next run if `retry`. published: each also in the
    layout of `predict_published`. Several runs may share the objects: each is claimed by one of them. check: look
    at all that the manifest says is done. Raises InputError where an object that is there was predicted otherwise,
    or when every object fails.
    """
    settings = settings if settings is not None else PredictSettings()
    root, out, ids = Path(root), Path(out), [check_id(id) for id in ids]
    out.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(out)

    def complete(id: str) -> bool:
        try:
            record = read_object(object_folder(root, id))
            there = _Plan.of(open_synthesizer(record), record, settings).complete(out / id)
            return there and not (published and is_missing(out, id))
        except OtherPrediction:
            raise
        except (One2345Error, ValueError, RuntimeError):
            return False  # what is wrong shows when it is predicted

    reconcile(ledger, STAGE, ids, complete, lambda id: _content(root, out, id), check=check)
    done = {row.id for row in ledger.rows(STAGE, ids=ids, states=("done",))}
    waiting = [id for id in ids if id not in done]
    claims = Claims(ledger, STAGE, waiting, retry=retry)
    made, bad = 0, 0
    with Count("predicting", total=len(waiting), enabled=progress) as bar, ledger.holding(STAGE):
        while claims.left:
            while (id := claims.take()) is not None:
                started = time.monotonic()
                try:
                    record = read_object(object_folder(root, id))
                    new = _predict(open_synthesizer(record), record, out / id, settings)
                    if published and (new or is_missing(out, id)):
                        publish(record, out / id, out)
                    content = _content(root, out, id, seconds=time.monotonic() - started if new else None)
                    ledger.finish(STAGE, id, content, made=new)
                    made += new
                except OtherPrediction:
                    raise
                except (One2345Error, ValueError, RuntimeError) as error:
                    ledger.fail(STAGE, id, reason_of(error), seconds=time.monotonic() - started)
                    log.info("failed %s: %s", id, reason_of(error))
                    bad += 1
                bar.advance(f"{bad} failed" if bad else "")
            claims.rest()
    failed = {row.id: row.reason or "" for row in ledger.rows(STAGE, ids=ids, states=("failed",))}
    if failed and len(failed) == len(ids):
        id, reason = next(iter(failed.items()))
        raise InputError(f"none of {len(ids)} objects could be predicted; the first, {id}: {reason}")
    return PredictSummary(out, made, len(ids) - made - len(failed), failed)


def _content(root: Path, out: Path, id: str, *, seconds: float | None = None) -> Content:
    licence = read_object(object_folder(root, id)).provenance.get("licence")
    return content_of(out / id, licence=None if licence is None else str(licence), seconds=seconds)


class OtherPrediction(InputError):
    """What is there was predicted in another way."""


@dataclass(frozen=True)
class _Plan:
    """What is to be made of an object, and what its record will say."""

    requests: list[ViewRequest]
    sources: list[str]
    provenance: dict[str, Any]

    @staticmethod
    def of(synthesizer: ViewSynthesizer, record: ObjectRecord, settings: PredictSettings) -> _Plan:
        requests, sources = plan_requests(record, settings)
        if not requests:
            raise InputError(
                f"{record.folder}: has no near views to predict; predict.stage1=true predicts stage 1"
            )
        provenance = {
            "synthesiser": dict(synthesizer.describe()),
            "seed": settings.seed,
            "chain": settings.chain,
            "recipe": record.recipe,
            "views": {
                r.name: {"source": s, "source_is": "predicted" if settings.chain and r.parent else "true"}
                for r, s in zip(requests, sources, strict=True)
            },
        }
        return _Plan(requests, sources, json.loads(json.dumps(provenance, sort_keys=True, default=str)))

    def files(self, folder: Path) -> dict[str, Path]:
        return {r.name: folder / f"{r.name}.png" for r in self.requests}

    def complete(self, folder: Path) -> bool:
        """Raises OtherPrediction where what is there, or was begun, was to be made in another way."""
        file, started = folder / RECORD, folder / ".begun.json"
        _refuse_other(file if file.is_file() else started, self.provenance)
        return file.is_file() and all(p.is_file() for p in self.files(folder).values())


def _predict(
    synthesizer: ViewSynthesizer, record: ObjectRecord, folder: Path, settings: PredictSettings
) -> bool:
    """Whether something was made."""
    plan = _Plan.of(synthesizer, record, settings)
    if plan.complete(folder):
        return False
    file, started, wanted = folder / RECORD, folder / ".begun.json", plan.files(folder)
    write_atomic(started, json.dumps(plan.provenance, indent=1, sort_keys=True) + "\n")
    remove_abandoned(folder)
    seed = key(settings.seed, record.id)
    for stage in (False, True):
        missing = [
            (r, s)
            for r, s in zip(plan.requests, plan.sources, strict=True)
            if (r.parent is not None) == stage and not wanted[r.name].is_file()
        ]
        if not missing:
            continue
        chained = settings.chain and stage
        pictures = torch.stack(
            [
                _saved(wanted[s], synthesizer.size) if chained else _true(record, s, synthesizer.size)
                for _, s in missing
            ]
        )
        seen = synthesizer([r for r, _ in missing], pictures, seed=seed)
        _write(seen, [wanted[r.name] for r, _ in missing])
    write_atomic(file, json.dumps(plan.provenance, indent=1, sort_keys=True) + "\n")
    started.unlink(missing_ok=True)
    return True


def plan_requests(record: ObjectRecord, settings: PredictSettings) -> tuple[list[ViewRequest], list[str]]:
    """What is predicted, and from which view each: stage 1 from the first view, near views from their parents."""
    azimuth, elevation, _ = (x.double() for x in spherical(record.cameras.c2w))
    stage1 = record.indices("stage1")
    if not stage1:
        raise InputError(f"{record.folder}: has no stage-1 views to predict from")
    first = stage1[0]

    def between(a: int, b: int) -> tuple[float, float]:
        turn = float((azimuth[b] - azimuth[a] + 180.0) % 360.0 - 180.0)
        return round(turn, 4), round(float(elevation[b] - elevation[a]), 4)

    requests, sources = [], []
    for view in stage1 if settings.stage1 or settings.chain else []:
        turn, rise = between(first, view)
        requests.append(ViewRequest(name=record.names[view], parent=None, azimuth=turn, elevation=rise))
        sources.append(record.names[first])
    for view in record.indices("near"):
        name = record.parents[view]
        if name is None:
            continue
        parent = record.index(name)
        (turn, rise), (to_turn, to_rise) = between(parent, view), between(first, parent)
        requests.append(
            ViewRequest(
                name=record.names[view],
                parent=name,
                azimuth=turn,
                elevation=rise,
                parent_azimuth=to_turn,
                parent_elevation=to_rise,
            )
        )
        sources.append(name)
    return requests, sources


def _refuse_other(file: Path, provenance: Mapping[str, Any]) -> None:
    if not file.is_file():
        return
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise OtherPrediction(
            f"{file}: damaged ({error}); delete the object's folder to predict it again"
        ) from error
    different = sorted(k for k in stored.keys() | provenance.keys() if stored.get(k) != provenance.get(k))
    if different:
        raise OtherPrediction(
            f"{file.parent}: was predicted otherwise ({', '.join(different)} differ); choose another out folder"
        )


def _true(record: ObjectRecord, name: str, size: int) -> Tensor:
    return _resized(record.views([name]).images[0], size)


def _saved(file: Path, size: int) -> Tensor:
    """A predicted picture on white, from its file, so that a run that goes on sees what one without a stop sees."""
    from one2345.views.images import composite, read_png

    pixels = torch.from_numpy(read_png(file, mode="RGBA", size=(size, size)))
    return composite(pixels)[0]


def _resized(image: Tensor, size: int) -> Tensor:
    if image.shape[-2:] == (size, size):
        return image
    if image.shape[-1] != image.shape[-2]:
        raise InputError(
            f"views of {image.shape[-1]}x{image.shape[-2]} px are not square, as synthesisers need them"
        )
    return interpolate(image[None], (size, size), mode="bilinear", antialias=True, align_corners=False)[
        0
    ].clamp(0, 1)


def _write(seen: Synthesised, files: list[Path]) -> None:
    if not (seen.images.isfinite().all() and seen.masks.isfinite().all()):
        raise InputError("the synthesiser made pictures with NaN or infinite values")
    for pixels, file in zip(straight_rgba(seen.images.cpu(), seen.masks.cpu()), files, strict=True):
        write_atomic(file, encode_png(pixels))
