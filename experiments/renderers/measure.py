"""How far ray casting and Blender agree on scans: python experiments/renderers/measure.py gso_dev=DIR python=PATH

Writes results.json beside this file: figures alone, no pictures.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from one2345.data import LoadedObject
from one2345.data.renderers import BlenderRenderer
from one2345.data.sources import open_meshes
from one2345.geometry import OBJECT_EDGE, Cameras, orbit_cameras
from one2345.objects import MeshObject, Render
from one2345.objects.quality import MeshWarning

CAMERAS = orbit_cameras([0.0, 130.0, 250.0], [20.0, -5.0, 55.0], size=256)
WAYS = {
    "albedo": {"surface": "albedo", "samples": 64},
    "white light": {"surface": "asset", "samples": 16},
}


def figures(ours: Render, fine: Render, theirs: Render) -> dict[str, float]:
    """Both sides at once. Depth in shares of the object's size; colours in [0, 1], away from outlines."""
    seen, found = ours.depth > 0, theirs.depth > 0
    both = seen & found
    away = (ours.depth - theirs.depth).abs()[both] / OBJECT_EDGE
    solid = ((ours.mask > 0.99) & (theirs.mask > 0.99)).float()[:, None]
    inner = (-torch.nn.functional.max_pool2d(-solid, 3, 1, 1)[:, 0] > 0.5) & both
    colour = (theirs.rgb - fine.rgb).movedim(1, -1)[inner]
    return {
        "outline IoU": _overlap(seen, found),
        "mask IoU": _overlap(fine.mask > 0.5, theirs.mask > 0.5),
        "depth mean": float(away.mean()),
        "depth 99 %": float(away.quantile(0.99)),
        "depth beyond 1 %": float((away > 0.01).float().mean()),
        "normal 99 % cosine": float((ours.normal * theirs.normal).sum(1)[both].quantile(0.01)),
        "colour difference": float(colour.abs().mean()),
        "colour bias": float(colour.mean()),
    }


def _overlap(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a & b).sum() / (a | b).sum())


def fine(loaded: LoadedObject, cameras: Cameras) -> Render:
    """Ray cast with 9 x 9 rays per pixel: Blender's pictures are averages over pixels too.

    An odd number, so that no pixel is exactly half covered.
    """
    assert isinstance(loaded.object, MeshObject)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MeshWarning)
        item = MeshObject(loaded.object.mesh, id="fine", normalise=False, antialias=9, repair=False)
    return item.render(cameras)


def main() -> None:
    told = dict(argument.split("=", 1) for argument in sys.argv[1:])
    source, rows = open_meshes(told["gso_dev"]), dict[str, dict[str, Any]]()
    for id in source.ids():
        loaded = source.load(id)
        ours, averaged = loaded.object.render(CAMERAS), fine(loaded, CAMERAS)
        rows[id] = {}
        for way, values in WAYS.items():
            blender = BlenderRenderer(python=told["python"], threads=2, **values)
            start = time.monotonic()
            theirs = blender.render(loaded, CAMERAS)
            rows[id][way] = {**figures(ours, averaged, theirs), "seconds": time.monotonic() - start}
            print(id, way, {k: round(v, 5) for k, v in rows[id][way].items()}, flush=True)
    summary = {way: _summary([row[way] for row in rows.values()]) for way in WAYS}
    print(json.dumps(summary, indent=1))
    text = json.dumps({"summary": summary, "objects": _rounded(rows)}, indent=1) + "\n"
    Path(__file__).with_name("results.json").write_text(text)


def _summary(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    table = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    return {
        key: {
            "mean": round(float(v.mean()), 5),
            "low": round(float(v.min()), 5),
            "high": round(float(v.max()), 5),
        }
        for key, v in table.items()
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return round(value, 5)


if __name__ == "__main__":
    main()
