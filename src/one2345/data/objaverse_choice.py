"""Which objects of Objaverse are meant: by uid, category, split file and licence."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from one2345.errors import InputError

from .download import Annotation, ObjaverseIndex
from .object_list import load_object_list
from .split_file import read_split_file

# As Objaverse spells them -> as they are called (Sketchfab's are version 4.0).
LICENCES = {
    "by": "CC-BY-4.0",
    "by-sa": "CC-BY-SA-4.0",
    "by-nd": "CC-BY-ND-4.0",
    "by-nc": "CC-BY-NC-4.0",
    "by-nc-sa": "CC-BY-NC-SA-4.0",
    "by-nc-nd": "CC-BY-NC-ND-4.0",
    "cc0": "CC0-1.0",
}


@dataclass(frozen=True)
class Chosen:
    """rows: uid -> file, licence, author, name, uri, split, category, sha256, faces, animations, all text.
    unknown: asked for, but not in the index. by_licence: left out, licence -> how many."""

    rows: dict[str, dict[str, str]]
    unknown: tuple[str, ...] = ()
    by_licence: Counter[str] = field(default_factory=Counter)


def choose(
    index: ObjaverseIndex,
    *,
    ids: Sequence[str] | None,
    categories: Sequence[str] | None,
    split_file: Path | str | None,
    lvis: bool,
    subset: str | None,
    licences: Sequence[str] | None,
    limit: int | None,
) -> Chosen:
    """The objects that fit all that is given, in order of uid, at most `limit`.

    lvis: where neither ids, categories nor a split file are given, only objects with an LVIS category.
    Annotations are read only until `limit` is reached. Raises InputError for unknown categories, with the
    nearest, for unknown licences, and for a split file that can't be read.
    """
    for licence in licences or ():
        if licence not in LICENCES:
            raise InputError(
                f"source.licences: {licence!r} is unknown; it takes {', '.join(LICENCES)}, or null for all"
            )
    listed = {} if split_file is None else _listed(split_file)
    wanted: dict[str, dict[str, str]] = dict(listed)
    if ids is not None:
        named = dict.fromkeys(str(id) for id in ids)
        wanted = {id: listed.get(id, {}) for id in named if split_file is None or id in listed}
    if categories is not None or (lvis and ids is None and split_file is None):
        of = _categories(index, categories)
        known = of if ids is None and split_file is None else wanted
        wanted = {id: {**wanted.get(id, {}), "category": of[id]} for id in known if id in of}
    elif ids is None and split_file is None:
        wanted = {id: {} for id in index.paths}
    if subset is not None:
        wanted = {id: row for id, row in wanted.items() if row.get("split") == subset}
    unknown = tuple(sorted(id for id in wanted if id not in index.paths))
    rows: dict[str, dict[str, str]] = {}
    left_out: Counter[str] = Counter()
    notes: dict[str, Annotation] = {}
    read: set[str] = set()
    for id in sorted(wanted.keys() - set(unknown)):
        if limit is not None and len(rows) >= limit:
            break
        path = index.path(id)
        if (folder := path.split("/")[1]) not in read:
            read.add(folder)
            found = index.annotations(id)
            notes.update({other: found[other] for other in wanted.keys() & found.keys()})
        note = notes.get(id)
        licence = "" if note is None else note.licence
        if licences is not None and licence not in licences:
            left_out[licence or "none stated"] += 1
            continue
        rows[id] = {**wanted[id], "file": path, **({} if note is None else _row(note))}
    return Chosen(rows, unknown, left_out)


def _listed(file: Path | str) -> dict[str, dict[str, str]]:
    """uid -> split and, where it has one, sha256.

    A JSON file such as the published lvis_split_cc_by.json, {"train": [{"folder_id": ..., "uid": ...}, ...],
    "val": [...]}, or a list as `load_object_list` reads it. Raises InputError.
    """
    path = Path(file).expanduser()
    if path.suffix.lower() != ".json":
        return {
            item.id: {"split": item.split, "sha256": item.sha256 if item.applies_to(".glb") else ""}
            for item in load_object_list(file).objects
        }
    if not path.is_file():
        raise InputError(f"source.split_file={path}: there is no such file")
    return {uid: {"split": split} for uid, split in read_split_file(path).items()}


def _categories(index: ObjaverseIndex, names: Iterable[str] | None) -> dict[str, str]:
    """uid -> LVIS category, of the named ones or all; an object of several has the first by name."""
    table = index.categories
    for name in names or ():
        if name not in table:
            near = difflib.get_close_matches(str(name), list(table), n=3, cutoff=0.5)
            what = f"the nearest are {', '.join(near)}" if near else "none of LVIS is similar"
            raise InputError(f"source.categories: {name!r} is no category of LVIS; {what}")
    found: dict[str, str] = {}
    for name in sorted(table if names is None else set(names)):
        for uid in table[name]:
            found.setdefault(str(uid), name)
    return found


def _row(note: Annotation) -> dict[str, str]:
    return {
        "licence": LICENCES.get(note.licence, note.licence),
        "author": note.author,
        "name": note.name,
        "uri": note.uri,
        "faces": "" if note.faces is None else str(note.faces),
        "animations": "" if note.animations is None else str(note.animations),
    }
