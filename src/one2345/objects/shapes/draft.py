"""Building blocks of random programs: primitives of a wanted size, poses and textures that fit together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from one2345.objects.shapes import outlines
from one2345.objects.shapes.parts import Part
from one2345.objects.shapes.textures import Texture, random_texture

SOLIDS = {
    "box": 0.16,
    "rounded_box": 0.12,
    "superquadric": 0.13,
    "ellipsoid": 0.09,
    "cylinder": 0.12,
    "cone": 0.08,
    "torus": 0.07,
    "capsule": 0.06,
    "revolution": 0.08,
    "extrusion": 0.09,
}


@dataclass(frozen=True)
class Draft:
    """One random stream; every method draws from it."""

    generator: np.random.Generator

    def uniform(self, low: float, high: float) -> float:
        return float(self.generator.uniform(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.generator.random() < probability)

    def pick(self, options: list[Any], weights: list[float] | None = None) -> Any:
        p = None if weights is None else np.array(weights) / sum(weights)
        return options[int(self.generator.choice(len(options), p=p))]

    def texture(self, size: float) -> Texture:
        return random_texture(self.generator, size=size)

    def direction(self) -> np.ndarray:
        vector = self.generator.normal(size=3)
        return vector / (np.linalg.norm(vector) + 1e-9)

    def rotation(self, *, upright: float = 0.6) -> np.ndarray:
        """Identity or a permutation of the axes with probability `upright`, any rotation otherwise."""
        if self.chance(upright):
            return about_z(self.pick([0.0, 0.0, math.pi / 2])) @ self.pick(
                [np.eye(3), SIDEWAYS, FORWARD], [2, 1, 1]
            )
        q, r = np.linalg.qr(self.generator.normal(size=(3, 3)))
        q = q * np.sign(np.diag(r))
        return q * np.sign(np.linalg.det(q))

    def solid(self, size: float, *, kind: str | None = None, **changes: Any) -> Part:
        """A random textured primitive that reaches about `size` each way; `changes` are fields of Part."""
        kind = kind or self.pick(list(SOLIDS), list(SOLIDS.values()))
        a, b, c = (size * self.uniform(0.35, 1.0) for _ in range(3))
        given: dict[str, Any] = {"texture": self.texture(size)}
        if kind in ("box", "rounded_box"):
            given |= {"kind": "box", "params": (a, b, c)}
            if kind == "rounded_box":
                radius = min(a, b, c) * self.uniform(0.15, 0.6)
                given |= {"params": (a - radius, b - radius, c - radius), "rounding": radius}
        elif kind == "superquadric":
            s, t = (self.pick([self.uniform(1.2, 2.0), self.uniform(2.0, 7.0)]) for _ in range(2))
            given |= {"kind": kind, "params": (a, b, c, s, t)}
        elif kind == "ellipsoid":
            given |= {"kind": kind, "params": (a, b, c)}
        elif kind == "cylinder":
            radius = min(a, b) * self.uniform(0.05, 0.25) if self.chance(0.3) else 0.0
            given |= {"kind": kind, "params": (a - radius, c - radius), "rounding": radius}
        elif kind == "cone":
            top = a * self.pick([0.0, self.uniform(0.1, 0.8)])
            given |= {"kind": "revolution", "params": outlines.cone(a, top, c)}
        elif kind == "torus":
            minor = size * self.uniform(0.1, 0.3)
            given |= {"kind": kind, "params": (size - minor, minor)}
        elif kind == "capsule":
            radius = size * self.uniform(0.2, 0.45)
            given |= {"kind": kind, "params": (radius, size - radius)}
        elif kind == "revolution":
            outline = outlines.ring if self.chance(0.25) else outlines.turned
            given |= {"kind": kind, "params": outline(self.generator, size), "rounding": 0.02 * size}
        else:
            height = size * self.uniform(0.12, 0.8)
            given |= {"kind": "extrusion", "params": (height, *outlines.polygon(self.generator, size * 0.9))}
        if given["kind"] in ("box", "superquadric", "extrusion", "cylinder") and self.chance(0.25):
            changed = self.deformation(size)
            if given["kind"] == "cylinder":
                changed.pop("twist", None)
            given |= changed
        return Part(**(given | changes))

    def deformation(self, size: float) -> dict[str, float]:
        """Twist, taper or both, gentle enough for a small Lipschitz bound."""
        which = self.pick(["twist", "taper", "both"], [0.45, 0.4, 0.15])
        changes: dict[str, float] = {}
        if which != "taper":
            changes["twist"] = self.pick([-1.0, 1.0]) * self.uniform(0.5, 1.3) / size
        if which != "twist":
            changes |= {"taper": self.pick([-1.0, 1.0]) * self.uniform(0.2, 0.55), "taper_height": size}
        return changes

    def joined(self, *, subtract: float = 0.0) -> dict[str, Any]:
        """An operation and its blend radius."""
        if self.chance(subtract):
            return {"operation": "subtraction"}
        if self.chance(0.35):
            return {"operation": "smooth_union", "blend": self.uniform(0.04, 0.18)}
        return {"operation": "union"}


def about_z(angle: float) -> np.ndarray:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def towards(axis: np.ndarray) -> np.ndarray:
    """A rotation whose third column is the unit vector `axis`."""
    helper = np.eye(3)[int(np.argmin(np.abs(axis)))]
    first = np.cross(helper, axis)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(axis, first), axis], axis=1)


# Local z to program x, and local z to program y.
SIDEWAYS = towards(np.array([1.0, 0.0, 0.0]))
FORWARD = towards(np.array([0.0, 1.0, 0.0]))
