"""Lists of objects: which ones a number was measured on, and how their files lie."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from one2345.errors import InputError
from one2345.views import check_id

SPLITS = ("train", "val", "test")
FORMATS = ("glb", "gltf", "obj", "ply", "stl", "off", "zip")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ListedObject:
    """One object of a list.

    sha256: of its file, empty where not known. format: type of the file that sha256 and up are of (glb, obj,
    ..., or zip for a download), empty for any. up: axis of that file, 'y', 'z' or empty (as its type and
    layout have it). yaw: degrees counter-clockwise about +z by which the z-up mesh is turned. split: train,
    val, test or empty. category, note: free text.
    """

    id: str
    sha256: str = ""
    format: str = ""
    up: Literal["", "y", "z"] = ""
    yaw: float = 0.0
    split: str = ""
    category: str = ""
    note: str = ""

    def applies_to(self, suffix: str) -> bool:
        """Whether sha256 and up speak of files with this suffix."""
        return self.format in ("", suffix.lower().removeprefix("."))

    @property
    def turn(self) -> NDArray[np.float64]:
        """(4, 4) rotation by `yaw` about +z; exact for quarter turns."""
        quarters = self.yaw / 90
        if quarters.is_integer():
            cos, sin = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(quarters) % 4]
        else:
            cos, sin = math.cos(math.radians(self.yaw)), math.sin(math.radians(self.yaw))
        matrix = np.eye(4)
        matrix[:2, :2] = [[cos, -sin], [sin, cos]]
        return matrix


@dataclass(frozen=True)
class ObjectList:
    """Objects in order of id. name: what messages call the list."""

    name: str
    objects: tuple[ListedObject, ...]

    def __len__(self) -> int:
        return len(self.objects)

    def __contains__(self, id: object) -> bool:
        return id in self._by_id

    def __getitem__(self, id: str) -> ListedObject:
        if id not in self._by_id:
            raise InputError(f"the list {self.name} has no object {id!r}")
        return self._by_id[id]

    @property
    def has_splits(self) -> bool:
        return any(item.split for item in self.objects)

    def ids(self, split: str | None = None) -> list[str]:
        """Ids of one split, or all."""
        return [item.id for item in self.objects if split is None or item.split == split]

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Objects of the list that are not among `ids`."""
        there = set(ids)
        return [item.id for item in self.objects if item.id not in there]

    @property
    def hash(self) -> str:
        """Ten hex digits over everything but name and notes; the order of lines and columns doesn't matter."""
        rows = [[getattr(item, name) for name in COLUMNS if name != "note"] for item in self.objects]
        return hashlib.blake2b(json.dumps(rows).encode(), digest_size=5).hexdigest()

    @cached_property
    def _by_id(self) -> dict[str, ListedObject]:
        return {item.id: item for item in self.objects}


COLUMNS = tuple(field.name for field in fields(ListedObject))


def object_lists() -> list[str]:
    """Names of the lists that come with the package."""
    return sorted(f.name.removesuffix(".csv") for f in _shipped().iterdir() if f.name.endswith(".csv"))


def load_object_list(name_or_path: str | Path) -> ObjectList:
    """A list that comes with the package, by name, or a CSV file with the columns of `ListedObject`.

    Only the column id is required. Raises InputError naming the line and the value that can't be used.
    """
    text = str(name_or_path)
    if text in object_lists():
        return _read(_shipped() / f"{text}.csv", text)
    path = Path(text).expanduser()
    if not path.is_file():
        raise InputError(
            f"list={text}: no such file, and no list of the package ({', '.join(object_lists())})"
        )
    return _read(path, text)


def _shipped() -> Traversable:
    return files("one2345.data").joinpath("lists")


def _read(file: Traversable | Path, name: str) -> ObjectList:
    try:
        text = file.read_text(encoding="utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        columns = reader.fieldnames or []
        rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{name}: not a readable CSV file: {error}") from error
    unknown = [column for column in columns if column not in COLUMNS]
    if "id" not in columns or unknown:
        what = f"unknown column {unknown[0]!r}" if unknown else "no column 'id'"
        raise InputError(f"{name}: {what}; the columns are {', '.join(COLUMNS)}")
    found: dict[str, ListedObject] = {}
    for number, row in rows:
        where = f"{name}, line {number}"
        if None in row or None in row.values():
            raise InputError(f"{where}: {len(columns)} columns are announced, the line has another number")
        item = _item({k: v.strip() for k, v in row.items()}, where)
        if item.id in found:
            raise InputError(f"{where}: id {item.id!r} appears twice")
        found[item.id] = item
    if not found:
        raise InputError(f"{name}: the list is empty")
    return ObjectList(name, tuple(found[id] for id in sorted(found)))


def _item(row: dict[str, str], where: str) -> ListedObject:
    try:
        check_id(row["id"])
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    row["sha256"] = row.get("sha256", "").lower()
    if row["sha256"] and not _SHA256.fullmatch(row["sha256"]):
        raise InputError(f"{where}: sha256 {row['sha256']!r} is not 64 hexadecimal digits")
    for column, allowed in (("format", FORMATS), ("up", ("y", "z")), ("split", SPLITS)):
        if row.get(column) and row[column] not in allowed:
            raise InputError(
                f"{where}: {column} {row[column]!r} is unknown; use {', '.join(allowed)} or nothing"
            )
    yaw = row.pop("yaw", "") or "0"
    try:
        degrees = float(yaw)
    except ValueError:
        degrees = math.nan
    if not math.isfinite(degrees):
        raise InputError(f"{where}: yaw {yaw!r} is not a number of degrees")
    up = cast('Literal["", "y", "z"]', row.pop("up", ""))
    return ListedObject(**row, up=up, yaw=degrees + 0.0)  # one zero, not two
