"""Predicted objects in the layout of the published One-2-3-45 training data (its release's own files).

OUT/zero12345_narrow/<folder>/<id>/ holds view_{i}.png (true, RGBA), view_{i}_depth_mm.png (thousandths of a world
unit) and view_{i}_{j}_10.png (predicted, on white). The release has one pose file for all its shapes; here the
elevation differs from object to object, so each has a One2345_training_pose.json of its own.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from one2345.errors import InputError
from one2345.files import write_atomic
from one2345.geometry import opengl_from_opencv
from one2345.views import ObjectRecord
from one2345.views.images import composite, decode_depth, encode_png, read_png
from one2345.views.layouts.published import POSES

from .stores.published import NARROW

FOLDERS = 160
NEAR_FAR = (0.5, 1.8)


def published_folder(out: Path, id: str) -> Path:
    """Folder of an object; the release has 160 folders for its ids, ours go by a digest."""
    number = int.from_bytes(hashlib.blake2b(id.encode(), digest_size=4).digest()) % FOLDERS
    return out / NARROW / f"000-{number:03d}" / id


def is_missing(out: Path, id: str) -> bool:
    """Whether the object is not there, or not whole."""
    return not (published_folder(out, id) / POSES).is_file()


def publish(record: ObjectRecord, predicted: Path, out: Path) -> Path:
    """Write one object, pose file last; what is there is replaced by the same. The folder.

    predicted: the folder of its predictions, <view name>.png. Raises InputError where its plan is not of the
    published kind: eight stage-1 views with four near views each.
    """
    folder = published_folder(out, record.id)
    stage1 = record.indices("stage1")
    near = {
        view: [i for i in record.indices("near") if record.parents[i] == record.names[view]]
        for view in stage1
    }
    if len(stage1) != 8 or any(len(children) != 4 for children in near.values()):
        raise InputError(
            f"{record.folder}: layout=published needs eight stage-1 views with four near views each (plan=published)"
        )
    c2ws: dict[str, Any] = {}
    height, width = record.size
    for i, view in enumerate(stage1):
        write_atomic(folder / f"view_{i}.png", encode_png(record.rgba(view)))
        if record.has_depth:
            depth = decode_depth(record.stored_depth(view)[None])[0].numpy()
            write_atomic(
                folder / f"view_{i}_depth_mm.png", encode_png(np.round(depth * 1000).astype(np.uint16))
            )
        c2ws[f"view_{i}"] = record.cameras.c2w[view]
        for j, child in enumerate(near[view]):
            picture = _on_white(predicted / f"{record.names[child]}.png", (height, width))
            write_atomic(folder / f"view_{i}_{j}_10.png", encode_png(picture))
            c2ws[f"view_{i}_{j}_10"] = record.cameras.c2w[child]
    poses = {
        "intrinsics": record.cameras.K[stage1[0]].tolist(),
        "near_far": list(NEAR_FAR),
        "c2ws": {name: opengl_from_opencv(c2w).tolist() for name, c2w in c2ws.items()},
    }
    write_atomic(folder / POSES, json.dumps(poses, indent=1) + "\n")
    return folder


def _on_white(file: Path, size: tuple[int, int]) -> np.ndarray:
    """A predicted picture (h, w, 3) uint8 at the size of the true views."""
    from PIL import Image

    with Image.open(file, formats=["PNG"]) as image:
        own = (image.height, image.width)
    picture = composite(torch.from_numpy(read_png(file, mode="RGBA", size=own)))[0]
    if own != size:
        picture = interpolate(picture[None], size, mode="bilinear", antialias=True, align_corners=False)[0]
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
