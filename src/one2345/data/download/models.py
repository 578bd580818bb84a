"""Models of a collection into a folder, one folder each: what is there whole and unchanged is kept."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from one2345.errors import InputError
from one2345.files import aside_name, is_abandoned
from one2345.views import check_id

from ..object_list import ObjectList
from ..sources.folder import few, sha256_of
from ..sources.layouts import model_in
from ..sources.manifest import MANIFEST
from .archive import unpack
from .checksums import CHECKSUMS, Sums, read_checksums, write_checksums
from .collection import GSO, Collection
from .fetch import Patience, Stopped, fetch
from .parallel import alone, in_parallel

log = logging.getLogger(__name__)

WORK = ".download"
WRITE_EVERY = 5.0  # seconds


@dataclass(frozen=True)
class DownloadSummary:
    """made, kept: what was downloaded now, found whole. failed: id -> reason. unchecked: models of which the
    list has no checksum that applies to what was downloaded. what: the word for them."""

    root: Path
    made: int
    kept: int
    failed: dict[str, str] = field(default_factory=dict)
    unchecked: tuple[str, ...] = ()
    what: str = "models"

    def __str__(self) -> str:
        line = f"{self.root}: {self.made} {self.what} downloaded, {self.kept} already there"
        if self.failed:
            id, reason = next(iter(self.failed.items()))
            line += f", {few(list(self.failed))} failed; {id}: {reason}"
        return line


def download_models(
    root: Path | str,
    *,
    collection: Collection = GSO,
    ids: Sequence[str] | None = None,
    list: ObjectList | None = None,
    workers: int = 4,
    patience: Patience | None = None,
    progress: bool = True,
) -> DownloadSummary:
    """Download models (those of `ids`, else of `list`, else all of the collection) into root/<id>/.

    A model is unpacked aside and renamed when whole; what broke off is resumed by the next call. The
    checksums of `list` are compared where they are of the archive or of the mesh file. root/checksums.csv
    records the sha256 of every file the first time; from then on it is compared, in folders that are kept
    and in models that are downloaded again.

    Raises InputError when the collection can't be listed, the disk is full, or many downloads in a row fail;
    models that fail one by one are in `failed`.
    """
    root = Path(root).expanduser()
    if (root / MANIFEST).is_file():
        raise InputError(
            f"{root}: has a {MANIFEST}, so it is a collection of another kind; choose another folder"
        )
    with alone(root / WORK):
        _remove_unpacked(root / WORK)
        if ids is None:
            ids = collection.ids(patience=patience) if list is None else list.ids()
        run = _Run(root, collection, list, patience or Patience(), read_checksums(root / CHECKSUMS))
        run.work_off([check_id(id) for id in dict.fromkeys(ids)], workers, progress)
    made = sum(had.made for had in run.had.values())
    unchecked = () if list is None else tuple(sorted(id for id, had in run.had.items() if not had.compared))
    if unchecked:
        log.info(
            "%s: the list has no checksum for what is downloaded of %s", list and list.name, few(unchecked)
        )
    return DownloadSummary(root, made, len(run.had) - made, dict(sorted(run.failed.items())), unchecked)


@dataclass(frozen=True)
class _Had:
    """A model that is in its folder now. sums: file -> sha256. made: just downloaded. compared: with the list."""

    sums: Sums
    made: bool
    compared: bool


@dataclass
class _Run:
    """One call of `download_models`: what it knows, and what became of the models so far."""

    root: Path
    collection: Collection
    list: ObjectList | None
    patience: Patience
    recorded: dict[str, Sums]
    had: dict[str, _Had] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def work_off(self, ids: Sequence[str], workers: int, progress: bool) -> None:
        in_parallel(
            ids,
            self._model,
            root=self.root,
            what="models",
            workers=workers,
            progress=progress,
            done=self._done,
            failed=lambda id, error: self.failed.update({id: str(error)}),
            every=lambda: write_checksums(self.root / CHECKSUMS, self.recorded),
            seconds=WRITE_EVERY,
        )

    def _done(self, id: str, had: _Had) -> None:
        self.had[id] = had
        self.recorded[id] = had.sums

    def _model(self, id: str, stop: threading.Event) -> _Had:
        """Have one model in its folder."""
        if stop.is_set():
            raise Stopped
        folder = self.root / id
        if folder.exists():
            sums = self._sums(folder, id)
            return _Had(sums, made=False, compared=self._compare(folder, id, archive=None))
        part, aside = self.root / WORK / f"{id}.zip.part", self.root / WORK / aside_name()
        new = _Had({}, made=True, compared=False)

        def check(archive: Path) -> None:
            nonlocal new
            shutil.rmtree(aside, ignore_errors=True)
            unpack(archive, aside / id, name=id)
            new = _Had(self._sums(aside / id, id), made=True, compared=self._compare(aside / id, id, archive))

        try:
            fetch(self.collection.model_url(id), part, patience=self.patience, check=check, stop=stop)
            os.replace(aside / id, folder)
            part.unlink()
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return new

    def _sums(self, folder: Path, id: str) -> Sums:
        """The checksums of a model's files, which must be the recorded ones once there are any."""
        recorded = self.recorded.get(id)
        if recorded is None:
            paths = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.parent.name != "thumbnails")
            return {path.relative_to(folder).as_posix(): sha256_of(path) for path in paths}
        for name, expected in recorded.items():
            found = sha256_of(folder / name) if (folder / name).is_file() else "missing"
            if found != expected:
                raise InputError(
                    f"{id}/{name}: {CHECKSUMS} has recorded sha256 {expected}, found {found}; delete the folder to "
                    f"download it again, or the lines of {id} in {CHECKSUMS} to accept what there is now"
                )
        return recorded

    def _compare(self, folder: Path, id: str, archive: Path | None) -> bool:
        """Refuse a model that isn't the list's; whether the list has a checksum that applies."""
        mesh = model_in(folder)
        if mesh is None:
            raise InputError(f"{folder}: holds no model; delete it to download it again")
        listed = self.list[id] if self.list is not None and id in self.list else None
        if listed is None or not listed.sha256:
            return False
        of_archive = listed.format == "zip"
        file = archive if of_archive else mesh.file
        if file is None or not (of_archive or listed.applies_to(file.suffix)):
            return False
        if (found := sha256_of(file)) != listed.sha256:
            raise InputError(
                f"{file.name} of {id!r} has sha256 {found}, the list {self.list.name if self.list else ''} "
                f"expects {listed.sha256}"
            )
        return True


def _remove_unpacked(work: Path) -> None:
    """Remove what dead processes left unpacked in the folder of unfinished work."""
    for path in work.iterdir():
        if path.is_dir() and is_abandoned(path.name):
            shutil.rmtree(path, ignore_errors=True)
