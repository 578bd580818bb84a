"""Arrays kept on disk under a name made from what they depend on."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from one2345.files import write_atomic

log = logging.getLogger(__name__)

Arrays = dict[str, NDArray[Any]]


class ArrayCache:
    """A folder of .npz files. A file that is damaged is made again; one that can't be written is only logged."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).expanduser()

    def get(self, key: str, make: Callable[[], Mapping[str, NDArray[Any]]]) -> Arrays:
        """The arrays under `key`, made and kept if they are not there. `key` is a digest: hexadecimal digits."""
        if (found := self.find(key)) is not None:
            return found
        made = dict(make())
        self.put(key, made)
        return made

    def find(self, key: str) -> Arrays | None:
        """The arrays under `key`, None if they are not there or damaged."""
        return self._read(self.folder / f"{key}.npz")

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep `arrays` under `key`."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        path = self.folder / f"{key}.npz"
        try:
            write_atomic(path, buffer.getvalue())
        except OSError as error:
            log.warning("%s: cannot keep what was computed: %s", path, error)

    def _read(self, path: Path) -> Arrays | None:
        try:
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            log.warning("%s: damaged, made again: %s", path, error)
            return None
