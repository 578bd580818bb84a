"""The folder that prepare.py writes: one folder an object (see `one2345.views`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from one2345.views import ObjectRecord, list_objects, object_folder, read_dataset, read_object
from one2345.views.schema import load_json


class FolderStore:
    """A prepared `root`. Raises InputError when it is none; objects may be added to it meanwhile."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        read_dataset(self.root)

    def ids(self) -> list[str]:
        return list_objects(self.root)

    def record(self, id: str) -> ObjectRecord:
        return read_object(object_folder(self.root, id))

    def split(self, id: str) -> str | None:
        return load_json(object_folder(self.root, id) / "object.json").get("split")

    def groups(self, ids: Sequence[str]) -> list[int] | None:
        return None
