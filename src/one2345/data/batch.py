"""One training example (Scene) and several of them (SceneBatch), as plain tensors with names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

from one2345.geometry import Cameras, Similarity

T = TypeVar("T", "TargetRays", "Scene", "SceneBatch")


@dataclass(frozen=True)
class TargetRays:
    """Rays of exact renders and what they see; leading batch dimension b in a SceneBatch.

    origins, directions: (r, 3) world, unit directions. rgb: (r, 3) on white. mask: (r) alpha.
    t: (r) distance along the ray to the surface, 0 = background; None where the views have no depth.
    """

    origins: Tensor
    directions: Tensor
    rgb: Tensor
    mask: Tensor
    t: Tensor | None

    def to(self, device: torch.device | str, non_blocking: bool = False) -> TargetRays:
        return _moved(self, device, non_blocking)


@dataclass(frozen=True)
class Scene:
    """One object: what the network is given and what it is compared with.

    id: object. seed: 63-bit integer of this draw, for everything random about it downstream.
    images: (v, 3, h, w) sources on white. masks: (v, h, w). cameras: Cameras (v). reference: Cameras (1) of the view
    that the object is known by, one of stage 1, whether it is a source or not; None where nothing asks for it.
    rays: TargetRays. sdf_points: (p, 3), sdf_values: (p).
    surface_points, surface_normals, surface_colours: (q, 3).
    For validation, else None: target_images (k, 3, h, w), target_masks (k, h, w), target_depth (k, h, w)
    z-depth, target_cameras Cameras (k), and occupancy_64 (64, 64, 64) bool on `evaluation_box(64)`.
    """

    id: str
    seed: int
    images: Tensor
    masks: Tensor
    cameras: Cameras
    rays: TargetRays
    sdf_points: Tensor
    sdf_values: Tensor
    surface_points: Tensor
    surface_normals: Tensor
    surface_colours: Tensor
    target_images: Tensor | None = None
    target_masks: Tensor | None = None
    target_depth: Tensor | None = None
    target_cameras: Cameras | None = None
    occupancy_64: Tensor | None = None
    reference: Cameras | None = None


@dataclass(frozen=True)
class SceneBatch:
    """Scenes stacked: every tensor of `Scene` gains a leading dimension b; ids and seeds are tuples."""

    ids: tuple[str, ...]
    seeds: tuple[int, ...]
    images: Tensor
    masks: Tensor
    cameras: Cameras
    rays: TargetRays
    sdf_points: Tensor
    sdf_values: Tensor
    surface_points: Tensor
    surface_normals: Tensor
    surface_colours: Tensor
    target_images: Tensor | None = None
    target_masks: Tensor | None = None
    target_depth: Tensor | None = None
    target_cameras: Cameras | None = None
    occupancy_64: Tensor | None = None
    reference: Cameras | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> SceneBatch:
        """Every tensor on `device`."""
        return _moved(self, device, non_blocking)

    def in_frame(self, frame: Similarity) -> SceneBatch:
        """The same examples in local frames, one per object, in which a network works and its losses are counted.

        All positions, directions and lengths change but the labels on the evaluation grid, which are the world's.
        """
        t = self.rays.t
        cameras = {
            name: None if value is None else frame.cameras_to_local(value)
            for name, value in (("reference", self.reference), ("target_cameras", self.target_cameras))
        }
        return replace(
            self,
            cameras=frame.cameras_to_local(self.cameras),
            rays=replace(
                self.rays,
                origins=frame.points_to_local(self.rays.origins),
                directions=frame.directions_to_local(self.rays.directions),
                t=None if t is None else frame.lengths_to_local(t),
            ),
            sdf_points=frame.points_to_local(self.sdf_points),
            sdf_values=frame.lengths_to_local(self.sdf_values),
            surface_points=frame.points_to_local(self.surface_points),
            surface_normals=frame.directions_to_local(self.surface_normals),
            target_depth=None if self.target_depth is None else frame.lengths_to_local(self.target_depth),
            **cameras,
        )

    def pin_memory(self) -> SceneBatch:
        """Every tensor in page-locked memory (called by the DataLoader)."""
        return _mapped(self, lambda t: t.pin_memory())


def collate(scenes: Sequence[Scene]) -> SceneBatch:
    """Stack scenes of equal sizes. Raises ValueError naming the field that doesn't stack."""
    stacked = {}
    for field in fields(SceneBatch):
        if field.name in ("ids", "seeds"):
            continue
        values = [getattr(scene, field.name) for scene in scenes]
        try:
            stacked[field.name] = _stack(values)
        except (RuntimeError, ValueError) as error:
            ids = ", ".join(scene.id for scene in scenes)
            raise ValueError(f"{field.name} of {ids} don't stack: {error}") from error
    return SceneBatch(ids=tuple(s.id for s in scenes), seeds=tuple(s.seed for s in scenes), **stacked)


def _stack(values: list):
    first = values[0]
    if any((value is None) != (first is None) for value in values):
        raise ValueError("some have it, others don't")
    if first is None:
        return None
    if isinstance(first, Cameras):
        return Cameras.stack(values)
    if isinstance(first, TargetRays):
        return TargetRays(*(_stack([getattr(v, f.name) for v in values]) for f in fields(first)))
    return torch.stack(values)


def _moved(value: T, device: torch.device | str, non_blocking: bool) -> T:
    return _mapped(value, lambda t: t.to(device, non_blocking=non_blocking))


def _mapped(value: T, function) -> T:
    changed = {}
    for field in fields(value):
        part = getattr(value, field.name)
        if isinstance(part, Tensor):
            changed[field.name] = function(part)
        elif isinstance(part, TargetRays):
            changed[field.name] = _mapped(part, function)
        elif isinstance(part, Cameras):
            changed[field.name] = Cameras(K=function(part.K), c2w=function(part.c2w), size=part.size)
    return replace(value, **changed)
