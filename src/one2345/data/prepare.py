"""Turn a source into a folder of prepared objects: in parallel, resumable, atomic per object.

The result depends on source and recipe alone: not on the number of workers or runs, their order, or how often
one was interrupted. What became of each object stands in the folder's manifest (see `ledger`).
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from one2345.errors import InputError, One2345Error
from one2345.terminal import Count
from one2345.views import (
    SCHEMA_NAME,
    SCHEMA_VERSION,
    check_id,
    object_folder,
    read_dataset,
    read_object,
    remove_stale,
    write_json,
    write_object,
)

from .claims import Claims, reason_of, reconcile
from .ledger import MANIFEST, Content, Ledger, content_of
from .observe import observe
from .recipe import Recipe, recipe_hash
from .sources import Source
from .sources.base import Rejected, filters_of
from .workers import Died, Limits, WorkerPool

log = logging.getLogger(__name__)

STAGE = "render"

_FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENOMEM}


@dataclass(frozen=True)
class PrepareSummary:
    """What a run did. made, kept: objects written now, found complete. failed: id -> reason, of those that can't be
    prepared, those that a filter rejected among them."""

    out: Path
    made: int
    kept: int
    failed: dict[str, str]
    seconds: float

    def __str__(self) -> str:
        lines = [
            f"{self.out}: {self.made} prepared, {self.kept} already there, "
            f"{len(self.failed)} failed or rejected, in {self.seconds:.0f} s"
        ]
        lines += [f"  {id}: {reason}" for id, reason in list(self.failed.items())[:10]]
        if len(self.failed) > 10:
            lines.append(f"  ... all in {self.out / MANIFEST}; `prepare.py stage=status` sums them up")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Made:
    """The object is there; made: by this call, else it was there already."""

    content: Content
    made: bool


@dataclass(frozen=True)
class _Failed:
    reason: str
    rejected: bool
    seconds: float


_Outcome = _Made | _Failed


def dataset_description(source: Source, recipe: Recipe) -> dict[str, Any]:
    """Plain values that decide the bytes of every object; counts and paths are left out."""
    return {"source": source.describe(), "recipe": recipe.describe()}


def prepare_objects(
    source: Source,
    *,
    out: Path | str,
    recipe: Recipe,
    workers: int | None = None,
    ids: Sequence[str] | None = None,
    limits: Limits | None = None,
    retry: bool = True,
    check: bool = True,
    progress: bool = True,
) -> PrepareSummary:
    """Prepare the objects of `source` (all, or those of `ids`) into the folder `out`.

    Objects that are there, complete and made from the same file for the same split by the same recipe, are kept.
    Those that fail are in the manifest with the reason; the next run tries them again if `retry`. Those that the
    source rejects are tried again when its filters are others.
    workers: processes; None takes one per core, 1 works in this process unless there are limits. limits: of time and
    memory, per object. check: look whether all objects are there that the manifest says are; many tasks that start at
    once can spare themselves that.
    Several runs may work on one folder at once, on any number of machines: each object is claimed by one of them, and
    a run ends when no object is left that another might still leave to it.

    Raises InputError when `out` was prepared by another recipe or source, or when every object fails.
    """
    started, limits = time.monotonic(), limits if limits is not None else Limits()
    out = Path(out)
    description = dataset_description(source, recipe)
    digest = recipe_hash(description)
    _open_dataset(out, description, digest)
    wanted = [check_id(id) for id in (source.ids() if ids is None else ids)]
    ledger = Ledger(out)
    reconcile(
        ledger,
        STAGE,
        wanted,
        lambda id: _complete(out, id, source, digest),
        lambda id: _content(out, id),
        check=check,
    )
    policy = recipe_hash({"recipe": digest, "filters": filters_of(source)})
    done = {row.id for row in ledger.rows(STAGE, ids=wanted, states=("done",))}
    missing = [id for id in wanted if id not in done]
    count = max(1, min(workers or os.cpu_count() or 1, len(missing)))
    claims = Claims(ledger, STAGE, missing, batch=2 * count if count > 1 else 1, retry=retry, policy=policy)
    job = partial(_prepare_one, source, recipe, out, digest)
    made, failed = 0, 0
    with Count("preparing", total=len(missing), enabled=progress) as bar:
        for id, outcome in _run(job, ledger, claims, count, limits):
            if isinstance(outcome, _Made):
                ledger.finish(STAGE, id, outcome.content, made=outcome.made)
                made += outcome.made
            else:
                failed += 1
                log.info("%s %s: %s", "rejected" if outcome.rejected else "failed", id, outcome.reason)
                if outcome.rejected:
                    ledger.reject(STAGE, id, outcome.reason, policy=policy)
                else:
                    ledger.fail(STAGE, id, outcome.reason, seconds=outcome.seconds)
            bar.advance(f"{failed} failed" if failed else "")
    remove_stale(out)
    bad = ledger.rows(STAGE, ids=wanted, states=("failed", "rejected"))
    reasons = {row.id: row.reason or "" for row in bad}
    if reasons and made == 0 and len(reasons) == len(wanted):
        id, reason = next(iter(reasons.items()))
        raise InputError(f"none of {len(reasons)} objects could be prepared; the first, {id}: {reason}")
    return PrepareSummary(out, made, len(wanted) - made - len(reasons), reasons, time.monotonic() - started)


def _open_dataset(out: Path, description: dict[str, Any], digest: str) -> None:
    """Create out/dataset.json unless it is there, and check that it says the same."""
    file = out / "dataset.json"
    if not file.is_file():
        if out.exists() and not out.is_dir():
            raise InputError(f"out={out}: is a file, not a folder")
        # A second look: another run may have begun to fill the folder meanwhile.
        if out.is_dir() and any(_is_foreign(p) for p in out.iterdir()) and not file.is_file():
            raise InputError(
                f"out={out}: is not empty and holds no dataset.json; choose an empty or a new folder"
            )
        out.mkdir(parents=True, exist_ok=True)
        write_json(
            file,
            {
                "schema": SCHEMA_NAME,
                "version": SCHEMA_VERSION,
                "recipe_hash": digest,
                "description": description,
            },
        )
    found = read_dataset(out)
    if found.get("recipe_hash") != digest:
        key, old, new = _difference(found.get("description", {}), description)
        raise InputError(
            f"{out}: was prepared by another recipe ({key} was {old!r}, now {new!r}); choose another out "
            "folder, delete this one, or use its recipe"
        )


def _is_foreign(path: Path) -> bool:
    """Whether `path` is something that no run of preparation leaves in its folder."""
    return not path.name.startswith(MANIFEST) and path.name != ".partial" and path.suffix != ".tmp"


def _difference(old: Any, new: Any, key: str = "") -> tuple[str, Any, Any]:
    """The first key, in order, at which two descriptions differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                return _difference(old.get(name), new.get(name), f"{key}.{name}" if key else name)
    return key, old, new


def _complete(out: Path, id: str, source: Source, digest: str) -> bool:
    """Whether the object is there as this recipe and the source's present file and split would make it."""
    folder = object_folder(out, id)
    if not (folder / "object.json").is_file():
        return False
    try:
        record = read_object(folder)
        made_from = record.provenance.get("fingerprint", record.provenance.get("sha256"))
        return (record.recipe, made_from, record.split) == (digest, source.fingerprint(id), source.split(id))
    except One2345Error:
        return False


def _content(out: Path, id: str, *, seconds: float | None = None) -> Content:
    folder = object_folder(out, id)
    licence = read_object(folder).provenance.get("licence")
    return content_of(folder, licence=None if licence is None else str(licence), seconds=seconds)


def _run(
    job: Callable[[str], _Outcome], ledger: Ledger, claims: Claims, workers: int, limits: Limits
) -> Iterator[tuple[str, _Outcome]]:
    """(id, outcome) in order of completion, until nothing is left that this or another run is at."""
    with ledger.holding(STAGE):
        if workers == 1 and limits.none:
            while claims.left:
                while (id := claims.take()) is not None:
                    yield id, job(id)
                claims.rest()
            return
        with WorkerPool(job, workers=workers, limits=limits) as pool:
            while claims.left:
                for id, outcome in pool.run(claims.take):
                    if isinstance(outcome, Died):
                        yield id, _Failed(outcome.reason, False, outcome.seconds)
                    else:
                        yield id, outcome
                claims.rest()


def _prepare_one(source: Source, recipe: Recipe, out: Path, digest: str, id: str) -> _Outcome:
    """Prepare one object, unless another run on the same folder has done so. A full disk ends the whole run."""
    started = time.monotonic()
    try:
        if _complete(out, id, source, digest):
            return _Made(_content(out, id), made=False)
        loaded = source.load(id, shading=recipe.shading)
        split = source.split(id)
        seen = observe(loaded, recipe=recipe, split=split)
        if _complete(out, id, source, digest):
            return _Made(_content(out, id), made=False)
        write_object(
            out,
            id,
            views=seen.views,
            samples=seen.samples,
            sources=tuple(recipe.view_plan.sources),
            provenance={**loaded.provenance, "elevation": seen.elevation, "seed": recipe.seed},
            flags=loaded.flags,
            split=split,
            recipe=digest,
        )
        return _Made(_content(out, id, seconds=time.monotonic() - started), made=True)
    except ImportError:
        raise
    except OSError as error:
        if error.errno in _FATAL:
            raise
        return _Failed(reason_of(error), False, time.monotonic() - started)
    except Exception as error:  # noqa: BLE001 - one bad object among thousands must not end the run
        return _Failed(reason_of(error), isinstance(error, Rejected), time.monotonic() - started)
