"""How objects become training data: views, sizes and samples. Two equal recipes give the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any

from one2345.errors import InputError
from one2345.geometry import ViewPlan, load_plan

from .renderers import BlenderRenderer, RaycastRenderer, Renderer

RECIPE_VERSION = 1
"""Raised whenever the same recipe would give other bytes, so that old data are told from new."""

_PAINT = ("pattern", "occlusion")


@dataclass(frozen=True, kw_only=True)
class SampleSizes:
    """Labels of one object: counts of points, and resolutions of the occupancy grids.

    near: fraction of sdf_points that lie near the surface (Gaussian offsets of `sigmas` world units, in equal
    shares); the rest is uniform in [-0.5, 0.5]^3.
    """

    sdf_points: int = 16384
    surface_points: int = 8192
    occupancy: Sequence[int] = (64,)
    near: float = 0.6
    sigmas: Sequence[float] = (0.02, 0.05)

    def __post_init__(self) -> None:
        if self.sdf_points < 1 or self.surface_points < 1:
            raise InputError(
                f"sdf_points={self.sdf_points}, surface_points={self.surface_points}: both must be at least 1"
            )
        if not 0 <= self.near <= 1 or not self.sigmas or min(self.sigmas) <= 0:
            raise InputError(f"near={self.near} must lie in [0, 1] and sigmas={self.sigmas} be positive")


def _evaluation_sizes() -> SampleSizes:
    return SampleSizes(surface_points=100_000, occupancy=(64, 128))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is rendered and sampled of every object.

    plan: view plan, or its name. size: edge of the square images in pixels. targets: free views beside the
    plan's, never given to a network as sources. elevation: range, degrees, from which the elevation of the
    input view and those of the free views are drawn, per object. seed: of all draws. normals: store
    normal maps too. shading: of the ray caster, 0 (albedo) to 1 (Lambert). pattern, occlusion: how strongly objects are
    painted over before they are drawn (`one2345.objects.Painted`), 0 to 1. renderer: what makes the pictures;
    samples are of the object itself, painted or not, whoever draws it. train_samples: of objects of split 'train';
    eval_samples: of all others.
    """

    plan: ViewPlan | str = "ring8"
    size: int = 128
    targets: int = 4
    elevation: Sequence[float] = (-10.0, 70.0)
    seed: int = 0
    normals: bool = False
    shading: float = 0.0
    pattern: float = 0.0
    occlusion: float = 0.0
    renderer: Renderer = field(default_factory=RaycastRenderer)
    train_samples: SampleSizes = field(default_factory=SampleSizes)
    eval_samples: SampleSizes = field(default_factory=_evaluation_sizes)

    def __post_init__(self) -> None:
        if isinstance(self.plan, str):
            object.__setattr__(self, "plan", load_plan(self.plan))
        if not 8 <= self.size <= 4096:
            raise InputError(f"size={self.size}: images must be 8 to 4096 pixels wide")
        if self.targets < 0:
            raise InputError(f"targets={self.targets}: must not be negative")
        low, high = self.elevation
        if not -90 <= low <= high <= 90:
            raise InputError(f"elevation={list(self.elevation)}: must be [low, high] within [-90, 90]")
        if self.shading and not isinstance(self.renderer, RaycastRenderer):
            raise InputError(
                f"shading={self.shading}: is the ray caster's; Blender's light is set by light_strength and "
                "light_colour"
            )
        for name in _PAINT:
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise InputError(f"{name}={value}: must lie in [0, 1]")
            if value and not isinstance(self.renderer, RaycastRenderer):
                raise InputError(f"{name}={value}: is the ray caster's; Blender draws the file as it is")
            if value and self.shading:
                raise InputError(f"{name}={value}: paint goes over colours without shading={self.shading}")

    @property
    def view_plan(self) -> ViewPlan:
        """The plan itself, where `plan` may be a name."""
        return load_plan(self.plan) if isinstance(self.plan, str) else self.plan

    def sizes(self, split: str | None) -> SampleSizes:
        """Sample sizes of an object of `split`."""
        return self.train_samples if split == "train" else self.eval_samples

    def describe(self) -> dict[str, Any]:
        """Everything that decides the bytes, as plain JSON values.

        The ray caster, first of its version, is not mentioned, nor is paint where there is none: data are older than
        there being a choice.
        Raises InputError where a renderer can't say what it is.
        """
        values = {f.name: _deep(getattr(self, f.name)) for f in fields(self) if f.name != "renderer"}
        values = {name: value for name, value in values.items() if value or name not in _PAINT}
        renderer = self.renderer.describe()
        if renderer != {"kind": "raycast", "version": 1}:
            values["renderer"] = renderer
        return json.loads(json.dumps({"recipe_version": RECIPE_VERSION, **values}, default=_plain))


def recipe_hash(description: dict[str, Any]) -> str:
    """Ten hex digits of a description of plain JSON values; the order of keys doesn't matter."""
    text = json.dumps(description, sort_keys=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=5).hexdigest()


def blender_recipe(
    *,
    python: str | None,
    engine: str = "cycles",
    samples: int = 64,
    device: str = "cpu",
    surface: str = "asset",
    light_strength: float = 1.0,
    light_colour: Sequence[float] = (1.0, 1.0, 1.0),
    bounces: int = 4,
    denoise: bool = False,
    threads: int = 1,
    timeout: float = 300.0,
    memory_mb: float = 8192.0,
    **recipe: Any,
) -> Recipe:
    """The recipe of `render=blender`: keywords of `BlenderRenderer`, and those of `Recipe` beside them."""
    renderer = BlenderRenderer(
        python=python, engine=engine, samples=samples, device=device, surface=surface,
        light_strength=light_strength, light_colour=light_colour, bounces=bounces, denoise=denoise,
        threads=threads, timeout=timeout, memory_mb=memory_mb,
    )  # fmt: skip
    return Recipe(renderer=renderer, **recipe)


def _deep(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _plain(value: Any) -> Any:
    if hasattr(value, "items"):
        return dict(value.items())
    return list(value)
