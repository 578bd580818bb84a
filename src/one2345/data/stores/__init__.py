"""Prepared objects, wherever they lie, behind one interface."""

from __future__ import annotations

from pathlib import Path

from .base import Store
from .folder import FolderStore
from .published import PublishedStore

__all__ = ["FolderStore", "PublishedStore", "Store", "open_store"]


def open_store(root: Path | str | Store) -> Store:
    """The store at `root`, by what lies there; a store as it is. Raises InputError where there is none."""
    if not isinstance(root, Path | str):
        return root
    root = Path(root)
    return PublishedStore(root) if PublishedStore.at(root) else FolderStore(root)
