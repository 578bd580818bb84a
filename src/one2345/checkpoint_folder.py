"""The folder of a run's checkpoints: `step-00000123.ckpt`, the state after so many steps, and `best.ckpt`.

Nothing here needs torch, so that a command knows what it continues before anything heavy is imported.
"""

from __future__ import annotations

import logging
import re
import zipfile
from pathlib import Path

log = logging.getLogger(__name__)

BEST = "best.ckpt"
_NAME = re.compile(r"step-(\d{8,})\.ckpt")


def step_name(step: int) -> str:
    """Name of the file that holds the state after `step` steps of the optimiser."""
    return f"step-{step:08d}.ckpt"


def step_of(file: Path) -> int | None:
    """The step that a file's name tells; None for another name."""
    match = _NAME.fullmatch(file.name)
    return int(match[1]) if match else None


def by_step(folder: Path) -> dict[int, Path]:
    """The checkpoints in `folder`, torn ones as well, by their steps, the latest first."""
    found = {} if not folder.is_dir() else {step_of(f): f for f in folder.iterdir() if f.is_file()}
    return {step: found[step] for step in sorted((s for s in found if s is not None), reverse=True)}


def newest(folder: Path) -> Path | None:
    """The checkpoint in `folder` to continue from: the latest whole one; None without any.

    Each one that is torn is named in a warning and passed over.
    """
    for file in by_step(folder).values():
        if (fault := damage(file)) is None:
            return file
        log.warning("%s is damaged (%s); the checkpoint before it is taken", file, fault)
    return None


def damage(file: Path) -> str | None:
    """What is wrong with the bytes of a checkpoint; None if all match the checksums that torch wrote with them."""
    try:
        with zipfile.ZipFile(file) as archive:
            torn = archive.testzip()
    except (OSError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        return str(error) or type(error).__name__
    return None if torn is None else f"{torn} doesn't match its checksum"
