"""Google Scanned Objects as a source (Downs et al., ICRA 2022): 1,030 scans, CC-BY-4.0."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from one2345.errors import InputError

from .download import GSO, Patience, download_models
from .object_list import ObjectList, load_object_list
from .sources.folder import FolderSource, few
from .sources.layouts import Axis, MeshFile

log = logging.getLogger(__name__)


class GsoSource(FolderSource):
    """A folder of Google Scanned Objects: the official release, MuJoCo or Gazebo copies, OBJ or GLB files.

    The release and its copies are in metres and z up, so every OBJ is taken for z up, where a plain folder's
    would be y up; GLB files are y up by definition. `up` overrides both.

    download: first have the models in `root` that are asked for by ids or list, or all 1,030, from the server
    `url` (see `download_models`); workers: so many at a time. partial goes on without those that fail (`failed`:
    id → reason). The rest is as in `FolderSource`.

    Raises InputError as `FolderSource` and `download_models` do.
    """

    kind = "gso"
    licence = "CC-BY-4.0"
    author = "Google LLC (Google Scanned Objects, Downs et al., ICRA 2022)"

    def __init__(
        self,
        *,
        root: Path | str,
        list: ObjectList | str | Path | None = None,
        partial: bool = False,
        check: bool = True,
        ids: Sequence[str] | None = None,
        subset: str | None = None,
        limit: int | None = None,
        up: Axis = "auto",
        labels: Literal["exact", "approximate", "unreliable"] = "approximate",
        antialias: int = 1,
        download: bool = False,
        url: str = GSO.url,
        workers: int = 4,
        patience: Patience | None = None,
    ) -> None:
        self.failed: dict[str, str] = {}
        chosen = list if isinstance(list, ObjectList | None) else load_object_list(list)
        if download:
            collection = replace(GSO, url=url)
            wanted = ids
            if wanted is None and chosen is not None:
                wanted = chosen.ids(subset if chosen.has_splits else None)
            if wanted is None:
                wanted = collection.ids(patience=patience)
            summary = download_models(
                root,
                collection=collection,
                ids=sorted(wanted)[:limit],
                list=chosen,
                workers=workers,
                patience=patience,
            )
            self.failed = dict(summary.failed)
            log.log(logging.WARNING if summary.failed else logging.INFO, "%s", summary)
            if summary.failed and not partial:
                id, reason = next(iter(summary.failed.items()))
                raise InputError(
                    f"{few([*summary.failed])} could not be downloaded; {id}: {reason}; run it again to go on, "
                    "source.partial=true goes on without them"
                )
        super().__init__(
            root=root,
            list=chosen,
            partial=partial,
            check=check,
            ids=ids,
            subset=subset,
            limit=limit,
            up=up,
            labels=labels,
            antialias=antialias,
        )

    def _mesh_file(self, id: str) -> MeshFile:
        found = super()._mesh_file(id)
        is_z_up = found.up == "auto" and found.file.suffix.lower() == ".obj"
        return replace(found, up="z") if is_z_up else found
