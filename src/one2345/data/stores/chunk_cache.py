"""Files of object storage in a local folder: fetched once per machine, whole or not there, within a budget."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from one2345.errors import InputError
from one2345.files import aside_name

T = TypeVar("T")

_SCHEMES = ("s3://", "gs://", "azure://", "hf://", "local:")


def is_remote(root: Path | str) -> bool:
    """Whether `root` is an address that litdata downloads from."""
    return isinstance(root, str) and root.startswith(_SCHEMES)


class ChunkCache:
    """Files below `url`, kept in `folder` (default: below the user's cache folder) while they take no more than
    `gigabytes`; at least the one that is being read is kept.

    Processes of one machine share a folder: a file is fetched by one of them, aside, while others wait for it.
    """

    def __init__(self, url: str, *, folder: Path | str | None = None, gigabytes: float = 50.0) -> None:
        if gigabytes < 0:
            raise InputError(f"data.shard_cache_gb={gigabytes}: must not be negative")
        self.url = url.rstrip("/")
        name = hashlib.sha256(self.url.encode()).hexdigest()[:16]
        parent = Path(folder).expanduser() if folder is not None else _default_folder()
        self.folder = parent / name
        self.limit = int(gigabytes * 2**30)

    def read(self, name: str, size: int, reader: Callable[[Path], T]) -> T:
        """`reader` of the local file; it is fetched again where another process dropped it meanwhile."""
        for _ in range(8):
            file = self.fetch(name, size)
            with suppress(FileNotFoundError):
                return reader(file)
        raise InputError(f"{self.folder / name}: is dropped again and again; raise data.shard_cache_gb")

    def fetch(self, name: str, size: int | None = None) -> Path:
        """The local file. Raises InputError naming the address when it can't be fetched or has another size."""
        from filelock import FileLock

        file = self.folder / name
        if self._whole(file, size):
            return file
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / f"{name}.lock"):
            if not self._whole(file, size):
                self._download(name, file, size)
                self._trim(keep=file)
        return file

    def _whole(self, file: Path, size: int | None) -> bool:
        try:
            found = file.stat().st_size
            os.utime(file)
        except OSError:
            return False
        return size is None or found == size

    def _download(self, name: str, file: Path, size: int | None) -> None:
        from litdata.streaming.downloader import get_downloader

        aside = self.folder / f".{aside_name()}"
        aside.mkdir()
        try:
            downloader = get_downloader(self.url, str(aside), [{"filename": name}])
            downloader.download_chunk_from_index(0)
            found = (aside / name).stat().st_size
            if size is not None and found != size:
                raise InputError(f"{self.url}/{name}: has {found} bytes, the catalogue says {size}")
            os.replace(aside / name, file)
        except InputError:
            raise
        except Exception as error:  # each storage's own client has errors of its own
            raise InputError(
                f"{self.url}/{name}: can't be fetched: {type(error).__name__}: {error}"
            ) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _trim(self, *, keep: Path) -> None:
        found = []
        for file in self.folder.glob("*.bin"):
            with suppress(OSError):
                status = file.stat()
                found.append((status.st_mtime, status.st_size, file))
        total = sum(size for _, size, _ in found)
        for _, size, file in sorted(found):
            if total <= self.limit:
                return
            if file != keep:
                file.unlink(missing_ok=True)
                total -= size


def _default_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "one2345" / "shards"
