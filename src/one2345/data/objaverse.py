"""Objaverse 1.0 as a source (Deitke et al., CVPR 2023): 800 K objects of many authors and licences."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from one2345.errors import InputError

from .download import DownloadSummary, ObjaverseIndex, Patience, Record, RemoteFile, download_objects
from .download.checksums import CHECKSUMS, read_checksums
from .download.objects import is_whole
from .objaverse_choice import choose
from .sources.base import LoadedObject, Rejected
from .sources.filters import Filters
from .sources.folder import FolderSource, few, sha256_of
from .sources.layouts import Axis, MeshFile

log = logging.getLogger(__name__)


class ObjaverseSource(FolderSource):
    """Objects of Objaverse in the layout of the `objaverse` package: root is its hf-objaverse-v1.

    ids, categories (of LVIS), split_file (the published lvis_split_cc_by.json, or a list), subset (one of its
    splits), licences (as Objaverse spells them, null for all) and limit choose; what is given must all fit.
    lvis: see `choose`. val_fraction: where no split file says a split, the fraction drawn as 'val'. partial:
    go on without objects that the index does not know (`missing`). filters: see `Filters`; objects are left
    out as they are loaded, or before they are downloaded where the annotations tell enough.

    download: fetch what is missing, the index here and the objects in `fetch`; workers: so many at a time;
    disk_gb: 10^9 bytes that root may hold. url: of a mirror, in place of the package's own address.

    Raises InputError where the index is missing, nothing is left, or as `choose` does.
    """

    kind = "objaverse"

    def __init__(
        self,
        *,
        root: Path | str,
        ids: Sequence[str] | None = None,
        categories: Sequence[str] | None = None,
        split_file: Path | str | None = None,
        lvis: bool = True,
        licences: Sequence[str] | None = ("by",),
        subset: str | None = None,
        limit: int | None = None,
        val_fraction: float = 0.0,
        partial: bool = False,
        filters: Filters | None = None,
        up: Axis = "auto",
        labels: Literal["exact", "approximate", "unreliable"] = "approximate",
        antialias: int = 1,
        download: bool = False,
        url: str | None = None,
        workers: int = 8,
        patience: Patience | None = None,
        disk_gb: float | None = None,
    ) -> None:
        folder = Path(root).expanduser()
        if (folder / "hf-objaverse-v1").is_dir() and not (folder / "glbs").is_dir():
            raise InputError(
                f"source.root={root}: name the folder in it, source.root={folder / 'hf-objaverse-v1'}"
            )
        if download:
            folder.mkdir(parents=True, exist_ok=True)
        self.download, self._workers, self._disk_gb = download, workers, disk_gb
        self._patience = patience
        index = ObjaverseIndex(folder, download=download, url=url, patience=patience)
        self.url = index.url
        chosen = choose(
            index,
            ids=ids,
            categories=categories,
            split_file=split_file,
            lvis=lvis,
            subset=subset,
            licences=licences,
            limit=limit,
        )
        if chosen.unknown and not partial:
            raise InputError(
                f"Objaverse has no objects {few(chosen.unknown)}; source.partial=true goes on without them"
            )
        left_out = ", ".join(f"{count} {licence}" for licence, count in chosen.by_licence.most_common())
        if left_out:
            log.info("left out by licence: %s (source.licences)", left_out)
        if not chosen.rows:
            why = f"; left out by licence: {left_out}" if left_out else ""
            raise InputError(f"source=objaverse: no objects are left by what is asked for{why}")
        self._recorded: dict[str, str] | None = None
        super().__init__(
            root=folder,
            rows=chosen.rows,
            val_fraction=val_fraction,
            up=up,
            labels=labels,
            antialias=antialias,
            filters=filters,
        )
        self.missing = chosen.unknown

    def fetch(
        self, ids: Sequence[str] | None = None, *, record: Record | None = None, progress: bool = True
    ) -> DownloadSummary:
        """Have the files of `ids` (of all) in root, from the server those that are missing or cut short.

        record: hears of every object what became of it: done, failed, or rejected where its annotation is
        enough for a filter. Raises InputError as `download_objects` does; single failures are in the summary.
        """
        wanted: dict[str, RemoteFile] = {}
        for id in self.ids() if ids is None else ids:
            row = self._row(id)
            licence = row.get("licence") or None
            try:
                self._check_stated(id)
            except Rejected as error:
                if record is not None:
                    record(id, "rejected", str(error), 0, licence)
                continue
            wanted[id] = RemoteFile(row["file"], licence, row.get("sha256", ""))
        try:
            summary = download_objects(
                self.root,
                wanted,
                url=self.url,
                workers=self._workers,
                patience=self._patience,
                disk_gb=self._disk_gb,
                record=record,
                progress=progress,
            )
        finally:
            self._recorded = None
        log.log(logging.WARNING if summary.failed else logging.INFO, "%s", summary)
        return summary

    def absent(self, ids: Sequence[str] | None = None) -> list[str]:
        """Those of `ids` (of all) whose files `fetch` would download."""
        found = []
        for id in self.ids() if ids is None else ids:
            try:
                self._check_stated(id)
            except Rejected:
                continue
            if not is_whole(self._mesh_file(id).file):
                found.append(id)
        return found

    def licence_of(self, id: str) -> str | None:
        """Of one object, such as CC-BY-4.0."""
        return self._row(id).get("licence") or None

    def file(self, id: str) -> Path:
        """The GLB of an object. InputError where it is not downloaded, or cut short."""
        file = self._mesh_file(id).file
        if not is_whole(file):
            raise InputError(
                f"{file}: is not downloaded, or cut short; stage=download or source.download=true fetches it"
            )
        return file

    def fingerprint(self, id: str) -> str:
        """As of any folder; the sha256 is the recorded one, where there is one, so that terabytes need not be
        read, nor be kept, to tell that what was made of them still fits."""
        return self._fingerprint(id, self._sha256(id) or sha256_of(self.file(id)))

    def load(self, id: str, *, shading: float = 0.0) -> LoadedObject:
        self._check_stated(id)
        file, row = self.file(id), self._row(id)
        expected = self._sha256(id)
        if expected and (found := sha256_of(file)) != expected:
            raise InputError(
                f"{file}: {CHECKSUMS} has recorded sha256 {expected}, found {found}; delete the file to download "
                f"it again, or its line in {CHECKSUMS} to accept what there is now"
            )
        loaded = super().load(id, shading=shading)
        credit = {key: row[key] for key in ("name", "uri", "category") if row.get(key)}
        return replace(loaded, provenance=loaded.provenance | credit)

    def _check_stated(self, id: str) -> None:
        if self._filters is None:
            return
        row = self._row(id)
        faces, animations = (int(row[key]) if row.get(key) else None for key in ("faces", "animations"))
        self._filters.check_stated(faces=faces, animations=animations)

    def _sha256(self, id: str) -> str | None:
        """As recorded when the object was downloaded, or as listed."""
        if self._recorded is None:
            sums = read_checksums(self.root / CHECKSUMS)
            paths = {id: row["file"] for id, row in self._rows.items()}
            self._recorded = {id: sums[id][path] for id, path in paths.items() if path in sums.get(id, {})}
        return self._recorded.get(id) or self._row(id).get("sha256") or None

    def _mesh_file(self, id: str) -> MeshFile:
        return MeshFile(self.root / self._row(id)["file"], self.root)
