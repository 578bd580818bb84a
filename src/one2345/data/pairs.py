"""Pairs of views of one object, source and target, as view synthesis is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset

from one2345.errors import InputError
from one2345.geometry import zero123_pose
from one2345.seeding import key, torch_rng
from one2345.views import ObjectRecord

from .cache import CachedObject, ObjectCache
from .sampler import Draw
from .stores import Store, open_store


@dataclass(frozen=True)
class PairBatch:
    """n pairs. ids: of their objects. seeds: 63-bit integers of the draws, for all that is random downstream.

    sources, targets: (n, 3, h, w) in [0, 1] on white. poses: (n, 4), see `geometry.zero123_pose`. near: (n) bool,
    whether the target is a near view of its source.
    """

    ids: tuple[str, ...]
    seeds: tuple[int, ...]
    sources: Tensor
    targets: Tensor
    poses: Tensor
    near: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PairBatch:
        return self._mapped(lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> PairBatch:
        return self._mapped(lambda t: t.pin_memory())

    def _mapped(self, function) -> PairBatch:
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: function(v) for k, v in tensors.items() if isinstance(v, Tensor)})

    @staticmethod
    def cat(batches: Sequence[PairBatch]) -> PairBatch:
        """The pairs of all of them, in order."""
        return PairBatch(
            ids=tuple(i for b in batches for i in b.ids),
            seeds=tuple(s for b in batches for s in b.seeds),
            sources=torch.cat([b.sources for b in batches]),
            targets=torch.cat([b.targets for b in batches]),
            poses=torch.cat([b.poses for b in batches]),
            near=torch.cat([b.near for b in batches]),
        )


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """How pairs are drawn in training.

    near: share of the draws that pair a near view with the view it is made from, either way round; all others pair
    any two views, or a view with itself. mirror: half of the pairs mirrored left to right, with the turn between
    them reversed: the pictures of the mirrored object. permute: colour channels in random order, the same in both.
    """

    near: float = 0.25
    mirror: bool = False
    permute: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.near <= 1:
            raise InputError(f"pairs.near={self.near}: must lie in [0, 1]")


class PairsDataset(Dataset[PairBatch]):
    """Pairs of the objects `ids` of a prepared `root` (or of any store), `size` pixels wide.

    train: one drawn pair; what is drawn depends on (seed, epoch, repeat, id) alone. Else the pairs of the view plan,
    always the same: every stage-1 view from the first one, which is the input, and every near view from its parent.
    """

    def __init__(
        self,
        *,
        root: Path | str | Store,
        ids: Sequence[str],
        size: int,
        settings: PairSettings | None = None,
        seed: int = 0,
        train: bool = False,
        cache_mb: float = 512.0,
    ) -> None:
        self.store, self.ids, self.size = open_store(root), list(ids), size
        self.settings = settings if settings is not None else PairSettings()
        self.seed, self.train = seed, train
        self._cache = ObjectCache(self.store, megabytes=cache_mb)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int | Draw) -> PairBatch:
        draw = index if isinstance(index, Draw) else Draw(index=index, epoch=0, repeat=0)
        if not 0 <= draw.index < len(self.ids):
            raise IndexError(f"index {draw.index} of {len(self.ids)} objects")
        id = self.ids[draw.index]
        parts = (self.seed, draw.epoch, draw.repeat, id) if self.train else (self.seed, 0, 0, id)
        item = self._cache.get(id)
        try:
            if not self.train:
                return self._pairs(item, plan_pairs(item.record), parts)
            generator = torch_rng(*parts, "pair")
            return self._augmented(self._pairs(item, [self._drawn(item.record, generator)], parts), generator)
        finally:
            self._cache.trim()

    def _drawn(self, record: ObjectRecord, generator: torch.Generator) -> tuple[int, int]:
        near = near_pairs(record)
        share, which, first, second = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
        if near and share < self.settings.near:
            parent, child = near[int(which * len(near))]
            return (parent, child) if first < 0.5 else (child, parent)
        return int(first * len(record)), int(second * len(record))

    def _pairs(self, item: CachedObject, pairs: list[tuple[int, int]], parts: tuple) -> PairBatch:
        record, c2w = item.record, item.record.cameras.c2w
        views = sorted({view for pair in pairs for view in pair})
        images = item.images(views)[0]
        if images.shape[-2:] != (self.size, self.size):
            if images.shape[-1] != images.shape[-2]:
                raise InputError(f"{record.folder}: view synthesis needs square views, not {record.size}")
            images = interpolate(images, (self.size, self.size), mode="bilinear", antialias=True).clamp(0, 1)
        source, target = torch.tensor(pairs).T
        place = {view: i for i, view in enumerate(views)}
        near = set(near_pairs(record))
        return PairBatch(
            ids=(record.id,) * len(pairs),
            seeds=tuple(key(*parts, record.names[t]) for _, t in pairs),
            sources=images[[place[s] for s, _ in pairs]],
            targets=images[[place[t] for _, t in pairs]],
            poses=zero123_pose(c2w[source], c2w[target]),
            near=torch.tensor([p in near or p[::-1] in near for p in pairs]),
        )

    def _augmented(self, pair: PairBatch, generator: torch.Generator) -> PairBatch:
        flip = float(torch.rand((), generator=generator)) < 0.5
        order = torch.randperm(3, generator=generator)
        if self.settings.mirror and flip:
            # Mirrored in a plane through the axis, the object is turned the other way round.
            turned = pair.poses * pair.poses.new_tensor([1.0, -1.0, 1.0, 1.0])
            pair = replace(pair, sources=pair.sources.flip(-1), targets=pair.targets.flip(-1), poses=turned)
        if self.settings.permute:
            pair = replace(pair, sources=pair.sources[:, order], targets=pair.targets[:, order])
        return pair


def near_pairs(record: ObjectRecord) -> list[tuple[int, int]]:
    """(parent, near view) of all near views of an object whose parent is there."""
    place = {name: i for i, name in enumerate(record.names)}
    parents = [(place.get(record.parents[i] or ""), i) for i in record.indices("near")]
    return [(parent, child) for parent, child in parents if parent is not None]


def plan_pairs(record: ObjectRecord) -> list[tuple[int, int]]:
    """(source, target) of every stage-1 view from the first, the input view, and every near view from its parent.

    Raises InputError where the object has no stage-1 views.
    """
    stage1 = record.indices("stage1")
    if not stage1:
        raise InputError(f"{record.folder}: has no stage-1 views to synthesise")
    return [(stage1[0], view) for view in stage1] + near_pairs(record)
