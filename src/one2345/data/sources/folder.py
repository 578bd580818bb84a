"""A folder of mesh files as a source, with an optional manifest and an optional list of objects."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from one2345.errors import InputError
from one2345.geometry import Y_UP_FROM_Z_UP, Mesh
from one2345.seeding import numpy_rng

from ..object_list import ObjectList, load_object_list
from .asset import Asset
from .base import LoadedObject
from .filters import Filters
from .layouts import MESH_SUFFIXES, Axis, MeshFile, find_mesh_files, mesh_file
from .manifest import MANIFEST, listed_file, read_manifest

log = logging.getLogger(__name__)

QUALITIES = ("exact", "approximate", "unreliable")
_Rows = dict[str, dict[str, str]]


def open_meshes(
    root: Path | str, *, up: Axis = "auto", list: ObjectList | str | Path | None = None, check: bool = True
) -> FolderSource:
    """The meshes of a folder, in whatever layout: a manifest.csv, models of Gazebo or MuJoCo, plain files.

    With `list`, only its objects; those that are not there are in `missing` of the result, those whose
    checksum could not be compared in `unchecked`. Raises InputError as `FolderSource` does.
    """
    return FolderSource(root=root, up=up, list=list, check=check, partial=True, labels="unreliable")


class FolderSource:
    """Mesh files of a folder, at any depth, or those that its manifest.csv lists.

    root: the folder. manifest.csv, if there is one, has the columns id and file (relative to root, and inside
    it once links are followed), and may have licence, author, split and any others; without one, ids come
    from the layout (see `find_mesh_files`). list: only the objects of this list, which also says of each how
    far it is turned, and may say its split. partial: go on where objects of the list are not there (see
    `missing`). check: compare the checksums of the list (`unchecked` tells which could not be). ids: only
    these. where: only manifest rows whose columns have these values, such as {tier: core, closed_even: y}.
    subset: only this split. limit: only the first so many, in order of id. val_fraction: where nothing states
    a split, the fraction of objects that is set aside as split 'val', drawn by id. up: axis of the files, 'y'
    or 'z'; 'auto' goes by list, layout and type of file, in this order. labels: the worst quality of signed
    distances to accept. antialias: rays per pixel edge. filters: leave objects out as they are loaded
    (`Rejected`). rows: the table itself, instead of manifest.csv; its files need not be there yet.

    Raises InputError when the folder, a column or a wanted id doesn't exist, a checksum differs, or nothing
    is left.
    """

    kind = "folder"
    licence: str | None = None
    author: str | None = None

    def __init__(
        self,
        *,
        root: Path | str,
        list: ObjectList | str | Path | None = None,
        partial: bool = False,
        check: bool = True,
        ids: Sequence[str] | None = None,
        where: Mapping[str, object] | None = None,
        subset: str | None = None,
        limit: int | None = None,
        val_fraction: float = 0.0,
        up: Axis = "auto",
        labels: Literal["exact", "approximate", "unreliable"] = "approximate",
        antialias: int = 1,
        filters: Filters | None = None,
        rows: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        if labels not in QUALITIES:
            raise InputError(f"source.labels={labels!r}: use one of {', '.join(QUALITIES)}")
        if up not in ("auto", "y", "z"):
            raise InputError(f"source.up={up!r}: use 'auto', 'y' or 'z'")
        self._up: Axis = up
        self._labels, self._antialias, self._filters = labels, antialias, filters
        self.root = Path(root).expanduser()
        if not self.root.is_dir():
            raise InputError(f"source.root={self.root}: there is no such folder")
        self.list = list if isinstance(list, ObjectList | None) else load_object_list(list)
        table = read_manifest(self.root) if rows is None else {id: dict(row) for id, row in rows.items()}
        self._found: dict[str, MeshFile] | None = None
        if table is None:
            self._found = self._scan()
            table = {
                id: {"file": found.file.relative_to(self.root).as_posix()}
                for id, found in self._found.items()
            }
        if self.list is not None:
            table = _listed_rows(table, self.list)
        if val_fraction > 0 and not any(row.get("split") for row in table.values()):
            for id, row in table.items():
                row["split"] = "val" if numpy_rng("val", id).random() < val_fraction else "train"
        wanted = None if ids is None else [str(i) for i in ids]
        self.missing: tuple[str, ...] = self._missing(table, wanted, subset, limit)
        self._rows: _Rows = self._filtered(table, wanted, where or {}, subset, limit)
        if self.missing and not partial:
            raise InputError(
                f"{self.root}: lacks {few(self.missing)} of the objects of the list {self._list_name}; "
                "source.partial=true goes on with the others"
            )
        if not self._rows:
            raise InputError(f"source.root={self.root}: no objects are left by list, ids, where and subset")
        self.unchecked: tuple[str, ...] = self._compare_checksums(check)

    def ids(self, split: str | None = None) -> list[str]:
        return [id for id in self._rows if split is None or self.split(id) == split]

    def split(self, id: str) -> str | None:
        return self._row(id).get("split") or None

    def describe_filters(self) -> dict[str, Any] | None:
        """What decides which objects are `Rejected`, as plain values."""
        return None if self._filters is None else asdict(self._filters)

    def file(self, id: str) -> Path:
        """The mesh file of an object. Raises InputError where the manifest names one that can't be used."""
        return self._mesh_file(id).file

    def mesh(self, id: str) -> Mesh:
        """The mesh of an object: z up, in the file's own units, turned as the list says."""
        from one2345.objects import load_mesh

        found = self._mesh_file(id)
        mesh = load_mesh(
            found.file, root=found.root, up=self._axis(id, found), search=found.search, texture=found.texture
        )
        return mesh.transformed(self.list[id].turn) if self.list is not None and self._yaw(id) else mesh

    def axis(self, id: str) -> Literal["y", "z"]:
        """The upward axis that the file of an object is taken to have."""
        return self._axis(id, self._mesh_file(id))

    def fingerprint(self, id: str) -> str:
        """sha256 of the file, where it is read as is custom for its type; else also of axis and yaw."""
        return self._fingerprint(id, sha256_of(self.file(id)))

    def load(self, id: str, *, shading: float = 0.0) -> LoadedObject:
        from one2345.objects import MeshObject
        from one2345.objects.quality import MeshWarning

        file, row = self.file(id), self._row(id)
        if self._filters is not None:
            self._filters.check_file(file)
        with warnings.catch_warnings():
            # The verdict is kept in flags, or is the error below.
            warnings.simplefilter("ignore", MeshWarning)
            mesh = self.mesh(id)
            if self._filters is not None:
                self._filters.check_mesh(mesh)
            made = MeshObject(mesh, id=id, normalise=True, shading=shading, antialias=self._antialias)
        assert made.report is not None
        quality, reasons = made.report.label_quality, "; ".join(made.report.reasons)
        if QUALITIES.index(quality) > QUALITIES.index(self._labels):
            raise InputError(
                f"{file}: its signed distances would be {quality} ({reasons}); "
                f"source.labels={quality} takes it anyway"
            )
        sha256 = sha256_of(file)
        provenance = {
            "source": file.relative_to(self.root).as_posix(),
            "sha256": sha256,
            "licence": row.get("licence") or self.licence,
            "author": row.get("author") or self.author,
        }
        if (fingerprint := self._fingerprint(id, sha256)) != sha256:
            provenance |= {"fingerprint": fingerprint, "up": self.axis(id), "yaw": self._yaw(id)}
        flags = asdict(made.report)
        return LoadedObject(
            object=made,
            exact=quality == "exact",
            provenance=provenance,
            flags=flags,
            asset=self._asset(id, made.to_world),
        )

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "up": self._up, "labels": self._labels, "antialias": self._antialias}

    def _asset(self, id: str, to_world: NDArray[np.float64]) -> Asset:
        """The file of an object, and the way from its axes through axis and turn to the world."""
        found = self._mesh_file(id)
        turn = np.eye(4) if self.list is None else self.list[id].turn
        upright = Y_UP_FROM_Z_UP.T if self._axis(id, found) == "y" else np.eye(4)
        return Asset(file=found.file, root=found.root, to_world=to_world @ turn @ upright)

    def _scan(self) -> dict[str, MeshFile]:
        """What the folder holds, where no manifest says so."""
        found = find_mesh_files(self.root)
        if not found:
            raise InputError(f"source.root={self.root}: holds no mesh files ({', '.join(MESH_SUFFIXES)})")
        return found

    def _missing(
        self, rows: _Rows, wanted: Sequence[str] | None, subset: str | None, limit: int | None
    ) -> tuple[str, ...]:
        """What is asked for of the list and not there."""
        if self.list is None:
            return ()
        asked = self.list.ids(subset if self.list.has_splits else None)
        asked = [id for id in asked if wanted is None or id in wanted]
        return tuple(id for id in asked[:limit] if id not in rows)

    def _filtered(
        self,
        rows: _Rows,
        wanted: Sequence[str] | None,
        where: Mapping[str, object],
        subset: str | None,
        limit: int | None,
    ) -> _Rows:
        """The rows that are asked for, in order of id."""
        if wanted is not None:
            lost = [id for id in wanted if id not in rows and id not in self.missing]
            if lost:
                what = self.root if self.list is None else f"the list {self.list.name}"
                raise InputError(f"source.ids: {what} has no object {lost[0]!r}")
            rows = {id: rows[id] for id in wanted if id in rows}
        for column, value in where.items():
            unknown = next((id for id, row in rows.items() if column not in row), None)
            if unknown is not None:
                raise InputError(f"source.where: {self.root / MANIFEST} has no column {column!r}")
            rows = {id: row for id, row in rows.items() if row[column] == str(value)}
        if subset is not None:
            rows = {id: row for id, row in rows.items() if row.get("split") == subset}
        return dict(sorted(rows.items())[:limit])

    def _compare_checksums(self, check: bool) -> tuple[str, ...]:
        """Refuse a file that isn't the list's; the ids of those that were not compared."""
        if self.list is None or not check:
            return () if self.list is None else tuple(self._rows)
        unchecked = []
        for id in self._rows:
            listed, file = self.list[id], self.file(id)
            if not listed.sha256 or not listed.applies_to(file.suffix):
                unchecked.append(id)
            elif (found := sha256_of(file)) != listed.sha256:
                raise InputError(
                    f"{file}: the object {id!r} of the list {self.list.name} has another file: expected sha256 "
                    f"{listed.sha256}, found {found}; source.check=false takes it anyway"
                )
        if unchecked:
            log.info("%s: the list has no checksum for the files of %s", self.list.name, few(unchecked))
        return tuple(unchecked)

    def _fingerprint(self, id: str, sha256: str) -> str:
        axis, yaw = self.axis(id), self._yaw(id)
        if axis == custom_axis(self._mesh_file(id).file) and not yaw:
            return sha256
        return hashlib.sha256(f"{sha256} up={axis} yaw={yaw}".encode()).hexdigest()

    def _axis(self, id: str, found: MeshFile) -> Literal["y", "z"]:
        listed = None if self.list is None else self.list[id]
        by_list = listed.up if listed is not None and listed.applies_to(found.file.suffix) else ""
        for axis in (self._up, by_list, found.up):
            if axis == "y" or axis == "z":
                return axis
        return custom_axis(found.file)

    def _yaw(self, id: str) -> float:
        return 0.0 if self.list is None else self.list[id].yaw

    @property
    def _list_name(self) -> str:
        return "" if self.list is None else self.list.name

    def _row(self, id: str) -> dict[str, str]:
        if id not in self._rows:
            raise InputError(f"{self.root} has no object {id!r}")
        return self._rows[id]

    def _mesh_file(self, id: str) -> MeshFile:
        row = self._row(id)
        if self._found is not None:
            return self._found[id]
        return mesh_file(listed_file(self.root, id, row["file"]), self.root)


def _listed_rows(rows: _Rows, wanted: ObjectList) -> _Rows:
    """The rows of the list's objects, with its splits and categories."""
    chosen = {item.id: dict(rows[item.id]) for item in wanted.objects if item.id in rows}
    for id, row in chosen.items():
        if wanted.has_splits:
            row["split"] = wanted[id].split
        if wanted[id].category:
            row["category"] = wanted[id].category
    return chosen


def custom_axis(file: Path) -> Literal["y", "z"]:
    """The upward axis that files of this type have by definition or by custom."""
    from one2345.objects.mesh_io import Y_UP_FORMATS

    return "y" if file.suffix.lower().removeprefix(".") in Y_UP_FORMATS else "z"


def sha256_of(file: Path) -> str:
    """Hexadecimal digest of a file."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def few(ids: Sequence[str]) -> str:
    """How many, and the first five by name."""
    more = ", ..." if len(ids) > 5 else ""
    return f"{len(ids)} ({', '.join(ids[:5])}{more})"
