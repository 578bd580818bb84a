"""Prepared objects, wherever they lie, behind one interface."""

from __future__ import annotations

from pathlib import Path

from .base import Store
from .chunk_cache import is_remote
from .folder import FolderStore
from .joined import JoinedStore
from .published import PublishedStore
from .shards import ShardStore

__all__ = ["FolderStore", "JoinedStore", "PublishedStore", "ShardStore", "Store", "is_remote", "open_store"]


def open_store(root: Path | str | Store, *, cache: Path | str | None = None, cache_gb: float = 50.0) -> Store:
    """The store at `root`, by what lies there; a store as it is. cache, cache_gb: see `ShardStore`, for addresses.

    Raises InputError where there is none.
    """
    if not isinstance(root, Path | str):
        return root
    if is_remote(root) or ShardStore.at(Path(root)):
        return ShardStore(root, cache=cache, cache_gb=cache_gb)
    root = Path(root)
    return PublishedStore(root) if PublishedStore.at(root) else FolderStore(root)
