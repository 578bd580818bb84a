"""A synthesiser over prepared objects: its pictures saved beside each other, as `inputs=predicted` reads them.

Every picture is written aside and renamed; one that is there is kept, so a run goes on where it was stopped, and
several jobs may share the objects. What is made depends on the object, the synthesiser and the seed alone.
"""

from __future__ import annotations

import json
import logging
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
from one2345.views import ObjectRecord, check_id, object_folder, read_object
from one2345.views.images import encode_png, straight_rgba
from one2345.views.synthesis import Synthesised, ViewRequest, ViewSynthesizer

from .progress import Progress

log = logging.getLogger(__name__)

RECORD = "prediction.json"
QUARANTINE = "quarantine"

Open = Callable[[ObjectRecord], ViewSynthesizer]
"""Gives the synthesiser for an object: the same for all, or one that knows the object."""


@dataclass(frozen=True)
class PredictSummary:
    """made, kept: objects predicted now, found complete. quarantined: id -> reason."""

    out: Path
    made: int
    kept: int
    quarantined: dict[str, str]

    def __str__(self) -> str:
        head = f"{self.out}: {self.made} predicted, {self.kept} already there, {len(self.quarantined)} quarantined"
        return "\n".join([head, *(f"  {id}: {why}" for id, why in list(self.quarantined.items())[:10])])


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
    progress: bool = True,
) -> PredictSummary:
    """Predict the views of the objects `ids` of a prepared `root` into OUT/<id>/<view name>.png (RGBA).

    OUT/<id>/prediction.json says how, and comes last: an object that has it is complete. Objects that fail are noted
    in OUT/quarantine/<id>.json, and tried again by the next run. Raises InputError where an object that is there was
    predicted otherwise, or when every object fails.
    """
    settings = settings if settings is not None else PredictSettings()
    root, out = Path(root), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    made, kept, failed = 0, 0, dict[str, str]()
    with Progress("predicting", total=len(ids), enabled=progress) as bar:
        for id in map(check_id, ids):
            note = out / QUARANTINE / f"{id}.json"
            try:
                record = read_object(object_folder(root, id))
                if _predict(open_synthesizer(record), record, out / id, settings):
                    made += 1
                else:
                    kept += 1
                note.unlink(missing_ok=True)
            except OtherPrediction:
                raise
            except (One2345Error, ValueError, RuntimeError) as error:
                failed[id] = (
                    str(error) if isinstance(error, One2345Error) else f"{type(error).__name__}: {error}"
                )
                write_atomic(note, json.dumps({"id": id, "reason": failed[id]}) + "\n")
                log.info("quarantined %s: %s", id, failed[id])
            bar.advance(f"{len(failed)} quarantined" if failed else "")
    if failed and len(failed) == len(ids):
        id, reason = next(iter(failed.items()))
        raise InputError(f"none of {len(ids)} objects could be predicted; the first, {id}: {reason}")
    return PredictSummary(out, made, kept, failed)


class OtherPrediction(InputError):
    """What is there was predicted in another way."""


def _predict(
    synthesizer: ViewSynthesizer, record: ObjectRecord, folder: Path, settings: PredictSettings
) -> bool:
    """Whether something was made."""
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
    provenance = json.loads(json.dumps(provenance, sort_keys=True, default=str))
    file, started = folder / RECORD, folder / ".begun.json"
    _refuse_other(file if file.is_file() else started, provenance)
    wanted = {r.name: folder / f"{r.name}.png" for r in requests}
    if file.is_file() and all(p.is_file() for p in wanted.values()):
        return False
    write_atomic(started, json.dumps(provenance, indent=1, sort_keys=True) + "\n")
    remove_abandoned(folder)
    seed = key(settings.seed, record.id)
    for stage in (False, True):
        missing = [
            (r, s)
            for r, s in zip(requests, sources, strict=True)
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
    write_atomic(file, json.dumps(provenance, indent=1, sort_keys=True) + "\n")
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
