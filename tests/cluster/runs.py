"""The command line of a small run, and what it left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from one2345.checkpoint_folder import newest

STEPS = 16
SMALL = [
    "debug=limit", "resume=auto", "run.overwrite=false", f"scale.steps={STEPS}", "scale.val_every=8", "scale.volume=8",
    "scale.extract=16", "callbacks.last.every_steps=4", "evaluate.hull=false", "evaluate.sphere=false",
    "evaluate.pictures=false", "data=folder",
]  # fmt: skip


def small(objects: Path, root: Path, *more: str) -> list[str]:
    """Arguments of train.py for a run of STEPS steps below `root`."""
    return [*SMALL, f"data.root={objects}", f"run.root={root}", *more]


def trial(folder: Path | str, **settings: Any) -> list[str]:
    """Arguments that add the callback `Trial`."""
    told = {"_target_": "tests.cluster.trial.Trial", "folder": folder, **settings}
    return [f"+callbacks.trial.{key}={value}" for key, value in told.items()]


def state(folder: Path) -> dict[str, Any]:
    """The last checkpoint of a run folder."""
    found = newest(folder / "checkpoints")
    assert found is not None, f"{folder} has no checkpoint"
    return torch.load(found, weights_only=True)


def status(folder: Path) -> dict[str, Any]:
    """The record of a run folder."""
    return json.loads((folder / "status.json").read_text())


def equal(a: Any, b: Any) -> bool:
    """Bit for bit."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b
