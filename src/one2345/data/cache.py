"""Decoded views and labels of recently used objects, within a budget of memory."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import torch
from torch import Tensor

from one2345.errors import InputError
from one2345.views import ObjectRecord, Samples
from one2345.views.images import composite, decode_depth

from .stores import Store


@dataclass
class CachedObject:
    """One object as it is kept: pixels as stored (RGBA uint8, depth uint16), decoded when they are used."""

    record: ObjectRecord
    rgba: dict[int, Tensor] = field(default_factory=dict)
    depth: dict[int, Tensor] = field(default_factory=dict)
    samples: Samples | None = None

    @property
    def nbytes(self) -> int:
        pixels = sum(t.nbytes for kind in (self.rgba, self.depth) for t in kind.values())
        return self.record.nbytes + pixels + (self.samples.nbytes if self.samples is not None else 0)

    def load(self, views: list[int], *, depth: bool) -> None:
        """Decode the views that are not here yet."""
        for view in views:
            if view not in self.rgba:
                self.rgba[view] = torch.from_numpy(self.record.rgba(view))
            if depth and view not in self.depth:
                self.depth[view] = torch.from_numpy(self.record.stored_depth(view))

    def images(self, views: list[int]) -> tuple[Tensor, Tensor]:
        """White-composited images (v, 3, h, w) and alpha (v, h, w)."""
        self.load(views, depth=False)
        return composite(torch.stack([self.rgba[v] for v in views]))

    def depths(self, views: list[int]) -> Tensor:
        """z-depth (v, h, w)."""
        self.load(views, depth=True)
        return decode_depth(torch.stack([self.depth[v] for v in views]).numpy())

    def labels(self, *, occupancy: bool) -> Samples:
        """Samples, with the occupancy grids on request."""
        if self.samples is None or (occupancy and not self.samples.occupancy):
            self.samples = self.record.samples(occupancy=occupancy)
        return self.samples


class ObjectCache:
    """Objects of a store; those unused for longest are dropped once more than `megabytes` are held."""

    def __init__(self, store: Store, *, megabytes: float) -> None:
        if megabytes < 0:
            raise InputError(f"cache_mb={megabytes}: must not be negative")
        self.store = store
        self.limit = int(megabytes * 2**20)
        self._objects: OrderedDict[str, CachedObject] = OrderedDict()

    def get(self, id: str) -> CachedObject:
        """An object, read and checked on first use."""
        if id not in self._objects:
            self._objects[id] = CachedObject(self.store.record(id))
        self._objects.move_to_end(id)
        return self._objects[id]

    def trim(self) -> None:
        """Drop the objects unused for longest until the budget holds. Call when done with an object."""
        total = sum(item.nbytes for item in self._objects.values())
        while total > self.limit and self._objects:
            _, dropped = self._objects.popitem(last=False)
            total -= dropped.nbytes
