"""A miniature of the published training set: its folders, names, units and axes, of coloured balls."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tests.data.spheres import Ball

from one2345.geometry import load_plan, opengl_from_opencv

ELEVATION = 30.0


def uid(index: int) -> str:
    return f"{index:032x}"


def write_published_set(root: Path, *, count: int, size: int) -> None:
    """`count` balls, the last one of split val, under `root`; every shape by the one fixed set of poses."""
    plan = load_plan("published")
    planned, cameras = plan.views(ELEVATION), plan.cameras(ELEVATION, size)
    stage1 = [i for i, v in enumerate(planned) if v.role == "stage1"]
    names, children = [], dict.fromkeys(stage1, 0)
    for place, view in enumerate(planned):
        if view.role == "stage1":
            names.append(f"view_{stage1.index(place)}")
        else:
            names.append(f"view_{stage1.index(view.parent)}_{children[view.parent]}_10")
            children[view.parent] += 1
    for index in range(count):
        folder = root / "zero12345_narrow" / f"000-{index % 160:03d}" / uid(index)
        folder.mkdir(parents=True)
        seen = Ball(uid(index), radius=0.25 + 0.05 * (index % 3)).render(cameras)
        for i, name in enumerate(names):
            pixels = (seen.rgb[i].movedim(0, -1) * 255).round().byte().numpy()
            if name.count("_") == 1:
                alpha = (seen.mask[i] * 255).byte().numpy()[..., None]
                pixels = np.concatenate([pixels, alpha], -1)
                depth = (seen.depth[i] * 1000).round().numpy().astype(np.uint16)
                Image.fromarray(depth).save(folder / f"{name}_depth_mm.png")
            Image.fromarray(pixels).save(folder / f"{name}.png")
    c2ws = opengl_from_opencv(cameras.c2w.double())
    document = {
        "c2ws": {name: c2w.tolist() for name, c2w in zip(names, c2ws, strict=True)},
        "intrinsics": cameras.K[0].tolist(),
        "near_far": [0.5, 1.8],
    }
    (root / "One2345_training_pose.json").write_text(json.dumps(document))
    entries = [{"folder_id": f"000-{i % 160:03d}", "uid": uid(i)} for i in range(count)]
    (root / "lvis_split_cc_by.json").write_text(json.dumps({"train": entries[:-1], "val": entries[-1:]}))


def ball_depth(index: int, view: int, size: int) -> torch.Tensor:
    """z-depth (h, w) of a ball in one of the eight true views."""
    cameras = load_plan("published").cameras(ELEVATION, size)
    stage1 = [i for i, v in enumerate(load_plan("published").views(ELEVATION)) if v.role == "stage1"]
    return Ball(uid(index), radius=0.25 + 0.05 * (index % 3)).render(cameras[[stage1[view]]]).depth[0]
