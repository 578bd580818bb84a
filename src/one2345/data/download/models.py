"""Models of a collection into a folder, one folder each: what is there whole and unchanged is kept."""

from __future__ import annotations

import csv
import errno
import io
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from one2345.errors import InputError
from one2345.files import aside_name, is_abandoned, write_atomic
from one2345.views import check_id

from ..object_list import ObjectList
from ..progress import Progress
from ..sources.folder import few, sha256_of
from ..sources.layouts import model_in
from ..sources.manifest import MANIFEST
from .archive import unpack
from .collection import GSO, Collection
from .fetch import Patience, Stopped, fetch

log = logging.getLogger(__name__)

CHECKSUMS = "checksums.csv"
WORK = ".download"
# So many failures without a success between them mean that the rest would fail as well.
GIVE_UP = 10
WRITE_EVERY = 5.0  # seconds
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_Sums = dict[str, str]


@dataclass(frozen=True)
class DownloadSummary:
    """made, kept: models downloaded now, found whole. failed: id -> reason. unchecked: models of which the
    list has no checksum that applies to what was downloaded."""

    root: Path
    made: int
    kept: int
    failed: dict[str, str] = field(default_factory=dict)
    unchecked: tuple[str, ...] = ()

    def __str__(self) -> str:
        line = f"{self.root}: {self.made} models downloaded, {self.kept} already there"
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
    with _alone(root / WORK):
        if ids is None:
            ids = collection.ids(patience=patience) if list is None else list.ids()
        run = _Run(root, collection, list, patience or Patience(), read_checksums(root / CHECKSUMS))
        run.work_off([check_id(id) for id in dict.fromkeys(ids)], workers, progress)
    with suppress(OSError):  # parts of what failed stay, to be resumed
        (root / WORK).rmdir()
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

    sums: _Sums
    made: bool
    compared: bool


@dataclass
class _Run:
    """One call of `download_models`: what it knows, and what became of the models so far."""

    root: Path
    collection: Collection
    list: ObjectList | None
    patience: Patience
    recorded: dict[str, _Sums]
    had: dict[str, _Had] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def work_off(self, ids: Sequence[str], workers: int, progress: bool) -> None:
        pool = ThreadPoolExecutor(max(1, workers))
        try:
            with Progress("downloading", total=len(ids), enabled=progress) as bar:
                futures = {pool.submit(self._model, id): id for id in ids}
                self._collect(futures, bar)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise InputError(
                f"{self.root}: {error.strerror}, after {len(self.had)} models; the same command goes on from there"
            ) from error
        finally:
            self.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            with suppress(OSError):  # on a full disk; the next run records the folders that are there
                write_checksums(self.root / CHECKSUMS, self.recorded)

    def _collect(self, futures: dict[Future[_Had], str], bar: Progress) -> None:
        in_a_row, written = 0, time.monotonic()
        for future in as_completed(futures):
            id = futures[future]
            try:
                self.had[id] = future.result()
                self.recorded[id] = self.had[id].sums
                in_a_row = 0
            except InputError as error:
                self.failed[id] = str(error)
                in_a_row += 1
                log.info("%s: %s", id, error)
            if in_a_row >= GIVE_UP:
                raise InputError(f"{in_a_row} downloads in a row failed; {id}: {self.failed[id]}")
            bar.advance(f"{len(self.failed)} failed" if self.failed else "")
            if time.monotonic() - written > WRITE_EVERY:
                write_checksums(self.root / CHECKSUMS, self.recorded)
                written = time.monotonic()

    def _model(self, id: str) -> _Had:
        """Have one model in its folder."""
        if self.stop.is_set():
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
            fetch(self.collection.model_url(id), part, patience=self.patience, check=check, stop=self.stop)
            os.replace(aside / id, folder)
            part.unlink()
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return new

    def _sums(self, folder: Path, id: str) -> _Sums:
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


def read_checksums(file: Path) -> dict[str, _Sums]:
    """id -> file -> sha256 of what was downloaded before."""
    found: dict[str, _Sums] = {}
    if not file.is_file():
        return found
    try:
        with file.open(newline="", encoding="utf-8") as handle:
            for row in csv.DictReader(handle, strict=True):
                found.setdefault(row["id"], {})[row["file"]] = row["sha256"]
    except (UnicodeDecodeError, csv.Error, KeyError) as error:
        raise InputError(f"{file}: is no table of id, file and sha256 ({error!r})") from error
    return found


def write_checksums(file: Path, sums: dict[str, _Sums]) -> None:
    """The table in order of id and file, written whole."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "file", "sha256"])
    writer.writerows([id, name, sum] for id in sorted(sums) for name, sum in sorted(sums[id].items()))
    write_atomic(file, text.getvalue())


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Hold the folder of unfinished work for one process; what dead ones left unpacked there goes."""
    work.mkdir(parents=True, exist_ok=True)
    lock = work / "lock"
    try:
        if lock.is_file() and is_abandoned(lock.read_text(encoding="utf-8")):
            lock.unlink(missing_ok=True)
        with lock.open("x", encoding="utf-8") as handle:
            handle.write(aside_name())
    except FileExistsError as error:
        raise InputError(
            f"{lock}: another download into this folder is running; if not, delete that file"
        ) from error
    try:
        for path in work.iterdir():
            if path.is_dir() and is_abandoned(path.name):
                shutil.rmtree(path, ignore_errors=True)
        yield
    finally:
        lock.unlink(missing_ok=True)
