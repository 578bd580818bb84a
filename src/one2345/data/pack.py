"""Pack prepared objects into shards: a few large files that can be streamed, instead of a hundred small ones each.

The bytes depend on the objects and the settings alone: not on the number of threads, nor on how often the run was
interrupted. Objects of a split lie together, in an order that mixes them (by a hash of the id): training reads no chunk
of another split. Readers see nothing before all of it is there: the index is written last.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from one2345.errors import InputError
from one2345.files import remove_abandoned, write_atomic
from one2345.seeding import key
from one2345.terminal import Count
from one2345.views import ObjectRecord
from one2345.views.images import encode_png, encode_webp
from one2345.views.writer import object_document

from .ledger import Content, Ledger
from .stores import ShardStore, Store, open_store
from .stores.chunks import (
    CATALOGUE,
    INDEX,
    LARGEST,
    Row,
    chunk_name,
    join,
    join_chunk,
    join_item,
    read_catalogue,
    write_catalogue,
)

STAGE = "pack"
IMAGES = ("png", "webp")
_NOTES = ".partial"


@dataclass(frozen=True)
class PackSummary:
    """What a run did. objects, chunks, bytes: of the whole pack. kept: chunks that were there already."""

    out: Path
    objects: int
    chunks: int
    kept: int
    bytes: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.out}: {self.objects} objects in {self.chunks} chunks ({self.kept} already there), "
            f"{self.bytes / 2**20:.1f} MiB, in {self.seconds:.0f} s"
        )


def pack_objects(
    root: Path | str | Store,
    *,
    out: Path | str,
    images: str = "png",
    chunk_mb: float = 64.0,
    ids: Sequence[str] | None = None,
    workers: int | None = None,
    progress: bool = True,
    ledger: Callable[[], Ledger] | None = None,
) -> PackSummary:
    """Pack the objects of a store (all, or those of `ids`) into the folder `out`.

    images: png, as stored, or webp, lossless: the same pixels, alpha exact. chunk_mb: a chunk takes objects up to
    this many MiB; a larger object has a chunk of its own. workers: threads; None takes one per core. What is there
    complete and made from the same objects is kept. ledger: opens the manifest of `out`, to keep the book of objects.

    Raises InputError for a damaged object, naming it (the chunks before it are kept for the next run), and when `out`
    holds a pack of other objects or settings.
    """
    started = time.monotonic()
    if images not in IMAGES:
        raise InputError(f"pack.images={images}: use png or webp")
    if not 0 < chunk_mb <= 2048:
        raise InputError(f"pack.chunk_mb={chunk_mb}: must lie in (0, 2048]")
    store, out = open_store(root), Path(out)
    if isinstance(store, ShardStore):
        raise InputError(f"{store.root}: is packed already; pack the folder that it was made from")
    wanted = sorted(set(store.ids() if ids is None else ids))
    if not wanted:
        raise InputError(f"{store.root}: has no objects to pack")
    order = sorted(wanted, key=lambda id: (store.split(id) or "", key("pack", id), id))
    work = _Work(store, out, images, int(chunk_mb * 2**20))
    if (out / INDEX).is_file():
        return work.finished(order, started)
    _check_folder(out)
    with Count("packing", total=len(order), enabled=progress) as bar:
        out.mkdir(parents=True, exist_ok=True)
        book = None if ledger is None else ledger()
        rows, sizes = work.kept_chunks(order)
        kept = len(sizes)
        for row in rows:
            _note(book, row)
            bar.advance()
        try:
            for chunk, made in work.new_chunks(order[len(rows) :], kept, workers or os.cpu_count() or 1):
                rows += made
                sizes.append(len(chunk))
                for row in made:
                    _note(book, row)
                    bar.advance()
        except _DamagedError as error:
            if book is not None:
                book.add(STAGE, [error.id])
                book.claim(STAGE, 1, lease=60.0, ids=[error.id], failed_before=time.time())
                book.fail(STAGE, error.id, str(error))
            raise InputError(str(error)) from error
    for stray in set(out.glob("chunk-0-*.bin")) - {out / chunk_name(i) for i in range(len(sizes))}:
        stray.unlink()
    write_catalogue(out, rows, images=images, sizes=sizes, chunk_bytes=work.limit)
    shutil.rmtree(out / _NOTES, ignore_errors=True)
    remove_abandoned(out)
    return PackSummary(out, len(rows), len(sizes), kept, sum(sizes), time.monotonic() - started)


class _DamagedError(InputError):
    """An object that can't be packed."""

    def __init__(self, id: str, reason: str) -> None:
        super().__init__(reason)
        self.id = id


def _note(book: Ledger | None, row: Row) -> None:
    if book is not None:
        book.adopt(STAGE, row.id, Content(bytes=row.bytes, hash=row.sha256, licence=row.licence))


@dataclass(frozen=True)
class _Work:
    """What to pack and how. A note beside every chunk that is written says what is in it, until the index is."""

    store: Store
    out: Path
    images: str
    limit: int

    def finished(self, order: list[str], started: float) -> PackSummary:
        """The summary of a complete pack, if it is of these objects."""
        there = read_catalogue(self.out / CATALOGUE)
        origins = dict(zip(there.ids, there.origins, strict=True))
        if there.images != self.images:
            raise InputError(
                f"out={self.out}: was packed with pack.images={there.images}; use that, or another folder"
            )
        other = sorted(origins.keys() ^ set(order)) or [
            id for id in order if origins[id] != _sha(_description(self.store.record(id)))
        ]
        if other:
            raise InputError(
                f"out={self.out}: is a pack of other objects ({other[0]} differs); choose another folder or delete it"
            )
        for chunk, size in enumerate(there.sizes):
            file = self.out / chunk_name(chunk)
            if not file.is_file() or file.stat().st_size != size:
                raise InputError(
                    f"{file}: is missing or not of {size} bytes; delete {self.out} and pack again"
                )
        chunks = len(there.sizes)
        return PackSummary(self.out, len(order), chunks, chunks, sum(there.sizes), time.monotonic() - started)

    def kept_chunks(self, order: list[str]) -> tuple[list[Row], list[int]]:
        """Rows and sizes of the chunks that an interrupted run wrote and that would be written alike."""
        rows: list[Row] = []
        sizes: list[int] = []
        while len(rows) < len(order):
            note = self._read_note(len(sizes))
            if note is None:
                break
            size, found = note
            expected = order[len(rows) : len(rows) + len(found)]
            if [row.id for row in found] != expected or any(
                row.origin != _sha(_description(self.store.record(row.id))) for row in found
            ):
                break
            rows += found
            sizes.append(size)
        return rows, sizes

    def new_chunks(self, ids: list[str], first: int, workers: int) -> Iterator[tuple[bytes, list[Row]]]:
        """Every chunk that is still to be written, once it is."""
        items: list[bytes] = []
        rows: list[Row] = []
        number = first
        for item, row in self._encoded(ids, workers):
            full = bool(items) and sum(map(len, items)) + len(item) > self.limit
            if items and (full or row["split"] != rows[-1].split):
                yield self._write(number, items, rows), rows
                items, rows, number = [], [], number + 1
            rows.append(Row(**row, chunk=number, place=len(items)))
            items.append(item)
        if items:
            yield self._write(number, items, rows), rows

    def _encoded(self, ids: list[str], workers: int) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Items in the order of `ids`; a few ahead of the one that is asked for."""
        with ThreadPoolExecutor(workers) as pool:
            waiting: deque[Future[tuple[bytes, dict[str, Any]]]] = deque()
            try:
                for id in ids:
                    waiting.append(pool.submit(self._encode, id))
                    if len(waiting) > 2 * workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _encode(self, id: str) -> tuple[bytes, dict[str, Any]]:
        try:
            record = self.store.record(id)
            parts = _parts(record, webp=self.images == "webp")
        except (InputError, OSError) as error:
            raise _DamagedError(id, str(error)) from error
        item = join_item(parts)
        if len(item) > LARGEST // 2:
            raise InputError(f"{record.folder}: is {len(item) / 2**30:.1f} GiB, too large for a chunk")
        licence = record.provenance.get("licence", record.provenance.get("license"))
        return item, {
            "id": id,
            "split": self.store.split(id),
            "licence": None if licence is None else str(licence),
            "bytes": len(item),
            "sha256": _sha(item),
            "origin": _sha(parts["object"]),
        }

    def _write(self, number: int, items: list[bytes], rows: list[Row]) -> bytes:
        chunk = join_chunk(items)
        write_atomic(self.out / chunk_name(number), chunk)
        note = {
            "limit": self.limit,
            "images": self.images,
            "size": len(chunk),
            "rows": [asdict(r) for r in rows],
        }
        write_atomic(self._note(number), json.dumps(note))
        return chunk

    def _read_note(self, number: int) -> tuple[int, list[Row]] | None:
        try:
            note = json.loads(self._note(number).read_text(encoding="utf-8"))
            size = (self.out / chunk_name(number)).stat().st_size
            rows = [Row(**row) for row in note["rows"]]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        same = (note["limit"], note["images"], note["size"]) == (self.limit, self.images, size)
        return (size, rows) if same and rows else None

    def _note(self, number: int) -> Path:
        return self.out / _NOTES / f"{chunk_name(number)}.json"


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"out={out}: is a file, not a folder")
    foreign = [
        p.name
        for p in (out.iterdir() if out.is_dir() else ())
        if p.name not in (_NOTES, CATALOGUE, "manifest.sqlite") and p.suffix not in (".bin", ".tmp")
    ]
    if foreign:
        raise InputError(
            f"out={out}: holds {foreign[0]}, which is no part of a pack; choose an empty or a new folder"
        )


def _parts(record: ObjectRecord, *, webp: bool) -> dict[str, bytes]:
    """The files of an object, decoded once to see that they can be."""
    views = range(len(record))
    folder = record.folder if _is_folder(record) else None
    rgba = [record.rgba(v) for v in views]
    parts = {"object": _description(record), "depth": b"", "normals": b"", "samples": b""}
    if webp or folder is None:
        parts["images"] = join([encode_webp(p) if webp else encode_png(p) for p in rgba])
    else:
        parts["images"] = join(_files(record, "images"))
    if record.has_depth:
        with_depth = set(record.true_indices())
        pixels = [record.stored_depth(v) if v in with_depth else None for v in views]
        parts["depth"] = join(
            [b"" if p is None else encode_png(p) for p in pixels]
            if folder is None
            else _files(record, "depth")
        )
    if folder is not None and record.has_normals:
        record.views(normals=True)
        parts["normals"] = join(_files(record, "normals"))
    if record.sample_counts is not None:
        record.samples()
        parts["samples"] = (record.folder / "samples.npz").read_bytes()
    return parts


def _files(record: ObjectRecord, kind: str) -> list[bytes]:
    return [(record.folder / kind / f"{name}.png").read_bytes() for name in record.names]


def _is_folder(record: ObjectRecord) -> bool:
    return (record.folder / "object.json").is_file()


def _description(record: ObjectRecord) -> bytes:
    """object.json as it lies there; for an object of another layout, what it would say."""
    file = record.folder / "object.json"
    if file.is_file():
        return file.read_bytes()
    document = object_document(
        id=record.id,
        cameras=record.cameras,
        names=record.names,
        roles=record.roles,
        parents=record.parents,
        sources=record.sources,
        depth=record.has_depth,
        normals=False,
        samples=record.sample_counts,
        split=record.split,
        recipe=record.recipe,
        flags=record.flags,
        provenance=record.provenance,
    )
    return (json.dumps(document, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
