"""Prepared objects on disk, read and checked: the folder of one object and the root that holds many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from one2345.errors import InputError
from one2345.geometry import Cameras

from .images import composite, decode_depth, decode_normals, read_png
from .posed_views import PosedViews
from .samples import Samples, read_samples
from .schema import SCHEMA_NAME, SCHEMA_VERSION, check_id, check_object, load_json

OBJECTS = "objects"


@dataclass(frozen=True)
class ObjectRecord:
    """One prepared object: checked description at hand, images and samples read when asked for.

    names, roles: v strings. parents: v names or None. cameras: Cameras (v). sources: roles that a
    reconstruction is given. flags, provenance: as in object.json.
    """

    folder: Path
    id: str
    names: tuple[str, ...]
    roles: tuple[str, ...]
    parents: tuple[str | None, ...]
    cameras: Cameras
    sources: tuple[str, ...]
    has_depth: bool
    has_normals: bool
    sample_counts: dict[str, Any] | None
    split: str | None
    recipe: str | None
    flags: dict[str, Any]
    provenance: dict[str, Any]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images in pixels."""
        return self.cameras.size

    def indices(self, *roles: str) -> list[int]:
        """Positions of the views that have one of `roles`, in file order."""
        return [i for i, role in enumerate(self.roles) if role in roles]

    def true_indices(self) -> list[int]:
        """Positions of the views that are true pictures: all but those of the roles in flags.predicted."""
        predicted = self.flags.get("predicted", ())
        return [i for i, role in enumerate(self.roles) if role not in predicted]

    def source_indices(self) -> list[int]:
        """Positions of the views that a reconstruction is given."""
        return self.indices(*self.sources)

    def index(self, name: str) -> int:
        """Position of the view `name`. Raises InputError with the names that exist."""
        if name not in self.names:
            raise InputError(f"{self.folder}: no view {name!r}; views: {', '.join(self.names)}")
        return self.names.index(name)

    def rgba(self, view: int) -> NDArray[np.uint8]:
        """Straight-alpha pixels (h, w, 4) of one view, as stored."""
        return self._pixels("images", view, mode="RGBA")

    def stored_depth(self, view: int) -> NDArray[np.uint16]:
        """Depth (h, w) of one view, as stored (see `images.decode_depth`)."""
        if not self.has_depth:
            raise InputError(f"{self.folder}: this object was prepared without depth")
        return self._pixels("depth", view, mode="I;16")

    def views(
        self,
        select: Sequence[int] | Sequence[str] | None = None,
        *,
        depth: bool = False,
        normals: bool = False,
    ) -> PosedViews:
        """The selected views (positions or names; default all), with depth and normals on request.

        Raises InputError naming the file that is missing, truncated or of the wrong size.
        """
        chosen = range(len(self)) if select is None else select
        indices = [self.index(s) if isinstance(s, str) else int(s) for s in chosen]
        if not indices:
            raise InputError(f"{self.folder}: no views selected")
        if normals and not self.has_normals:
            raise InputError(f"{self.folder}: this object was prepared without normals")
        images, masks = composite(torch.from_numpy(np.stack([self.rgba(i) for i in indices])))
        position = {self.names[old]: new for new, old in enumerate(indices)}
        stored_normals = [self._pixels("normals", i, mode="RGB") for i in indices if normals]
        return PosedViews(
            images=images,
            masks=masks,
            cameras=self.cameras[indices],
            names=tuple(self.names[i] for i in indices),
            roles=tuple(self.roles[i] for i in indices),
            parents=tuple(position.get(self.parents[i] or "") for i in indices),
            depth=decode_depth(np.stack([self.stored_depth(i) for i in indices])) if depth else None,
            normals=decode_normals(np.stack(stored_normals)) if normals else None,
        )

    def samples(self, *, occupancy: bool = True) -> Samples:
        """Labels of the object. Raises InputError when it has none or the file is damaged."""
        if self.sample_counts is None:
            raise InputError(f"{self.folder}: this object was prepared without samples")
        file = self.folder / "samples.npz"
        samples = read_samples(file, occupancy=occupancy, data=self._packed("samples", 0))
        found = samples.counts()
        for key in ("sdf_points", "surface_points", *(["occupancy"] if occupancy else [])):
            if found[key] != self.sample_counts[key]:
                raise InputError(
                    f"{file}: {key} is {found[key]}, but object.json says {self.sample_counts[key]}"
                )
        return samples

    def check(self) -> None:
        """Decode every file of the object. Raises InputError naming the first bad one."""
        self.views(depth=self.has_depth, normals=self.has_normals)
        if self.sample_counts is not None:
            self.samples()

    @property
    def nbytes(self) -> int:
        """Memory that the record keeps of the object's files: none where they are read from disk when asked for."""
        return 0

    def _pixels(self, kind: str, view: int, *, mode: str) -> NDArray[Any]:
        file = self.folder / kind / f"{self.names[view]}.png"
        return read_png(file, mode=mode, size=self.size, data=self._packed(kind, view))

    def _packed(self, kind: str, view: int) -> bytes | memoryview | None:
        """Content of a file (images, depth, normals of a view; samples) where it lies packed with others."""
        return None


def read_object(folder: Path | str) -> ObjectRecord:
    """Read and check folder/object.json; images are decoded later, when they are asked for.

    Raises InputError naming file and key; the id must be the folder's name.
    """
    folder = Path(folder)
    file = folder / "object.json"
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such object folder")
    document = load_json(file)
    described = describe_object(document, file)
    _check_name(document["id"], file)
    return ObjectRecord(folder=folder, **described)


def describe_object(document: dict[str, Any], file: Path) -> dict[str, Any]:
    """The fields of an `ObjectRecord`, but for the folder, that an object.json says, checked; `file` names it."""
    cameras = check_object(document, file)
    views = document["views"]
    return {
        "id": document["id"],
        "names": tuple(view["name"] for view in views),
        "roles": tuple(view["role"] for view in views),
        "parents": tuple(view["parent"] for view in views),
        "cameras": cameras,
        "sources": tuple(document["sources"]),
        "has_depth": document["depth"],
        "has_normals": document["normals"],
        "sample_counts": document["samples"],
        "split": document["split"],
        "recipe": document["recipe"],
        "flags": document["flags"],
        "provenance": document["provenance"],
    }


def _check_name(id: str, file: Path) -> None:
    """The id names the folder: whatever is written or looked up by it stays where it belongs."""
    try:
        check_id(id)
    except InputError as error:
        raise InputError(f"{file}: id: {error}") from error
    folder = file.absolute().parent.name
    if id != folder:
        raise InputError(f"{file}: id is {id!r}, but the folder is called {folder!r}; rename the folder")


def read_dataset(root: Path | str) -> dict[str, Any]:
    """root/dataset.json. Raises InputError when `root` is no prepared dataset, saying how to make one."""
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder; it should hold data made by prepare.py")
    file = root / "dataset.json"
    if not file.is_file():
        raise InputError(
            f"{root}: holds no dataset.json, so it is not prepared data; for a folder of meshes run "
            "`python prepare.py source=folder source.root=DIR out=DIR` first"
        )
    document = load_json(file)
    if document.get("schema") != SCHEMA_NAME or document.get("version") != SCHEMA_VERSION:
        raise InputError(
            f"{file}: schema/version are {document.get('schema')!r}/{document.get('version')!r}, this "
            f"program reads {SCHEMA_NAME!r}/{SCHEMA_VERSION}"
        )
    return document


def list_objects(root: Path | str) -> list[str]:
    """Sorted ids of the objects in a prepared dataset. Raises InputError when it isn't one."""
    read_dataset(root)
    folder = Path(root) / OBJECTS
    return sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []


def object_folder(root: Path | str, id: str) -> Path:
    """Folder of one object."""
    return Path(root) / OBJECTS / id


def only_object(root: Path) -> ObjectRecord | None:
    """The object at `root`: its own folder, or the one object of a dataset; None where it is neither.

    Raises InputError for a dataset of none or several.
    """
    if (root / "object.json").is_file():
        return read_object(root)
    if not (root / "dataset.json").is_file():
        return None
    ids = list_objects(root)
    if len(ids) != 1:
        raise InputError(f"{root}: holds {len(ids)} objects; give the folder of one, {root}/{OBJECTS}/<id>")
    return read_object(object_folder(root, ids[0]))
