"""The index of Objaverse 1.0 (Deitke et al., CVPR 2023), read through the `objaverse` package in a folder of ours."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from types import ModuleType, SimpleNamespace
from typing import Any

from one2345.errors import InputError
from one2345.files import aside_name, remove_abandoned
from one2345.views import check_id

from .fetch import Patience, fetch

_MOST_BYTES = 1 << 30
_PATCHED = threading.Lock()


@dataclass(frozen=True)
class Annotation:
    """What Objaverse knows of an object. licence: as there, such as 'by' or 'cc0'; empty where none is stated.
    author: the display name of its user. faces, animations: None where not stated."""

    licence: str
    author: str
    name: str
    uri: str
    faces: int | None
    animations: int | None


class ObjaverseIndex:
    """The files of the index in `root`, laid out as by the package below ~/.objaverse/hf-objaverse-v1.

    download: fetch what is missing, whole or not at all (the package would leave half a file behind), from
    `url`, or from where the package has it. Without, a missing file is an InputError, as is one that is damaged
    or holds something else.
    """

    def __init__(
        self, root: Path, *, download: bool, url: str | None = None, patience: Patience | None = None
    ) -> None:
        self.root = root
        # Asked for now: while the package is moved, it can't be asked.
        self._official = official_url()
        self.url = (url or self._official).rstrip("/")
        self._download, self._patience = download, patience

    @cached_property
    def paths(self) -> dict[str, str]:
        """uid -> path of its GLB: glbs/000-023/<uid>.glb."""
        return self._read(lambda package: package._load_object_paths(), "object-paths.json.gz")

    @cached_property
    def categories(self) -> dict[str, list[str]]:
        """LVIS category -> uids: about 46,800 objects in 1,156 categories."""
        found = self._read(lambda package: package.load_lvis_annotations(), "lvis-annotations.json.gz")
        if not all(isinstance(uids, list) for uids in found.values()):
            raise InputError(f"{self.root / 'lvis-annotations.json.gz'}: is no table of categories and uids")
        return found

    def path(self, uid: str) -> str:
        """The path of an object's GLB, which must be the one of the layout: it names a file to be written."""
        path = str(self.paths[uid])
        parts = PurePosixPath(path).parts
        if len(parts) != 3 or parts[0] != "glbs" or parts[2] != f"{check_id(uid)}.glb":
            raise InputError(
                f"{self.root}/object-paths.json.gz: {uid} has the path {path!r}, not glbs/.../{uid}.glb"
            )
        check_id(parts[1])
        return path

    def annotations(self, uid: str) -> dict[str, Annotation]:
        """Of all objects that share a file of annotations with `uid` (about 5,000)."""
        folder = PurePosixPath(self.path(uid)).parts[1]
        members = self._members[folder]
        found = self._read(lambda package: package.load_annotations(members), f"metadata/{folder}.json.gz")
        return {uid: _annotation(entry) for uid, entry in found.items() if isinstance(entry, dict)}

    @cached_property
    def _members(self) -> dict[str, list[str]]:
        """Folder -> uids."""
        found: dict[str, list[str]] = {}
        for uid, path in self.paths.items():
            found.setdefault("".join(str(path).split("/")[1:2]), []).append(uid)
        return found

    def _read(self, call: Callable[[Any], Any], name: str) -> dict[str, Any]:
        file = self.root / name
        known = self.__dict__.get("paths")
        try:
            with _relocated(self.root, self._retrieve, known) as package:
                found = call(package)
        except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise InputError(
                f"{file}: is damaged ({error}); delete it to have it downloaded again"
            ) from error
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(f"{file}: is no table of objects ({error!r})") from error
        if not isinstance(found, dict):
            raise InputError(f"{file}: is no table of objects")
        return found

    def _retrieve(self, url: str, filename: str) -> None:
        """In place of urlretrieve: a file of the index that is missing."""
        file = Path(filename)
        if not self._download:
            raise InputError(f"{file}: is not there; source.download=true fetches it")
        file.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(file.parent)
        part = file.with_name(f".{aside_name()}.tmp")
        name = url.removeprefix(self._official + "/")
        try:
            fetch(f"{self.url}/{name}", part, patience=self._patience, limit=_MOST_BYTES, check=_check_gzip)
            os.replace(part, file)
        finally:
            part.unlink(missing_ok=True)


@cache
def official_url() -> str:
    """The address below which the package itself looks for its files."""
    asked: list[str] = []

    class Asked(Exception):
        pass

    def retrieve(url: str, filename: str) -> None:
        asked.append(url)
        raise Asked

    with tempfile.TemporaryDirectory() as empty, _relocated(Path(empty), retrieve, None) as package:
        try:
            package._load_object_paths()
        except Asked:
            return asked[0].removesuffix("/object-paths.json.gz")
    raise AssertionError("the package did not ask for its index")


@contextmanager
def _relocated(
    root: Path, retrieve: Callable[[str, str], None], paths: dict[str, str] | None
) -> Iterator[ModuleType]:
    """The package with its folder moved to `root` and its downloads left to `retrieve`, for one caller at a time.

    paths: its index, where it is known: it would read it again for every file of annotations.
    """
    import objaverse

    moved: dict[str, Any] = {
        "BASE_PATH": str(root.parent),
        "_VERSIONED_PATH": str(root),
        "urllib": SimpleNamespace(request=SimpleNamespace(urlretrieve=retrieve)),
    }
    if paths is not None:
        moved["_load_object_paths"] = lambda: paths
    with _PATCHED:
        kept = {name: getattr(objaverse, name) for name in moved}
        try:
            for name, value in moved.items():
                setattr(objaverse, name, value)
            yield objaverse
        finally:
            for name, value in kept.items():
                setattr(objaverse, name, value)


def _check_gzip(file: Path) -> None:
    try:
        with gzip.open(file) as zipped:
            while zipped.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file.name}: is no whole gzip file: {error}") from error


def _annotation(entry: dict[str, Any]) -> Annotation:
    user = entry.get("user")
    user = user if isinstance(user, dict) else {}
    counts = [entry.get("faceCount"), entry.get("animationCount")]
    faces, animations = (count if isinstance(count, int) else None for count in counts)
    return Annotation(
        licence=_text(entry.get("license")),
        author=_text(user.get("displayName") or user.get("username")),
        name=_text(entry.get("name")),
        uri=_text(entry.get("uri") or entry.get("viewerUrl")),
        faces=faces,
        animations=animations,
    )


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
