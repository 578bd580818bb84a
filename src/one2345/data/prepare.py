"""Turn a source into a folder of prepared objects: in parallel, resumable, atomic per object.

The result depends on source and recipe alone: not on the number of workers, their order, or how often
the run was interrupted.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from one2345.errors import InputError, One2345Error
from one2345.files import write_atomic
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

from .observe import observe
from .progress import Progress
from .recipe import Recipe, recipe_hash
from .sources import Source

log = logging.getLogger(__name__)

QUARANTINE = "quarantine.jsonl"

# What became of an object, or else the reason (str) why it can't be prepared.
_MADE, _KEPT = True, False
_Outcome = bool | str

_FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENOMEM}


@dataclass(frozen=True)
class PrepareSummary:
    """What a run did. made, kept: objects written now, found complete. quarantined: id -> reason."""

    out: Path
    made: int
    kept: int
    quarantined: dict[str, str]
    seconds: float

    def __str__(self) -> str:
        lines = [
            f"{self.out}: {self.made} prepared, {self.kept} already there, "
            f"{len(self.quarantined)} quarantined, in {self.seconds:.0f} s"
        ]
        lines += [f"  {id}: {reason}" for id, reason in list(self.quarantined.items())[:10]]
        if len(self.quarantined) > 10:
            lines.append(f"  ... all in {self.out / QUARANTINE}")
        return "\n".join(lines)


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
    progress: bool = True,
) -> PrepareSummary:
    """Prepare the objects of `source` (all, or those of `ids`) into the folder `out`.

    Objects that are there, complete and made from the same file for the same split by the same recipe, are
    kept. Those that
    fail are listed with the reason in out/quarantine.jsonl, and tried again by the next run. workers:
    processes; None takes one per core, 1 works in this process. Several runs may work on one folder at once:
    what another has finished is kept.

    Raises InputError when `out` was prepared by another recipe or source, or when every object fails.
    """
    started = time.monotonic()
    out = Path(out)
    description = dataset_description(source, recipe)
    digest = recipe_hash(description)
    _open_dataset(out, description, digest)
    wanted = [check_id(id) for id in (source.ids() if ids is None else ids)]
    missing = [id for id in wanted if not _complete(out, id, source, digest)]
    made, failed = 0, dict[str, str]()
    count = max(1, min(workers or os.cpu_count() or 1, len(missing)))
    with Progress("preparing", total=len(missing), enabled=progress) as bar:
        for id, outcome in _run(source, recipe, out, digest, missing, count):
            made += outcome is _MADE
            if isinstance(outcome, str):
                failed[id] = outcome
                with (out / QUARANTINE).open("a", encoding="utf-8") as file:
                    file.write(_quarantine_line(id, outcome))
                log.info("quarantined %s: %s", id, outcome)
            bar.advance(f"{len(failed)} quarantined" if failed else "")
    _write_quarantine(out, wanted, failed)
    remove_stale(out)
    if failed and made == 0 and len(failed) == len(wanted):
        id, reason = next(iter(failed.items()))
        raise InputError(f"none of {len(failed)} objects could be prepared; the first, {id}: {reason}")
    kept = len(wanted) - made - len(failed)
    return PrepareSummary(out, made, kept, failed, time.monotonic() - started)


def read_quarantine(out: Path) -> dict[str, str]:
    """id -> reason of the objects that could not be prepared."""
    file = out / QUARANTINE
    if not file.is_file():
        return {}
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # the last line of a run that was killed while it wrote; the object is tried again
    return {row["id"]: row["reason"] for row in rows}


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
    return path.name not in (QUARANTINE, ".partial") and path.suffix != ".tmp"


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


def _run(
    source: Source, recipe: Recipe, out: Path, digest: str, ids: list[str], workers: int
) -> Iterator[tuple[str, _Outcome]]:
    """(id, outcome) in order of completion."""
    job = (source, recipe, out, digest)
    if workers == 1:
        for id in ids:
            yield id, _prepare_one(job, id)
        return
    queue, suspects = list(reversed(ids)), []
    while queue:
        suspects += yield from _drain(job, queue, workers, in_flight=2 * workers)
    # A worker that dies takes its neighbours' jobs with it: the suspects are tried again one at a time.
    suspects.reverse()
    while suspects:
        for id in (yield from _drain(job, suspects, 1, in_flight=1)):
            yield id, "the worker process died (crash in a native library, or out of memory)"


def _drain(
    job: tuple[Source, Recipe, Path, str], queue: list[str], workers: int, *, in_flight: int
) -> Generator[tuple[str, _Outcome], None, list[str]]:
    """Work `queue` off from its end in a pool of processes; returns the jobs in flight when one died."""
    running: dict[Future[_Outcome], str] = {}
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)
    try:
        while queue or running:
            while queue and len(running) < in_flight:
                future = pool.submit(_prepare_one, job, queue[-1])
                running[future] = queue.pop()
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            lost = [future for future in done if isinstance(future.exception(), BrokenProcessPool)]
            for future in done.difference(lost):
                yield running.pop(future), future.result()
            if lost:
                return list(running.values())
    except BrokenProcessPool:
        return list(running.values())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return []


def _start_worker() -> None:
    """One thread each; Ctrl-C is the parent's to handle, and a worker without parent ends."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _prepare_one(job: tuple[Source, Recipe, Path, str], id: str) -> _Outcome:
    """Prepare one object, unless another run on the same folder has done so. A full disk ends the whole run."""
    source, recipe, out, digest = job
    try:
        if _complete(out, id, source, digest):
            return _KEPT
        loaded = source.load(id, shading=recipe.shading)
        split = source.split(id)
        seen = observe(loaded.object, recipe=recipe, split=split, exact=loaded.exact)
        if _complete(out, id, source, digest):
            return _KEPT
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
    except ImportError:
        raise
    except OSError as error:
        if error.errno in _FATAL:
            raise
        return _reason(error)
    except Exception as error:  # noqa: BLE001 - one bad object among thousands must not end the run
        return _reason(error)
    return _MADE


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, One2345Error) else f"{type(error).__name__}: {error}"


def _quarantine_line(id: str, reason: str) -> str:
    return json.dumps({"id": id, "reason": reason}, ensure_ascii=False, sort_keys=True) + "\n"


def _write_quarantine(out: Path, wanted: Sequence[str], failed: dict[str, str]) -> None:
    """Rewrite the list in order of id: this run's failures, and earlier ones of objects it didn't touch."""
    tried = set(wanted)
    rows = {id: reason for id, reason in read_quarantine(out).items() if id not in tried} | failed
    file = out / QUARANTINE
    if not rows:
        file.unlink(missing_ok=True)
        return
    write_atomic(file, "".join(_quarantine_line(id, rows[id]) for id in sorted(rows)))
