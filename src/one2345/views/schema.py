"""What object.json must say: its JSON schema, and what a schema can't say (cameras that are cameras)."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from jsonschema import Draft202012Validator

from one2345.errors import InputError
from one2345.geometry import Cameras, in_frame, project

SCHEMA_NAME = "one2345-views"
SCHEMA_VERSION = 1

_ROTATION_TOLERANCE = 1e-3


_FORBIDDEN = re.compile(r"[/\\\x00-\x1f]")


def check_id(id: str) -> str:
    """`id` itself if it can name a folder anywhere. Raises InputError otherwise."""
    if not id or id.startswith(".") or _FORBIDDEN.search(id) or len(id.encode()) > 200:
        raise InputError(
            f"object id {id!r} can't name a folder: it must not be empty, start with a dot, hold slashes or "
            "control characters, or be longer than 200 bytes"
        )
    return id


@cache
def object_validator() -> Draft202012Validator:
    """Validator of object.json, from the schema file beside this module."""
    schema = json.loads(files("one2345.views").joinpath("object.schema.json").read_text(encoding="utf-8"))
    return Draft202012Validator(schema)


def load_json(file: Path) -> dict[str, Any]:
    """A JSON object. Raises InputError naming the file when it is missing or not one."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file}: the file does not exist") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{file}: not readable JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{file}: expected a JSON object at the top")
    return value


def check_object(document: dict[str, Any], file: Path) -> Cameras:
    """Check the content of an object.json and return its cameras (v), float32.

    Raises InputError naming `file` and the key: schema violations, names that repeat, unknown parents,
    numbers that are not finite, focal lengths that are not positive, matrices that are no rigid pose,
    and cameras that don't have the world's origin in view.
    """
    if document.get("schema", SCHEMA_NAME) == SCHEMA_NAME and document.get("version", 1) != SCHEMA_VERSION:
        raise InputError(
            f"{file}: version is {document['version']!r}, this program reads version {SCHEMA_VERSION}; "
            "prepare the data again"
        )
    error = next(
        iter(sorted(object_validator().iter_errors(document), key=lambda e: [str(p) for p in e.path])), None
    )
    if error is not None:
        raise InputError(f"{file}: {_key(error.absolute_path)}: {error.message[:300]}")
    views = document["views"]
    names = [view["name"] for view in views]
    for i, view in enumerate(views):
        if view["name"] in names[:i]:
            raise InputError(f"{file}: views[{i}].name: {view['name']!r} appears twice")
        if view["parent"] is not None and view["parent"] not in names:
            raise InputError(f"{file}: views[{i}].parent: there is no view {view['parent']!r}")
    for part in ("K", "c2w"):
        for i, view in enumerate(views):
            if not torch.tensor(view[part], dtype=torch.float64).isfinite().all():
                raise InputError(f"{file}: views[{i}].{part} ({names[i]}): holds NaN or infinite numbers")
    K = torch.tensor([view["K"] for view in views], dtype=torch.float64)
    c2w = torch.tensor([view["c2w"] for view in views], dtype=torch.float64)
    _check_matrices(K, c2w, names, file)
    height, width = document["size"]
    cameras = Cameras(K=K.float(), c2w=c2w.float(), size=(height, width))
    _check_origin_in_view(cameras, names, file)
    return cameras


def _check_matrices(K: torch.Tensor, c2w: torch.Tensor, names: list[str], file: Path) -> None:
    """K (v, 3, 3) has positive focal lengths and last row 0 0 1; c2w (v, 4, 4) is a rigid motion."""
    bottom_k, bottom = K.new_tensor([0.0, 0.0, 1.0]), c2w.new_tensor([0.0, 0.0, 0.0, 1.0])
    rotation = c2w[:, :3, :3]
    skew = (rotation.mT @ rotation - torch.eye(3, dtype=c2w.dtype)).abs().amax((1, 2))
    det = torch.linalg.det(rotation)
    for i, name in enumerate(names):
        if not (K[i, 0, 0] > 0 and K[i, 1, 1] > 0):
            raise InputError(
                f"{file}: views[{i}].K ({name}): focal lengths {K[i, 0, 0]:g}, {K[i, 1, 1]:g} must "
                "be positive"
            )
        if not torch.allclose(K[i, 2], bottom_k):
            raise InputError(f"{file}: views[{i}].K ({name}): the last row must be 0 0 1")
        if skew[i] > _ROTATION_TOLERANCE or det[i] < 0:
            raise InputError(
                f"{file}: views[{i}].c2w ({name}): the upper left 3x3 is no rotation "
                f"(determinant {det[i]:.4g}, off orthonormal by {skew[i]:.2g})"
            )
        if not torch.allclose(c2w[i, 3], bottom):
            raise InputError(f"{file}: views[{i}].c2w ({name}): the last row must be 0 0 0 1")


def _check_origin_in_view(cameras: Cameras, names: list[str], file: Path) -> None:
    pixels, depth = project(torch.zeros(len(names), 1, 3), cameras)
    seen = in_frame(pixels, depth, cameras.size)[:, 0]
    for i, name in enumerate(names):
        if not seen[i]:
            where = "behind the camera" if depth[i, 0] <= 0 else "outside the frame"
            raise InputError(
                f"{file}: views[{i}].c2w ({name}): the camera looks away from the object (the origin "
                f"is {where}; camera axes must be OpenCV's: x right, y down, z forward)"
            )


def _key(path: Any) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "top level"
