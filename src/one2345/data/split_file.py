"""Split files as the published training set has one: {"train": [{"folder_id": ..., "uid": ...}, ...], "val": [...]}."""

from __future__ import annotations

import json
from pathlib import Path

from one2345.errors import InputError

SPLITS = ("train", "val", "test")


def read_split_file(file: Path) -> dict[str, str]:
    """uid -> split. Raises InputError naming the file, and the entry that isn't one or has two splits."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: not a readable JSON file: {error}") from error
    what = f'{file}: is no split file, {{"train": [{{"folder_id": ..., "uid": ...}}, ...], "val": [...]}}'
    if not isinstance(document, dict):
        raise InputError(what)
    found: dict[str, str] = {}
    for split, entries in document.items():
        if split not in SPLITS:
            raise InputError(f"{file}: split {split!r} is unknown; use {', '.join(SPLITS)}")
        if not isinstance(entries, list):
            raise InputError(f"{what}: {split} is no list")
        for i, entry in enumerate(entries):
            if not isinstance(entry, dict) or "uid" not in entry:
                raise InputError(f"{what}: {split}[{i}] has no uid")
            uid = str(entry["uid"])
            if found.setdefault(uid, split) != split:
                raise InputError(f"{file}: {uid} is in two splits: {uid} is in {found[uid]} and in {split}")
    return found
