"""Prepared objects as examples. What is drawn depends on (seed, epoch, repeat, id) alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from one2345.errors import InputError
from one2345.seeding import Part, key, torch_rng
from one2345.views import ObjectRecord, PosedViews, Samples
from one2345.views.images import straight_rgba

from .batch import Scene, TargetRays
from .cache import CachedObject, ObjectCache
from .inputs import ExactInputs, Inputs
from .pixels import draw_rays
from .sampler import Draw
from .stores import Store, open_store


@dataclass(frozen=True, kw_only=True)
class SceneSizes:
    """How much of an object one example holds.

    views: source views, None for all (training draws them, evaluation spreads them evenly). fewest_views: training
    draws their number too, from this one to `views`, the same for all examples of a step, small ones as likely as
    large ones on a logarithmic scale; None: always `views`. rays, sdf_points, surface_points: counts; with 0 points
    data without labels will do. ray_views: views that the rays of one example come from, None for all that may give
    rays: target views, which a network is never given as sources, so that it can't copy the pixel; where none are
    left, every true view. rays_of: `truth`, or `inputs`: the views that the network is given, as they are given and
    without depth, as where nothing else is known of an object. targets: views to compare renders with (validation).
    held_out: the last so many target views give no rays in training and are the first to be compared with in
    validation.
    """

    views: int | None = 8
    fewest_views: int | None = None
    rays: int = 512
    sdf_points: int = 4096
    surface_points: int = 1024
    ray_views: int | None = None
    rays_of: Literal["truth", "inputs"] = "truth"
    targets: int = 4
    held_out: int = 0

    def __post_init__(self) -> None:
        for name in ("views", "fewest_views", "ray_views", "rays"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}={value}: must be at least 1")
        for name in ("targets", "held_out", "sdf_points", "surface_points"):
            if getattr(self, name) < 0:
                raise InputError(f"{name}={getattr(self, name)}: must not be negative")
        if self.rays_of not in ("truth", "inputs"):
            raise InputError(f"rays_of={self.rays_of!r}: it takes truth or inputs")
        if self.fewest_views is not None and (self.views is None or self.fewest_views > self.views):
            raise InputError(
                f"fewest_views={self.fewest_views}: needs views={self.views} to be a number that is not smaller"
            )

    def drawn_views(self, *parts: Part) -> int | None:
        """The number of source views of a training step that `parts` name."""
        if self.fewest_views is None or self.views is None:
            return self.views
        low, high = math.log(self.fewest_views), math.log(self.views + 1)
        share = float(torch.rand((), generator=torch_rng(*parts, "number of views"), dtype=torch.float64))
        return min(int(math.exp(low + share * (high - low)) + 1e-9), self.views)


class ViewsDataset(Dataset[Scene]):
    """Examples of the objects `ids` of a prepared `root` (or of any store).

    inputs: what becomes of the source views (default: nothing). train: draw; else the same every time, with
    targets and occupancy. cache_mb: memory for decoded objects, of each process.

    An index beyond the length starts the objects over with other draws. Raises InputError, when an
    object is read, for one that is damaged or has fewer views than asked for.
    """

    def __init__(
        self,
        *,
        root: Path | str | Store,
        ids: Sequence[str],
        sizes: SceneSizes,
        inputs: Inputs | None = None,
        seed: int = 0,
        train: bool = False,
        cache_mb: float = 512.0,
    ) -> None:
        self.store = open_store(root)
        self.ids = list(ids)
        self.sizes = sizes
        self.inputs = inputs if inputs is not None else ExactInputs()
        self.seed = seed
        self.train = train
        self.epoch = 0
        self._cache = ObjectCache(self.store, megabytes=cache_mb)

    def __len__(self) -> int:
        return len(self.ids)

    def set_epoch(self, epoch: int) -> None:
        """Epoch of plain integer indices (a `Draw` carries its own)."""
        self.epoch = epoch

    def record(self, id: str) -> ObjectRecord:
        """The stored object."""
        return self.store.record(id)

    def records(self) -> list[ObjectRecord]:
        """All stored objects, in order."""
        return [self.record(id) for id in self.ids]

    def sources(self, id: str, *, epoch: int = 0, repeat: int = 0) -> PosedViews:
        """The source views of an object as the network is given them."""
        item = self._cache.get(id)
        views = self._sources(item, (self.seed, epoch, repeat, id), self.sizes.views)
        self._cache.trim()
        return views

    def __getitem__(self, index: int | Draw) -> Scene:
        draw = index if isinstance(index, Draw) else self._plain(index)
        id = self.ids[draw.index]
        parts = (self.seed, draw.epoch, draw.repeat, id) if self.train else (self.seed, 0, 0, id)
        item = self._cache.get(id)
        try:
            return self._scene(item, parts, self._views(draw))
        finally:
            self._cache.trim()

    def _views(self, draw: Draw) -> int | None:
        return self.sizes.drawn_views(self.seed, draw.epoch, draw.batch) if self.train else self.sizes.views

    def _plain(self, index: int) -> Draw:
        if index < 0 or not self.ids:
            raise IndexError(f"index {index} of {len(self.ids)} objects")
        return Draw(index=index % len(self.ids), epoch=self.epoch, repeat=index // len(self.ids))

    def _scene(self, item: CachedObject, parts: tuple, views: int | None) -> Scene:
        sources = self._sources(item, parts, views)
        samples = self._labels(item)
        sdf = _choose(len(samples.sdf_values), self.sizes.sdf_points, torch_rng(*parts, "sdf"))
        surface = _choose(
            len(samples.surface_points), self.sizes.surface_points, torch_rng(*parts, "surface")
        )
        return Scene(
            id=item.record.id,
            seed=key(*parts, "scene"),
            images=sources.images,
            masks=sources.masks,
            cameras=sources.cameras,
            reference=sources.reference_camera,
            rays=self._rays(item, parts) if self.sizes.rays_of == "truth" else self._own_rays(sources, parts),
            sdf_points=samples.sdf_points[sdf],
            sdf_values=samples.sdf_values[sdf],
            surface_points=samples.surface_points[surface],
            surface_normals=samples.surface_normals[surface],
            surface_colours=samples.surface_colours[surface],
            **({} if self.train else self._truth(item, samples)),
        )

    def _labels(self, item: CachedObject) -> Samples:
        """The labels; none where none are asked for."""
        if self.sizes.sdf_points or self.sizes.surface_points or item.record.sample_counts is not None:
            return item.labels(occupancy=not self.train)
        return Samples.none()

    def _sources(self, item: CachedObject, parts: tuple, views: int | None) -> PosedViews:
        record = item.record
        chosen = self._source_indices(record, parts, views)
        images, masks = item.images(chosen)
        position = {record.names[old]: new for new, old in enumerate(chosen)}
        depth = item.depths(chosen) if record.has_depth and self.inputs.wants_depth else None
        exact = PosedViews(
            images=images,
            masks=masks,
            cameras=record.cameras[chosen],
            names=tuple(record.names[i] for i in chosen),
            roles=tuple(record.roles[i] for i in chosen),
            parents=tuple(position.get(record.parents[i] or "") for i in chosen),
            depth=depth,
            reference=record.cameras[[self._reference(record, chosen, parts)]],
        )
        return self.inputs(record, exact, key=parts)

    def _reference(self, record: ObjectRecord, chosen: list[int], parts: tuple) -> int:
        """The view that the object is known by: the first of stage 1, in training any of it; else the first source."""
        stage1 = record.indices("stage1")
        if not stage1:
            return chosen[0]
        if not self.train:
            return stage1[0]
        return stage1[int(torch.randint(len(stage1), (), generator=torch_rng(*parts, "reference")))]

    def _source_indices(self, record: ObjectRecord, parts: tuple, wanted: int | None) -> list[int]:
        found = record.source_indices()
        count = len(found) if wanted is None else wanted
        if count > len(found) or not found:
            raise InputError(
                f"{record.folder}: views={wanted} source views are wanted, but there are {len(found)} of "
                f"role {' or '.join(record.sources)}; prepare with a larger plan or lower views"
            )
        if count == len(found):
            return found
        if self.train:
            order = torch.randperm(len(found), generator=torch_rng(*parts, "views"))[:count].sort().values
            return [found[int(i)] for i in order]
        return [found[i * len(found) // count] for i in range(count)]

    def _rays(self, item: CachedObject, parts: tuple) -> TargetRays:
        record = item.record
        seen, held_out = self._targets(record)
        views = seen or [view for view in record.true_indices() if view not in held_out]
        generator = torch_rng(*parts, "rays")
        limit = self.sizes.ray_views
        if limit is not None and limit < len(views):
            order = torch.randperm(len(views), generator=generator)[:limit].sort().values
            views = [views[int(i)] for i in order]
        if not views:
            raise InputError(f"{record.folder}: every view is held out, so there is none to draw rays from")
        item.load(views, depth=record.has_depth)
        rgba = torch.stack([item.rgba[v] for v in views])
        depth = torch.stack([item.depth[v] for v in views]) if record.has_depth else None
        return draw_rays(rgba, depth, record.cameras[views], self.sizes.rays, generator=generator)

    def _own_rays(self, sources: PosedViews, parts: tuple) -> TargetRays:
        """Rays of what the network is given."""
        generator = torch_rng(*parts, "rays")
        limit = min(self.sizes.ray_views or len(sources), len(sources))
        views = sources[torch.randperm(len(sources), generator=generator)[:limit].sort().values]
        rgba = torch.from_numpy(straight_rgba(views.images, views.masks))
        return draw_rays(rgba, None, views.cameras, self.sizes.rays, generator=generator)

    def _truth(self, item: CachedObject, samples: Samples) -> dict[str, Any]:
        record, sizes = item.record, self.sizes
        seen, held_out = self._targets(record)
        ordered = held_out + seen + record.indices("stage1")
        truth: dict[str, Any] = {"occupancy_64": samples.occupancy.get(64)}
        views = ordered[: sizes.targets]
        if views:
            images, masks = item.images(views)
            truth |= {"target_images": images, "target_masks": masks, "target_cameras": record.cameras[views]}
            truth["target_depth"] = item.depths(views) if record.has_depth else None
        return truth

    def _targets(self, record: ObjectRecord) -> tuple[list[int], list[int]]:
        """Target views that may give rays, and those that are held out."""
        found, held_out = record.indices("target"), self.sizes.held_out
        if held_out > len(found):
            raise InputError(
                f"{record.folder}: held_out={held_out}, but there are {len(found)} target views; "
                "prepare with more"
            )
        return found[: len(found) - held_out], found[len(found) - held_out :]


def _choose(available: int, count: int, generator: torch.Generator) -> Tensor:
    """`count` indices below `available`: without repetition where there are enough."""
    if count == available:
        return torch.arange(available)
    if count > available:
        return torch.randint(available, (count,), generator=generator)
    return torch.randperm(available, generator=generator)[:count]
