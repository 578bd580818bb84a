"""python -m one2345.views.zero123.convert CHECKPOINT FOLDER: an original checkpoint as a folder of safetensors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from one2345.errors import InputError, One2345Error

from .loading import load_zero123
from .saving import save_zero123


def convert(checkpoint: Path, folder: Path, *, dtype: torch.dtype = torch.float32) -> Mapping[str, Any]:
    """Write the folder; what was made of the checkpoint. Raises CheckpointError, or InputError for a folder that has
    something in it."""
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint}: no such file")
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: is not empty")
    loaded = load_zero123(checkpoint, dtype=dtype)
    facts = {k: v for k, v in loaded.facts.items() if k != "weights"} | {"checkpoint": checkpoint.name}
    save_zero123(folder, loaded.model, scheduler=loaded.scheduler, pose=loaded.pose, record=facts)
    parts = {
        "unet": "UNet",
        "codec": "autoencoder",
        "image_encoder": "image encoder",
        "projection": "projection",
    }
    mapped = {title: len(loaded.model.get_submodule(name).state_dict()) for name, title in parts.items()}
    # A key that is missing is an error, so a report that is printed has none.
    return {"mapped": mapped, "missing": 0, **facts}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m one2345.views.zero123.convert", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="zero123-xl.ckpt or one of its sisters")
    parser.add_argument("folder", type=Path, help="to write")
    parser.add_argument("--half", action="store_true", help="store float16, half the size")
    given = parser.parse_args(argv)
    try:
        report = convert(given.checkpoint, given.folder, dtype=torch.float16 if given.half else torch.float32)
    except One2345Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name, count in report["mapped"].items():
        print(f"mapped   {count:5} keys: {name}")
    for name, count in report["unused"].items():
        print(f"unused   {count:5} keys: {name}")
    print(f"missing  {report['missing']:5} keys")
    print(f"weights of the UNet: {report['unet_weights']}")
    for note in report["notes"]:
        print(f"note: {note}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
