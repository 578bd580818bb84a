"""Write one object's folder: aside first, then into place in one rename, so that it is whole or absent."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from one2345.errors import InputError
from one2345.files import aside_name, is_abandoned, remove_abandoned, sync, write_atomic
from one2345.geometry import Cameras

from .images import encode_depth, encode_normals, straight_rgba, write_png
from .posed_views import PosedViews
from .reader import object_folder
from .samples import Samples, write_samples
from .schema import SCHEMA_NAME, SCHEMA_VERSION, check_id, check_object

PARTIAL = ".partial"
_ATTEMPTS = 10


def write_object(
    root: Path | str,
    id: str,
    *,
    views: PosedViews,
    samples: Samples | None = None,
    sources: tuple[str, ...] = ("stage1",),
    provenance: Mapping[str, Any] | None = None,
    flags: Mapping[str, Any] | None = None,
    split: str | None = None,
    recipe: str | None = None,
) -> Path:
    """Write ROOT/objects/<id>/ and return it. An object of that id that exists is replaced.

    The same arguments give the same bytes. What is described is checked as the reader would.
    Raises InputError for an unusable id, camera, depth or image.
    """
    root = Path(root)
    final = object_folder(root, check_id(id))
    document = object_document(
        id=id,
        cameras=views.cameras,
        names=views.names,
        roles=views.roles,
        parents=[None if parent is None else views.names[parent] for parent in views.parents],
        sources=sources,
        depth=views.depth is not None,
        normals=views.normals is not None,
        samples=None if samples is None else samples.counts(),
        split=split,
        recipe=recipe,
        flags=flags or {},
        provenance=provenance or {},
    )
    check_object(document, final / "object.json")
    if not (views.images.isfinite().all() and views.masks.isfinite().all()):
        raise InputError(f"{final}: images or masks hold NaN or infinite values")
    aside = _new_folder(root / PARTIAL)
    try:
        _write_files(aside, views, samples)
        write_json(aside / "object.json", document)
        for file in sorted(p for p in aside.rglob("*") if p.is_file()):
            sync(file)
        _replace(aside, final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return final


def object_document(
    *,
    id: str,
    cameras: Cameras,
    names: Sequence[str],
    roles: Sequence[str],
    parents: Sequence[str | None],
    sources: Sequence[str],
    depth: bool,
    normals: bool,
    samples: Mapping[str, Any] | None,
    split: str | None,
    recipe: str | None,
    flags: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """What object.json says of an object with cameras (v) and v names, roles and names of parents; not checked."""
    return {
        "schema": SCHEMA_NAME,
        "version": SCHEMA_VERSION,
        "id": id,
        "size": list(cameras.size),
        "sources": list(sources),
        "depth": depth,
        "normals": normals,
        "samples": samples,
        "split": split,
        "recipe": recipe,
        "flags": dict(flags),
        "provenance": dict(provenance),
        "views": [
            {
                "name": name,
                "role": role,
                "parent": parent,
                "K": _numbers(cameras.K[i]),
                "c2w": _numbers(cameras.c2w[i]),
            }
            for i, (name, role, parent) in enumerate(zip(names, roles, parents, strict=True))
        ],
    }


def write_json(file: Path, document: Mapping[str, Any]) -> None:
    """Sorted keys, one line per key or list entry, UTF-8; NaN is refused. Written aside and renamed."""
    lines = []
    for key in sorted(document):
        value = document[key]
        if isinstance(value, list) and value and isinstance(value[0], dict):
            lines.append(f" {_compact(key)}: [\n  " + ",\n  ".join(_compact(v) for v in value) + "\n ]")
        else:
            lines.append(f" {_compact(key)}: {_compact(value)}")
    write_atomic(file, "{\n" + ",\n".join(lines) + "\n}\n")


def remove_stale(root: Path) -> None:
    """Remove what dead writers of this machine left in ROOT and ROOT/.partial, and that when it is empty."""
    remove_abandoned(root)
    partial = root / PARTIAL
    if not partial.is_dir():
        return
    for folder in partial.iterdir():
        if is_abandoned(folder.name.removesuffix(".old")):
            shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # not empty: other writers are at work
        partial.rmdir()


def _new_folder(partial: Path) -> Path:
    """A folder of its own under `partial`, which another writer may be removing because it was empty."""
    for _ in range(_ATTEMPTS):
        folder = partial / aside_name()
        with suppress(FileNotFoundError):
            folder.mkdir(parents=True)
            return folder
    raise OSError(errno.ENOENT, "the folder is removed again and again", str(partial))


def _write_files(folder: Path, views: PosedViews, samples: Samples | None) -> None:
    arrays: dict[str, np.ndarray] = {"images": straight_rgba(views.images, views.masks)}
    if views.depth is not None:
        arrays["depth"] = encode_depth(views.depth)
    if views.normals is not None:
        arrays["normals"] = encode_normals(views.normals)
    for kind, pixels in arrays.items():
        (folder / kind).mkdir()
        for name, image in zip(views.names, pixels, strict=True):
            write_png(folder / kind / f"{name}.png", image)
    if samples is not None:
        write_samples(folder / "samples.npz", samples)


def _replace(aside: Path, final: Path) -> None:
    """Put `aside` in the place of `final`, whether or not another writer is doing the same."""
    final.parent.mkdir(parents=True, exist_ok=True)
    old = aside.with_name(aside.name + ".old")
    try:
        for attempt in range(_ATTEMPTS):
            with suppress(FileNotFoundError):
                os.rename(final, old)
            try:
                os.rename(aside, final)
                break
            except OSError as error:  # another writer was faster
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or attempt == _ATTEMPTS - 1:
                    raise
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(old, ignore_errors=True)
    sync(final.parent)


def _compact(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _numbers(matrix: Tensor) -> list[list[float]]:
    """float32 entries as the shortest decimals that read back to the same float32."""
    return [[float(str(x)) + 0.0 for x in row] for row in matrix.float().cpu().numpy()]
