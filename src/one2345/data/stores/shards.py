"""Packed objects, read from a folder or, chunk by chunk through a local cache, from object storage."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from one2345.errors import InputError
from one2345.views import ObjectRecord
from one2345.views.reader import describe_object

from .chunk_cache import ChunkCache, is_remote
from .chunks import CATALOGUE, INDEX, Catalogue, chunk_name, read_catalogue, read_item, split, split_item


@dataclass(frozen=True)
class ShardRecord(ObjectRecord):
    """An object whose files lie in the item of a chunk, which the record keeps in memory."""

    item: bytes

    @property
    def nbytes(self) -> int:
        return len(self.item)

    def _packed(self, kind: str, view: int) -> memoryview:
        part = split_item(self.item)[kind]
        try:
            file = part if kind == "samples" else split(part)[view]
        except (IndexError, ValueError) as error:
            raise InputError(
                f"{self.folder}: {kind} of view {self.names[view]} is damaged: {error}"
            ) from error
        if not file:
            raise InputError(f"{self.folder}: view {self.names[view]} has no {kind}")
        return file


class ShardStore:
    """The objects that `pack_objects` wrote to `root`, a folder or the address of one in object storage.

    Addresses are those that litdata's downloaders read (s3://, gs://, azure://, hf://, local:). What is fetched is
    kept in the folder `cache`, up to `cache_gb`: chunks read longest ago go first. Raises InputError where nothing is
    packed.
    """

    def __init__(self, root: Path | str, *, cache: Path | str | None = None, cache_gb: float = 50.0) -> None:
        self.root = Path(root)
        self._fetched = ChunkCache(str(root), folder=cache, gigabytes=cache_gb) if is_remote(root) else None
        if self._fetched is None and not self.at(self.root):
            raise InputError(
                f"{root}: holds no {INDEX} and {CATALOGUE}; prepare.py stage=pack writes them last"
            )

    @staticmethod
    def at(root: Path) -> bool:
        """Whether packed objects lie at `root`, complete."""
        return (root / INDEX).is_file() and (root / CATALOGUE).is_file()

    def __getstate__(self) -> dict[str, Any]:
        """Without the catalogue: another process reads it anew."""
        return {k: v for k, v in self.__dict__.items() if k != "catalogue"}

    @cached_property
    def catalogue(self) -> Catalogue:
        """What there is, and where."""
        return read_catalogue(self._fetched.fetch(CATALOGUE) if self._fetched else self.root / CATALOGUE)

    def ids(self) -> list[str]:
        return list(self.catalogue.ids)

    def split(self, id: str) -> str | None:
        return self.catalogue.splits[self._row(id)]

    def groups(self, ids: Sequence[str]) -> list[int]:
        return [int(self.catalogue.chunks[self._row(id)]) for id in ids]

    def record(self, id: str) -> ShardRecord:
        row = self._row(id)
        chunk = int(self.catalogue.chunks[row])
        place, digest = int(self.catalogue.places[row]), self.catalogue.digests[row].tobytes()
        item = self._item(chunk, place, digest, id)
        folder = self.root / chunk_name(chunk) / id
        try:
            document = json.loads(bytes(split_item(item)["object"]))
        except ValueError as error:
            raise InputError(f"{folder}: is no packed object: {error}") from error
        described = describe_object(document, folder / "object.json")
        if described["id"] != id:
            raise InputError(f"{folder}: is object {described['id']!r}, but {CATALOGUE} says {id!r}")
        return ShardRecord(folder=folder, item=item, **described)

    def _item(self, chunk: int, place: int, digest: bytes, id: str) -> bytes:
        name = chunk_name(chunk)
        try:
            if self._fetched is None:
                return read_item(self.root / name, place, digest=digest, id=id)
            return self._fetched.read(
                name, self.catalogue.sizes[chunk], lambda file: read_item(file, place, digest=digest, id=id)
            )
        except OSError as error:
            raise InputError(
                f"{self.root / name}: the chunk can't be read ({error}); object {id!r}"
            ) from error

    def _row(self, id: str) -> int:
        row = self.catalogue.find(id)
        if row is None:
            raise InputError(f"{self.root}: has no object {id!r}")
        return row
