"""checksums.csv: the sha256 of every file that was downloaded into a folder."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from one2345.errors import InputError
from one2345.files import write_atomic

CHECKSUMS = "checksums.csv"
Sums = dict[str, str]
"""file -> sha256 of one object's files."""


def read_checksums(file: Path) -> dict[str, Sums]:
    """id -> file -> sha256 of what was downloaded before."""
    found: dict[str, Sums] = {}
    if not file.is_file():
        return found
    try:
        with file.open(newline="", encoding="utf-8") as handle:
            for row in csv.DictReader(handle, strict=True):
                found.setdefault(row["id"], {})[row["file"]] = row["sha256"]
    except (UnicodeDecodeError, csv.Error, KeyError) as error:
        raise InputError(f"{file}: is no table of id, file and sha256 ({error!r})") from error
    return found


def write_checksums(file: Path, sums: dict[str, Sums]) -> None:
    """The table in order of id and file, written whole."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "file", "sha256"])
    writer.writerows([id, name, sum] for id in sorted(sums) for name, sum in sorted(sums[id].items()))
    write_atomic(file, text.getvalue())
