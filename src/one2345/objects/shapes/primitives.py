"""Signed distances of the primitive solids, each in its own frame, vectorised over shapes and points.

Every function takes local coordinates (b, 3, n) and parameters (b, p), and returns (b, n), negative inside.
All are 1-Lipschitz, so |value| never exceeds the true distance. All but `superquadric` are the exact
Euclidean distance. Lengths are in the units of the program (the shape is scaled to world units as a whole).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Keeps square roots differentiable at 0; shifts a surface by 1e-7 at most.
TINY = 1e-14


def length(*components: Tensor) -> Tensor:
    """Euclidean norm of components (b, n), differentiable everywhere."""
    total = components[0] * components[0]
    for component in components[1:]:
        total = torch.addcmul(total, component, component)
    return (total + TINY).sqrt()


def box(p: Tensor, q: Tensor) -> Tensor:
    """Box with half edges q = (hx, hy, hz)."""
    d = p.abs() - q[:, :3, None]
    outside = length(*d.clamp_min(0.0).unbind(1))
    return outside + d.amax(dim=1).clamp_max(0.0)


def cylinder(p: Tensor, q: Tensor) -> Tensor:
    """Cylinder about z with q = (radius, half height)."""
    return _corner(length(p[:, 0], p[:, 1]) - q[:, 0:1], p[:, 2].abs() - q[:, 1:2])


def torus(p: Tensor, q: Tensor) -> Tensor:
    """Torus about z with q = (major radius, minor radius)."""
    return length(length(p[:, 0], p[:, 1]) - q[:, 0:1], p[:, 2]) - q[:, 1:2]


def capsule(p: Tensor, q: Tensor) -> Tensor:
    """Capsule along z with q = (radius, half length of its axis)."""
    z = (p[:, 2].abs() - q[:, 1:2]).clamp_min(0.0)
    return length(p[:, 0], p[:, 1], z) - q[:, 0:1]


def superquadric(p: Tensor, q: Tensor) -> Tensor:
    """Superquadric, q = (a, b, c, s, t): ((|x/a|^s + |y/b|^s)^(t/s) + |z/c|^t)^(1/t) = 1. Ellipsoid for s = t
    = 2.

    The left side G is a norm for s, t >= 1, hence its Lipschitz constant is max G over the unit sphere. A
    p-norm of two numbers is at most 2^max(0, 1/p - 1/2) times their 2-norm, and |(x/a, y/b, z/c)| <= |p| /
    min(a, b, c); so G - 1 divided by 2^max(0, 1/s - 1/2) * 2^max(0, 1/t - 1/2) / min(a, b, c) is 1-Lipschitz.
    """
    s, t = q[:, 3:4], q[:, 4:5]
    unit = (p / q[:, :3, None]).abs().clamp_min(1e-3)
    planar = unit[:, 0].pow(s) + unit[:, 1].pow(s)
    norm = (planar.pow(t / s) + unit[:, 2].pow(t)).pow(1.0 / t)
    excess = (1.0 / s - 0.5).clamp_min(0.0) + (1.0 / t - 0.5).clamp_min(0.0)
    return (norm - 1.0) * (q[:, :3].amin(dim=1, keepdim=True) / torch.exp2(excess))


def ellipsoid(p: Tensor, q: Tensor) -> Tensor:
    """Ellipsoid of half axes q = (a, b, c): |(x/a, y/b, z/c)| - 1, over its largest slope 1 / min(q)."""
    return (length(*(p / q[:, :3, None]).unbind(1)) - 1.0) * q[:, :3].amin(dim=1, keepdim=True)


def revolution(p: Tensor, q: Tensor) -> Tensor:
    """Solid of revolution about z; q is the flat (r, z) outline, either closed or from the axis to the axis.

    An outline that ends on the axis needs no segment along it: that segment is no surface.
    """
    return outline(length(p[:, 0], p[:, 1]), p[:, 2], q)


def extrusion(p: Tensor, q: Tensor) -> Tensor:
    """Prism along z; q = (half height, flat closed (x, y) outline)."""
    return _corner(outline(p[:, 0], p[:, 1], q[:, 1:]), p[:, 2].abs() - q[:, 0:1])


def outline(u: Tensor, v: Tensor, flat: Tensor) -> Tensor:
    """Signed distance (b, n) to polylines (b, 2 k); inside where a ray towards +u crosses an odd count."""
    corners = flat.reshape(flat.shape[0], -1, 2)
    nearest: Tensor | None = None
    inside = torch.zeros_like(u, dtype=torch.bool)
    for i in range(corners.shape[1] - 1):
        start, step = corners[:, i], corners[:, i + 1] - corners[:, i]
        du, dv = step[:, 0:1], step[:, 1:2]
        wu, wv = u - start[:, 0:1], v - start[:, 1:2]
        square = (du * du + dv * dv).clamp_min(1e-12)
        along = (wu * (du / square) + wv * (dv / square)).clamp(0.0, 1.0)
        eu, ev = wu - along * du, wv - along * dv
        distance = eu * eu + ev * ev
        nearest = distance if nearest is None else torch.minimum(nearest, distance)
        slope = du / torch.where(dv == 0.0, torch.ones_like(dv), dv)
        crosses = ((wv >= 0.0) != (wv >= dv)) & (wu < wv * slope)
        inside = inside ^ crosses
    assert nearest is not None
    root = (nearest + TINY).sqrt()
    return torch.where(inside, -root, root)


def _corner(a: Tensor, b: Tensor) -> Tensor:
    """Exact intersection of two perpendicular extents."""
    return length(a.clamp_min(0.0), b.clamp_min(0.0)) + torch.maximum(a, b).clamp_max(0.0)


PRIMITIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "box": box,
    "cylinder": cylinder,
    "torus": torus,
    "capsule": capsule,
    "superquadric": superquadric,
    "ellipsoid": ellipsoid,
    "revolution": revolution,
    "extrusion": extrusion,
}


def radius(kind: str, q: tuple[float, ...]) -> float:
    """Radius of a ball about the local origin that holds the primitive."""
    if kind == "box" or kind == "superquadric" or kind == "ellipsoid":
        a, b, c = q[:3]
        if kind == "ellipsoid":
            return max(a, b, c)
        return (a * a + b * b + c * c) ** 0.5
    if kind == "cylinder":
        return (q[0] ** 2 + q[1] ** 2) ** 0.5
    if kind == "torus" or kind == "capsule":
        return q[0] + q[1]
    flat = q[1:] if kind == "extrusion" else q
    reach = max(u * u + v * v for u, v in zip(flat[::2], flat[1::2], strict=True))
    return (reach + (q[0] ** 2 if kind == "extrusion" else 0.0)) ** 0.5
