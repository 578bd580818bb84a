"""What a reconstruction leaves in its folder: mesh files, views, input, turntable and a report."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

import one2345
from one2345.errors import InputError
from one2345.files import write_atomic
from one2345.geometry import spherical
from one2345.meshing import FORMATS, components, write_mesh
from one2345.meshing.turntable import sheet, turntable, write_animation
from one2345.views import SCHEMA_NAME, SCHEMA_VERSION, check_id, write_json, write_object
from one2345.views.images import encode_png, straight_rgba

from .image_to_3d import Reconstruction

ANIMATIONS = ("gif", "mp4")
REPORT = "report.json"


def check_formats(formats: Sequence[str]) -> None:
    """InputError for a mesh format that is not written."""
    for name in formats:
        if f".{name}" not in FORMATS:
            raise InputError(f"formats: {name!r} is not written; use {', '.join(f[1:] for f in FORMATS)}")


def save(
    found: Reconstruction,
    out: Path,
    *,
    id: str = "object",
    formats: Sequence[str] = ("glb",),
    animations: Sequence[str] = ("gif",),
    frames: int = 24,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Path]:
    """Write everything of `found` to the folder `out` and return the paths by what they are.

    mesh.<format> (y up), input.png, views/ (the views format, which `posed=` and `views=replay` read), turntable.png
    and turntable.<animation>, report.json. The same result gives the same bytes, but for the report's times.
    """
    check_formats(formats)
    if unknown := sorted(set(animations) - set(ANIMATIONS)):
        raise InputError(f"turntable: {unknown[0]!r} is not written; use {', '.join(ANIMATIONS)}")
    begin = time.perf_counter()
    paths = {f"mesh.{name}": write_mesh(found.mesh, out / f"mesh.{name}") for name in formats}
    if found.picture is not None:
        paths["input"] = out / "input.png"
        rgba = straight_rgba(found.picture.image[None], found.picture.mask[None])[0]
        write_atomic(paths["input"], encode_png(rgba))
    paths["views"] = _write_views(found, out / "views", check_id(id))
    pictures = turntable(found.mesh, frames=frames)
    paths["turntable"] = out / "turntable.png"
    write_atomic(paths["turntable"], encode_png(sheet(pictures)))
    for name in animations:
        paths[f"turntable.{name}"] = write_animation(pictures, out / f"turntable.{name}")
    document = report(found, files=[p.relative_to(out).as_posix() for p in paths.values()])
    document["stages"].append({"name": "files", "seconds": round(time.perf_counter() - begin, 3)})
    document |= dict(provenance or {})
    paths["report"] = out / REPORT
    write_atomic(paths["report"], json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n")
    return paths


def report(found: Reconstruction, *, files: Sequence[str] = ()) -> dict[str, Any]:
    """Plain values that say what was made of what, in which time, and what to be wary of."""
    low, high = found.mesh.bounds
    picture = found.picture
    pieces = np.unique(components(found.surface)[found.surface.faces[:, 0]])
    azimuths, elevations, radii = spherical(found.views.cameras.c2w)
    return {
        "one2345": one2345.__version__,
        "torch": torch.__version__,
        **found.facts,
        "input": None if picture is None else {**_plain(picture.facts), "sha256": picture.sha256},
        "elevation": None if found.elevation is None else asdict(found.elevation),
        "views made": [
            {
                "name": n,
                "azimuth": round(float(a), 4),
                "elevation": round(float(e), 4),
                "radius": round(float(r), 4),
            }
            for n, a, e, r in zip(found.views.names, azimuths, elevations, radii, strict=True)
        ],
        "mesh": {
            "vertices": len(found.mesh.vertices),
            "faces": len(found.mesh.faces),
            "pieces": len(pieces),
            "bounds": np.round([low, high], 5).tolist(),
        },
        "texture": None if found.texture is None else _plain(found.texture),
        "stages": [{**asdict(r), "seconds": round(r.seconds, 3)} for r in found.stages],
        "warnings": list(found.warnings),
        "files": list(files),
    }


def _write_views(found: Reconstruction, root: Path, id: str) -> Path:
    """The views, as a dataset of one object."""
    root.mkdir(parents=True, exist_ok=True)
    write_json(
        root / "dataset.json",
        {"schema": SCHEMA_NAME, "version": SCHEMA_VERSION, "description": {"kind": "reconstruction"}},
    )
    provenance = {"made by": f"one2345 {one2345.__version__}", **_plain(found.facts)}
    if found.elevation is not None:
        provenance["elevation"] = found.elevation.degrees
    write_object(root, id, views=found.views, sources=found.sources, provenance=provenance)
    return root


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(dict(facts), default=str))
