"""Posed images in memory: what a synthesiser makes, a network is given and a reader returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from one2345.geometry import Cameras

Role = Literal["stage1", "near", "target"]
"""stage1: view around the object; near: view made from a stage-1 view; target: free view, never a source."""

ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True)
class PosedViews:
    """v pictures of one object with their cameras.

    images: (v, 3, h, w) float32 sRGB in [0, 1], composited on white. masks: (v, h, w) float32 alpha.
    cameras: Cameras (v). depth: (v, h, w) float32 z-depth in world units, 0 where there is nothing, or None.
    normals: (v, 3, h, w) float32 unit world normals, 0 where there is nothing, or None.
    names, roles: v strings. parents: for a near view the index, within this selection, of the view that it
    was made from; None for other views and where the parent is not in the selection.
    reference: Cameras (1) of the view that the object is known by, as a rule the input picture's, whether it is among
    these or not; None: see `reference_camera`.

    Raises ValueError when shapes, names or roles don't fit together.
    """

    images: Tensor
    masks: Tensor
    cameras: Cameras
    names: tuple[str, ...]
    roles: tuple[str, ...]
    parents: tuple[int | None, ...]
    depth: Tensor | None = None
    normals: Tensor | None = None
    reference: Cameras | None = None

    def __post_init__(self) -> None:
        v, _, h, w = self.images.shape
        shapes = {"images": (v, 3, h, w), "masks": (v, h, w), "depth": (v, h, w), "normals": (v, 3, h, w)}
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != shape:
                raise ValueError(f"PosedViews.{name} has shape {tuple(value.shape)}, expected {shape}")
        if tuple(self.cameras.shape) != (v,) or tuple(self.cameras.size) != (h, w):
            raise ValueError(
                f"{v} images of {(h, w)} px need {v} cameras of that size, not {tuple(self.cameras.shape)} "
                f"of {tuple(self.cameras.size)}"
            )
        for name in ("names", "roles", "parents"):
            if len(getattr(self, name)) != v:
                raise ValueError(f"PosedViews.{name} has {len(getattr(self, name))} entries for {v} images")
        if len(set(self.names)) != v:
            raise ValueError(f"view names repeat: {self.names}")
        unknown = sorted(set(self.roles) - set(ROLES))
        if unknown:
            raise ValueError(f"unknown view roles {unknown}; known: {', '.join(ROLES)}")

    def __len__(self) -> int:
        return self.images.shape[0]

    def __getitem__(self, index: slice | Sequence[int] | Tensor) -> PosedViews:
        """The selected views, in the order asked for; parents are renumbered."""
        chosen = list(range(len(self)))[index] if isinstance(index, slice) else [int(i) for i in index]
        chosen = [i % len(self) if -len(self) <= i < 0 else i for i in chosen]
        position = {old: new for new, old in enumerate(chosen)}
        parents = [self.parents[i] for i in chosen]
        return PosedViews(
            images=self.images[chosen],
            masks=self.masks[chosen],
            cameras=self.cameras[chosen],
            names=tuple(self.names[i] for i in chosen),
            roles=tuple(self.roles[i] for i in chosen),
            parents=tuple(None if p is None else position.get(p) for p in parents),
            depth=None if self.depth is None else self.depth[chosen],
            normals=None if self.normals is None else self.normals[chosen],
            reference=self.reference_camera,
        )

    @property
    def reference_camera(self) -> Cameras:
        """Cameras (1) of the reference view: the one that was named, else the first of stage 1, else the first."""
        if self.reference is not None:
            return self.reference
        first = next(iter(self.indices("stage1")), 0)
        return self.cameras[first : first + 1]

    def indices(self, *roles: str) -> list[int]:
        """Positions of the views that have one of `roles`."""
        return [i for i, role in enumerate(self.roles) if role in roles]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PosedViews:
        """The same views on another device."""

        def move(value: Tensor | None) -> Tensor | None:
            return None if value is None else value.to(device, non_blocking=non_blocking)

        return PosedViews(
            images=self.images.to(device, non_blocking=non_blocking),
            masks=self.masks.to(device, non_blocking=non_blocking),
            cameras=self.cameras.to(device, non_blocking),
            names=self.names,
            roles=self.roles,
            parents=self.parents,
            depth=move(self.depth),
            normals=move(self.normals),
            reference=None if self.reference is None else self.reference.to(device, non_blocking),
        )
