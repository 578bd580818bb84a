"""Rays, samples, opacities: the fixture's quirks 7, 8 and 10."""

from dataclasses import dataclass

import torch
from tests.models.sparseneus_reference.blending import Support, colour, unit
from tests.models.sparseneus_reference.field import nearest_active, sdf, sdf_and_gradient
from tests.models.sparseneus_reference.scene import Scene
from tests.models.sparseneus_reference.weights import Weights
from torch import Tensor

SAMPLES, ROUNDS, ADDED = 64, 4, 16
OUTSIDE = 100.0


@dataclass(frozen=True)
class Marched:
    """r rays of s samples at the middles of their intervals.

    z, mid_z (r, s); mask (r, s) the nearest voxel is active; sdf (r, s), OUTSIDE where not; gradient (r, s, 3), zero
    where not; rgb (r, s, 3); valid (r) more than eight samples that two sources or more see.
    interval (r, s): lengths, the last one is sample_dist = (far - near) / 64.
    eikonal (): mean of (|gradient| - 1)^2 inside.
    """

    z: Tensor
    mid_z: Tensor
    interval: Tensor
    mask: Tensor
    sdf: Tensor
    gradient: Tensor
    rgb: Tensor
    valid: Tensor
    eikonal: Tensor


@dataclass(frozen=True)
class Composited:
    """alpha, weights (r, s); colour (r, 3) over white; depth, weights_sum, depth_variance (r)."""

    alpha: Tensor
    weights: Tensor
    colour: Tensor
    depth: Tensor
    weights_sum: Tensor
    depth_variance: Tensor


def rays_through(scene: Scene, view: int, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Origins and unit directions (r, 3) through integer pixel positions (r, 2), x then y."""
    homogeneous = torch.cat([pixels.double(), torch.ones(len(pixels), 1, dtype=torch.float64)], dim=-1)
    camera = homogeneous @ torch.linalg.inv(scene.intrinsics).T
    camera = camera / camera.norm(dim=-1, keepdim=True)
    pose = scene.c2w[view]
    return pose[:3, 3].expand(len(pixels), 3), camera @ pose[:3, :3].T


def along(origins: Tensor, directions: Tensor, z: Tensor) -> Tensor:
    """Points (r, s, 3)."""
    return origins[:, None] + directions[:, None] * z[..., None]


def shaped(values: Tensor, z: Tensor) -> Tensor:
    return values.reshape(*z.shape, *values.shape[1:])


def importance(z: Tensor, distance: Tensor, active: Tensor, inverse_sd: float) -> Tensor:
    """ADDED depths (r, 16) where the opacity of a logistic of fixed width would be, evenly through its cumulative.

    z, distance, active (r, s): an interval whose ends are not both in active voxels is transparent.
    """
    before, after = distance[:, :-1], distance[:, 1:]
    step = z[:, 1:] - z[:, :-1]
    slope = (after - before) / (step + 1e-5)
    previous = torch.cat([torch.zeros_like(slope[:, :1]), slope[:, :-1]], dim=-1)
    slope = torch.minimum(previous, slope).clamp(-10, 0)
    middle = (before + after) / 2
    enter = torch.sigmoid((middle - slope * step / 2) * inverse_sd)
    leave = torch.sigmoid((middle + slope * step / 2) * inverse_sd)
    alpha = (enter - leave + 1e-5) / (enter + 1e-5) * (active[:, :-1] & active[:, 1:])
    weights = alpha * transmittance(alpha) + 1e-5

    share = weights / weights.sum(dim=-1, keepdim=True)
    cumulative = torch.cat([torch.zeros_like(share[:, :1]), share.cumsum(dim=-1)], dim=-1)
    u = torch.linspace(0.5 / ADDED, 1 - 0.5 / ADDED, ADDED, dtype=z.dtype).expand(len(z), ADDED).contiguous()
    above = torch.searchsorted(cumulative, u, right=True)
    below, above = (above - 1).clamp(min=0), above.clamp(max=cumulative.shape[-1] - 1)
    c0, c1 = cumulative.gather(1, below), cumulative.gather(1, above)
    width = torch.where(c1 - c0 < 1e-5, torch.ones_like(c0), c1 - c0)
    z0, z1 = z.gather(1, below), z.gather(1, above)
    return z0 + (u - c0) / width * (z1 - z0)


def transmittance(alpha: Tensor) -> Tensor:
    """(r, s): what reaches each sample."""
    left = torch.cumprod(1 - alpha + 1e-7, dim=-1)
    return torch.cat([torch.ones_like(left[:, :1]), left[:, :-1]], dim=-1)


def sample(
    origins: Tensor, directions: Tensor, near: float, far: float, support: Support, weights: Weights
) -> tuple[Tensor, Tensor]:
    """Depths (r, 128), sorted, and those added (r, 64) in order of the rounds. No perturbation, no gradient.

    The first 64 have their true distance whether active or not; an added one outside has OUTSIDE.
    """
    with torch.no_grad():
        z = torch.linspace(0, 1, SAMPLES, dtype=torch.float64) * (far - near) + near
        z = z.expand(len(origins), SAMPLES)
        points = along(origins, directions, z).reshape(-1, 3)
        distance = shaped(sdf(support.volume, points, weights), z)
        active = shaped(nearest_active(support.active, points), z)
        rounds = []
        for number in range(ROUNDS):
            new = importance(z, distance, active, 64.0 * 2**number)
            points = along(origins, directions, new).reshape(-1, 3)
            new_active = nearest_active(support.active, points)
            new_distance = torch.where(new_active, sdf(support.volume, points, weights), OUTSIDE)
            rounds.append(new)
            z, order = torch.cat([z, new], dim=-1).sort(dim=-1)
            distance = torch.cat([distance, shaped(new_distance, new)], dim=-1).gather(1, order)
            active = torch.cat([active, shaped(new_active, new)], dim=-1).gather(1, order)
        return z, torch.cat(rounds, dim=-1)


def march(
    origins: Tensor,
    directions: Tensor,
    z: Tensor,
    sample_dist: float,
    camera: Tensor,
    support: Support,
    weights: Weights,
    *,
    create_graph: bool = False,
) -> Marched:
    """Evaluate the samples z (r, s) at the middles of their intervals; camera (3): the centre of the query view."""
    interval = torch.cat([z[:, 1:] - z[:, :-1], torch.full_like(z[:, :1], sample_dist)], dim=-1)
    mid_z = z + interval / 2
    points = along(origins, directions, mid_z).reshape(-1, 3)
    mask = nearest_active(support.active, points)
    distance, gradient = sdf_and_gradient(support.volume, points, weights, create_graph=create_graph)
    distance = torch.where(mask, distance, OUTSIDE)
    gradient = torch.where(mask[:, None], gradient, 0.0)
    length = (gradient.square().sum(dim=-1) + 1e-30).sqrt()
    eikonal = ((length - 1) ** 2 * mask).sum() / (mask.sum() + 1e-5)
    blended, seen = colour(support, points, unit(camera - points), weights)
    seen_by_two = shaped(seen.sum(dim=0) >= 2, z)
    return Marched(
        z=z,
        mid_z=mid_z,
        interval=interval,
        mask=shaped(mask, z),
        sdf=shaped(distance, z),
        gradient=shaped(gradient, z),
        rgb=shaped(blended.rgb, z),
        valid=seen_by_two.sum(dim=-1) > 8,
        eikonal=eikonal,
    )


def inverse_sd(weights: Weights) -> Tensor:
    return torch.exp(10 * weights["variance_network_lod0.variance"]).clamp(1e-6, 1e6)


def composite(marched: Marched, directions: Tensor, weights: Weights, *, anneal: float) -> Composited:
    """NeuS opacity of each interval from distance, slope and the learned width; anneal 1 is the true cosine."""
    slope = (marched.gradient * directions[:, None]).sum(dim=-1)
    slope = -(torch.relu(-slope * 0.5 + 0.5) * (1 - anneal) + torch.relu(-slope) * anneal)
    scale = inverse_sd(weights)
    enter = torch.sigmoid((marched.sdf - slope * marched.interval / 2) * scale)
    leave = torch.sigmoid((marched.sdf + slope * marched.interval / 2) * scale)
    alpha = ((enter - leave + 1e-5) / (enter + 1e-5)).clamp(0, 1) * marched.mask
    share = alpha * transmittance(alpha)
    total = share.sum(dim=-1)
    depth = (share * marched.mid_z).sum(dim=-1)
    return Composited(
        alpha=alpha,
        weights=share,
        colour=(share[..., None] * marched.rgb).sum(dim=1) + (1 - total)[:, None],
        depth=depth,
        weights_sum=total,
        depth_variance=((marched.mid_z - depth[:, None]) ** 2 * share).sum(dim=-1),
    )
