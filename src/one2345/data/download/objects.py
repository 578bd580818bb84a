"""GLB files of single objects into the folder of a collection: resumable, checksummed, within a budget of the disk."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from one2345.errors import InputError

from ..sources.folder import sha256_of
from .checksums import CHECKSUMS, Sums, read_checksums, write_checksums
from .fetch import Patience, Stopped, Told, fetch
from .models import WORK, DownloadSummary
from .parallel import OverBudget, alone, in_parallel

WRITE_EVERY = 30.0  # seconds
GLB_MOST = 1 << 32  # what the length field of a GLB can state

Record = Callable[[str, Literal["done", "failed", "rejected"], str | None, int, str | None], None]
"""Hears what became of an object: id, state, reason, bytes on the disk, licence."""


@dataclass(frozen=True)
class RemoteFile:
    """path: below the folder and below the address alike. sha256: that it must have, empty if not known."""

    path: str
    licence: str | None = None
    sha256: str = ""


def download_objects(
    root: Path,
    objects: Mapping[str, RemoteFile],
    *,
    url: str,
    workers: int = 8,
    patience: Patience | None = None,
    disk_gb: float | None = None,
    record: Record | None = None,
    progress: bool = True,
) -> DownloadSummary:
    """Have the GLB of every object at root/path, from url/path.

    A file that is there and whole is kept. A new one is written aside, compared with the sha256 that the
    server names (if it names one), with the list's and with the recorded one, and with the length in its own
    header, and then renamed; what broke off is resumed by the next call. root/checksums.csv records the
    sha256 of every file. disk_gb: 10^9 bytes that the folder may hold. record: hears of every object, in the
    calling thread.

    Raises InputError when the disk is full, the next object would go beyond `disk_gb`, or many downloads in
    a row fail; objects that fail one by one are in `failed`, each with the reason.
    """
    record = (lambda *_: None) if record is None else record
    with alone(root / WORK):
        run = _Run(
            root,
            objects,
            url.rstrip("/"),
            patience or Patience(),
            DiskBudget.of(root, disk_gb, objects),
            record,
            read_checksums(root / CHECKSUMS),
        )
        in_parallel(
            list(objects),
            run.have,
            root=root,
            what="objects",
            workers=workers,
            progress=progress,
            done=run.done,
            failed=run.fail,
            every=lambda: write_checksums(root / CHECKSUMS, run.recorded),
            seconds=WRITE_EVERY,
        )
    return DownloadSummary(root, run.made, run.kept, dict(sorted(run.failed.items())), what="objects")


class DiskBudget:
    """Bytes that a folder may hold: what is there, and what is promised to downloads under way."""

    def __init__(self, root: Path, limit: float | None, used: int, promised: dict[str, int]) -> None:
        self._root, self._limit, self._used = root, limit, used
        self._promised = promised
        self._lock = threading.Lock()

    @classmethod
    def of(cls, root: Path, disk_gb: float | None, ids: Mapping[str, object]) -> DiskBudget:
        """Of what the folder holds now; broken-off downloads of `ids` count as promised."""
        if disk_gb is None:
            return cls(root, None, 0, {})
        if not disk_gb > 0:
            raise InputError(f"disk_gb={disk_gb}: must be positive, or null for no budget")
        parts = {part_of(root, id): id for id in ids}
        used, promised = 0, {}
        for folder, _, names in os.walk(root):
            for name in names:
                file = Path(folder, name)
                if file in parts:
                    promised[parts[file]] = file.stat().st_size
                else:
                    used += file.stat().st_size
        return cls(root, disk_gb * 1e9, used, promised)

    def promise(self, id: str, size: int | None) -> None:
        """Set `size` bytes aside for a file. OverBudget if they don't fit, or the server doesn't say how many."""
        if self._limit is None:
            return
        with self._lock:
            held = self._used + sum(self._promised.values()) - self._promised.get(id, 0)
            if size is None or held + size > self._limit:
                needs = "an unknown number of bytes" if size is None else f"{size / 1e9:.3f} GB"
                raise OverBudget(
                    f"disk_gb={self._limit / 1e9:g}: {self._root} holds {held / 1e9:.3f} GB, and {id} needs "
                    f"{needs}; raise source.disk_gb and run it again to go on"
                )
            self._promised[id] = size

    def settle(self, id: str, size: int) -> None:
        """What a file takes in the end, whole or broken off."""
        with self._lock:
            self._promised.pop(id, None)
            self._used += size


@dataclass(frozen=True)
class _Had:
    sha256: str
    size: int
    made: bool


@dataclass
class _Run:
    """One call of `download_objects`, and what became of the objects so far."""

    root: Path
    objects: Mapping[str, RemoteFile]
    url: str
    patience: Patience
    budget: DiskBudget
    record: Record
    recorded: dict[str, Sums]
    made: int = 0
    kept: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    def done(self, id: str, had: _Had) -> None:
        self.made, self.kept = self.made + had.made, self.kept + (not had.made)
        self.recorded[id] = {self.objects[id].path: had.sha256}
        self.record(id, "done", None, had.size, self.objects[id].licence)

    def fail(self, id: str, error: InputError) -> None:
        self.failed[id] = str(error)
        self.record(id, "failed", str(error), 0, self.objects[id].licence)

    def have(self, id: str, stop: threading.Event) -> _Had:
        """Have one object's file in its place."""
        if stop.is_set():
            raise Stopped
        wanted = self.objects[id]
        file, part = self.root / wanted.path, part_of(self.root, id)
        recorded = self.recorded.get(id, {}).get(wanted.path)
        if is_whole(file):
            return _Had(recorded or sha256_of(file), file.stat().st_size, made=False)
        sha256, named = "", None

        def told(what: Told) -> None:
            nonlocal named
            named = what.sha256
            self.budget.promise(id, what.size)

        def check(arrived: Path) -> None:
            nonlocal sha256
            sha256 = sha256_of(arrived)
            for whose, expected in (
                ("the server", named),
                ("the list", wanted.sha256),
                (CHECKSUMS, recorded),
            ):
                if expected and sha256 != expected:
                    raise InputError(f"{wanted.path}: {whose} says sha256 {expected}, what came has {sha256}")
            check_glb(arrived, exactly=named is None)

        try:
            fetch(
                f"{self.url}/{wanted.path}",
                part,
                patience=self.patience,
                limit=GLB_MOST,
                check=check,
                told=told,
                stop=stop,
            )
            file.parent.mkdir(parents=True, exist_ok=True)
            os.replace(part, file)
        finally:
            self.budget.settle(id, next((p.stat().st_size for p in (part, file) if p.is_file()), 0))
        return _Had(sha256, file.stat().st_size, made=True)


def part_of(root: Path, id: str) -> Path:
    """Where an object's download is gathered until it is whole."""
    return root / WORK / f"{id}.glb.part"


def is_whole(file: Path) -> bool:
    """Whether a GLB file is there, as long as its header says."""
    try:
        check_glb(file, exactly=False)
    except (InputError, FileNotFoundError):
        return False
    return True


def check_glb(file: Path, *, exactly: bool) -> None:
    """Refuse (InputError) what is no GLB, is shorter than its header says or, if `exactly`, longer."""
    size = file.stat().st_size
    with file.open("rb") as handle:
        begin = handle.read(12)
    if len(begin) < 12 or begin[:4] != b"glTF":
        raise InputError(f"{file.name}: is no GLB file, it begins with {begin!r}")
    stated: int = struct.unpack_from("<I", begin, 8)[0]
    if size < stated or (exactly and size > stated):
        raise InputError(f"{file.name}: its header states {stated} bytes, the file has {size}")
