"""How checkpoints reach the disk: aside, flushed and renamed; a disk that is full is reported, not raised."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import torch
from lightning.fabric.plugins import CheckpointIO

from ..files import sync
from ..weight_files import read_plain

log = logging.getLogger(__name__)


class AtomicCheckpointIO(CheckpointIO):
    """Lightning's way to write and read every checkpoint of a run, also those of its own callbacks.

    A reader, and a crash at any moment, finds the file as it was or as it is now. `OSError` (no space, quota,
    read-only) is kept as `failure` with a warning, since one rank that raises leaves the others waiting for it.
    """

    def __init__(self) -> None:
        self.failure: str | None = None

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        path = Path(path)
        try:
            write_checkpoint(checkpoint, path)
        except OSError as error:
            self.failure = f"{path}: can't be written ({error.strerror or error})"
            log.warning("%s; what was saved before is kept", self.failure)
        else:
            self.failure = None

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = None,
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Tensors and plain values only, on the CPU; CheckpointError for a file that is damaged or holds more."""
        return read_plain(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write `checkpoint` beside `path`, flush it to the disk, rename. Raises OSError, and leaves `path` then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.partial")  # of one writer, the run; a crash's is written over
    try:
        with aside.open("wb") as file:
            writer = _Told(file)
            try:
                torch.save(checkpoint, cast(IO[bytes], writer))
            except RuntimeError:  # what torch makes of an error while it writes
                if writer.error is not None:
                    raise writer.error from None
                raise
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        sync(path.parent)
    finally:
        aside.unlink(missing_ok=True)


class _Told:
    """A file that remembers the error that its writer met."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()
