"""Sphere tracing of many shapes at once, with only the rays that are still on their way."""

from __future__ import annotations

import torch
from torch import Tensor

from one2345.objects.shapes.program import Programs

# World units. A ray has arrived when the bound is below ARRIVED, a hundredth of a pixel at 256 px and radius
# 1.2.
ARRIVED = 3e-5
# What a ray that ran out of steps still counts as a hit: it crawls along a surface.
GRAZING = 3e-4
MAX_STEPS = 192
# Steps are this much longer than the bound while consecutive empty balls overlap (over-relaxation).
RELAXATION = 1.4


def box_interval(origins: Tensor, directions: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays (b, 3, n) are within the boxes [-half, half], half (b, 3): near >= 0 and far (b, n)."""
    safe = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    a, b = (-half[:, :, None] - origins) / safe, (half[:, :, None] - origins) / safe
    near = torch.minimum(a, b).amax(dim=1).clamp_min(0.0)
    return near, torch.maximum(a, b).amin(dim=1)


@torch.no_grad()
def trace(programs: Programs, origins: Tensor, directions: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """First hits of rays that start outside of the shapes.

    origins, directions: (b, 3, n) world, unit directions; half: (b, 3) half extents of boxes that hold the
    shapes.
    Returns t (b, n), the distance along the ray, and hit (b, n) bool.

    Over-relaxed sphere tracing: a step of RELAXATION times the bound is taken back when the ball at its end
    does not overlap the ball at its start, so no surface is ever jumped.
    """
    near, far = box_interval(origins, directions, half)
    b, n = near.shape
    hit = torch.zeros(b, n, dtype=torch.bool, device=near.device)
    t_hit = torch.zeros_like(near)
    active = far > near
    index = torch.arange(n, device=near.device).expand(b, n)
    t, step, last = near, torch.zeros_like(near), torch.zeros_like(near)
    for iteration in range(MAX_STEPS):
        count = int(active.sum(dim=1).max())
        if count == 0:
            break
        if count < 0.8 * active.shape[1]:
            keep = _first(active, count)
            origins, directions = _take(origins, keep), _take(directions, keep)
            index, active, t, far = (x.gather(1, keep) for x in (index, active, t, far))
            step, last = step.gather(1, keep), last.gather(1, keep)
        distance = programs.distance(torch.addcmul(origins, directions, t[:, None]))
        overshot = (step > last) & (distance + last < step)
        arrived = active & ~overshot & (distance < (GRAZING if iteration == MAX_STEPS - 1 else ARRIVED))
        if bool(arrived.any()):
            shape, ray = arrived.nonzero(as_tuple=True)
            where = index[shape, ray]
            hit[shape, where] = True
            t_hit[shape, where] = t[shape, ray]
        forward = torch.where(overshot, last - step, distance * RELAXATION)
        # The ball at t reaches to t + distance; only beyond `far` is there nothing left to find.
        going = overshot | (t + distance < far)
        t = torch.where(active, t + forward, t)
        # After a step back the next one is plain, from the old ball.
        last = torch.where(overshot, torch.full_like(last, torch.inf), distance)
        step = forward
        active = active & ~arrived & going
    return t_hit, hit


def _first(active: Tensor, count: int) -> Tensor:
    """(b, count) indices that hold all the active entries of each row."""
    if active.shape[0] == 1:
        return active[0].nonzero()[:, 0][None]
    return torch.argsort(~active, dim=1, stable=True)[:, :count]


def _take(values: Tensor, keep: Tensor) -> Tensor:
    return values.gather(2, keep[:, None].expand(-1, 3, -1))
