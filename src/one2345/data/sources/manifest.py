"""manifest.csv: a table of the objects of a folder, one a line, with the columns id and file."""

from __future__ import annotations

import csv
from pathlib import Path

from one2345.errors import InputError

MANIFEST = "manifest.csv"


def read_manifest(root: Path) -> dict[str, dict[str, str]] | None:
    """id -> row; None where the folder has no manifest. Raises InputError naming the line that is wrong."""
    manifest = root / MANIFEST
    if not manifest.is_file():
        return None
    rows: dict[str, dict[str, str]] = {}
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                if not row.get("id") or not row.get("file"):
                    raise InputError(f"{manifest}, line {number}: needs a value for id and file")
                if row["id"] in rows:
                    raise InputError(f"{manifest}, line {number}: id {row['id']!r} appears twice")
                rows[row["id"]] = {k: v or "" for k, v in row.items() if isinstance(k, str)}
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{manifest}: not a readable CSV file: {error}") from error
    return rows


def listed_file(root: Path, id: str, name: str) -> Path:
    """The file that the manifest names for an object; InputError unless it lies in `root` and exists."""
    manifest = root / MANIFEST
    if "\0" in name or Path(name).is_absolute():
        raise InputError(f"{manifest}: id {id!r}: file {name!r} must be a path relative to {root}")
    file = root / name
    if not file.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{manifest}: id {id!r}: file {name!r} lies outside {root}")
    if not file.is_file():
        raise InputError(f"{file}: the manifest lists this file, but it does not exist")
    return file
