"""The files of packed objects: chunks that litdata streams, its index, and a catalogue of what lies where.

A chunk is what litdata 0.2 calls one: the number n of its items as uint32, n + 1 offsets as uint32, then the items. An
item is one object: the lengths of its five parts as uint32, then the parts.

    object      object.json, as `one2345.views` writes it
    images      of every view in its order a PNG, or a lossless WebP
    depth       of every view its 16-bit PNG; empty where the object has none
    normals     the same for normals
    samples     samples.npz; empty where there is none

images, depth and normals hold several files: their number, their lengths, then the files. Numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import json
import struct
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from one2345.errors import InputError
from one2345.files import write_atomic

INDEX = "index.json"
CATALOGUE = "catalogue.json"
PARTS = ("object", "images", "depth", "normals", "samples")
LARGEST = 2**32 - 1

_SCHEMA, _VERSION = "one2345-shards", 1
_LEAF = {"type": None, "context": None, "children_spec": []}
_SPEC = json.dumps(
    [1, {"type": "builtins.dict", "context": json.dumps(PARTS), "children_spec": [_LEAF] * len(PARTS)}]
)


def chunk_name(chunk: int) -> str:
    """File name of a chunk; those of an index are never followed."""
    return f"chunk-0-{chunk}.bin"


def join(parts: Sequence[bytes]) -> bytes:
    """Several files as one part."""
    return struct.pack(f"<{len(parts) + 1}I", len(parts), *map(len, parts)) + b"".join(parts)


def split(part: memoryview) -> list[memoryview]:
    """The files of `join`; none of an empty part. Raises ValueError when the lengths don't fit."""
    if not part:
        return []
    (count,) = struct.unpack_from("<I", part)
    return _divided(part[4:], count)


def join_item(parts: dict[str, bytes]) -> bytes:
    """An object's item. Raises KeyError when a part is missing."""
    return struct.pack(f"<{len(PARTS)}I", *(len(parts[p]) for p in PARTS)) + b"".join(parts[p] for p in PARTS)


def split_item(item: bytes) -> dict[str, memoryview]:
    """The parts of an item. Raises ValueError when the lengths don't fit."""
    return dict(zip(PARTS, _divided(memoryview(item), len(PARTS)), strict=True))


def join_chunk(items: Sequence[bytes]) -> bytes:
    """A chunk of items."""
    start = 4 * (len(items) + 2)
    offsets = np.cumsum([start, *map(len, items)])
    return struct.pack("<I", len(items)) + offsets.astype("<u4").tobytes() + b"".join(items)


def read_item(file: Path, place: int, *, digest: bytes, id: str) -> bytes:
    """The item at `place` of a chunk, whose sha256 must be `digest`.

    Raises FileNotFoundError when the chunk is gone, and InputError naming it and the object when they don't agree.
    """
    with file.open("rb") as chunk:
        chunk.seek(4 * (1 + place))
        bounds = chunk.read(8)
        begin, end = struct.unpack("<2I", bounds) if len(bounds) == 8 else (0, 0)
        chunk.seek(begin)
        # A damaged offset may claim gigabytes; the file's own end limits what is read.
        item = chunk.read(end - begin) if begin < end else b""
    if hashlib.sha256(item).digest() != digest:
        raise InputError(
            f"{file}: object {id!r} is damaged (its sha256 is not that of {CATALOGUE}); pack it again"
        )
    return item


def _divided(data: memoryview, count: int) -> list[memoryview]:
    if 4 * count > len(data):
        raise ValueError(f"{count} lengths are announced in {len(data)} bytes")
    ends = np.cumsum([4 * count, *struct.unpack_from(f"<{count}I", data)])
    if ends[-1] != len(data):
        raise ValueError(f"{len(data)} bytes instead of {ends[-1]}")
    return [data[a:b] for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One object: where it lies, length and hex sha256 of its item. origin: sha256 of its object.json as it was."""

    id: str
    split: str | None
    licence: str | None
    chunk: int
    place: int
    bytes: int
    sha256: str
    origin: str


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All objects in order of id, in columns. images: png or webp. sizes: bytes of each chunk.

    chunks, places: (n) int. digests: (n, 32) uint8, sha256 of each item. origins: hex, see `Row`.
    """

    images: str
    sizes: tuple[int, ...]
    ids: list[str]
    splits: list[str | None]
    licences: list[str | None]
    origins: list[str]
    chunks: NDArray[np.int32]
    places: NDArray[np.int32]
    digests: NDArray[np.uint8]

    def find(self, id: str) -> int | None:
        """Row of an object."""
        row = bisect_left(self.ids, id)
        return row if row < len(self.ids) and self.ids[row] == id else None

    @cached_property
    def counts(self) -> list[int]:
        """Objects of each chunk."""
        return np.bincount(self.chunks, minlength=len(self.sizes)).tolist()


def write_catalogue(
    out: Path, rows: Sequence[Row], *, images: str, sizes: Sequence[int], chunk_bytes: int
) -> None:
    """Write the catalogue and, last of all files, litdata's index."""
    rows = sorted(rows, key=lambda row: row.id)
    columns = {
        "ids": [r.id for r in rows],
        "splits": [r.split for r in rows],
        "licences": [r.licence for r in rows],
        "chunks": [r.chunk for r in rows],
        "places": [r.place for r in rows],
        "bytes": [r.bytes for r in rows],
        "sha256": [r.sha256 for r in rows],
        "origins": [r.origin for r in rows],
    }
    head = {"schema": _SCHEMA, "version": _VERSION, "images": images, "sizes": list(sizes)}
    write_atomic(out / CATALOGUE, json.dumps(head | columns, ensure_ascii=False, indent=0) + "\n")
    counts = np.bincount([r.chunk for r in rows], minlength=len(sizes)).tolist()
    chunks = [
        {"chunk_bytes": size, "chunk_size": count, "dim": None, "filename": chunk_name(i)}
        for i, (size, count) in enumerate(zip(sizes, counts, strict=True))
    ]
    config = {
        "chunk_bytes": chunk_bytes,
        "chunk_size": None,
        "compression": None,
        "data_format": ["bytes"] * len(PARTS),
        "data_spec": _SPEC,
        "encryption": None,
        "item_loader": "PyTreeLoader",
    }
    write_atomic(
        out / INDEX, json.dumps({"chunks": chunks, "config": config}, sort_keys=True, indent=0) + "\n"
    )


def read_catalogue(file: Path) -> Catalogue:
    """Raises InputError naming the file and the column that isn't one."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{file}: not a readable catalogue: {error}") from error
    if (
        not isinstance(document, dict)
        or document.get("schema") != _SCHEMA
        or document.get("version") != _VERSION
    ):
        raise InputError(f"{file}: is no catalogue of {_SCHEMA} {_VERSION}; pack the objects again")
    ids = _column(document, "ids", file, str)
    count = len(ids)
    if any(a >= b for a, b in pairwise(ids)):
        raise InputError(f"{file}: ids are not sorted, or one is there twice")
    sizes = _column(document, "sizes", file, int)
    chunks, places = (
        np.array(_column(document, c, file, int, count), np.int64) for c in ("chunks", "places")
    )
    if count and (min(chunks.min(), places.min()) < 0 or chunks.max() >= len(sizes) or places.max() >= 2**31):
        raise InputError(f"{file}: chunks or places lie outside the chunks that there are")
    try:
        digests = [bytes.fromhex(d) for d in _column(document, "sha256", file, str, count)]
    except ValueError:
        digests = [b""]
    if any(len(d) != 32 for d in digests):
        raise InputError(f"{file}: sha256 must hold 64 hexadecimal digits each")
    return Catalogue(
        images=str(document.get("images")),
        sizes=tuple(sizes),
        ids=ids,
        splits=_column(document, "splits", file, (str, type(None)), count),
        licences=_column(document, "licences", file, (str, type(None)), count),
        origins=_column(document, "origins", file, str, count),
        chunks=chunks.astype(np.int32),
        places=places.astype(np.int32),
        digests=np.frombuffer(b"".join(digests), np.uint8).reshape(count, 32),
    )


def _column(
    document: dict[str, Any], name: str, file: Path, kind: Any, count: int | None = None
) -> list[Any]:
    values = document.get(name)
    if not isinstance(values, list) or not all(isinstance(v, kind) for v in values):
        raise InputError(f"{file}: column {name!r} is missing or damaged")
    if count is not None and len(values) != count:
        raise InputError(f"{file}: column {name!r} has {len(values)} entries for {count} objects")
    return values
