"""Look at one object by a recipe: its views and its labels. Depends on (recipe, id, split) alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from one2345.errors import InputError
from one2345.geometry import Cameras, evaluation_box, orbit_cameras
from one2345.objects import Object3D, Painted
from one2345.seeding import key, numpy_rng, torch_rng
from one2345.views import PosedViews, Samples

from .recipe import Recipe, SampleSizes
from .sources.base import LoadedObject

_CHUNK = 1 << 16
_BLOCK = 4


@dataclass(frozen=True)
class Observation:
    """Everything that is stored about an object. elevation: of the input view, degrees."""

    views: PosedViews
    samples: Samples
    elevation: float


def observe(
    item: Object3D | LoadedObject, *, recipe: Recipe, split: str | None, exact: bool = True
) -> Observation:
    """Render and sample `item`: an object alone, or with what its source knows of it (then `exact` is not read).

    The recipe's renderer makes the pictures, the object itself gives the labels. exact: whether its signed
    distance changes sign only at the surface, which lets most of an occupancy grid be decided in blocks.
    Raises InputError when a planned view shows nothing, can't be drawn, or a label is not finite.
    """
    loaded = item if isinstance(item, LoadedObject) else LoadedObject(object=item, exact=exact)
    if recipe.pattern or recipe.occlusion:
        painted = Painted(loaded.object, pattern=recipe.pattern, occlusion=recipe.occlusion, seed=recipe.seed)
        loaded = replace(loaded, object=painted)
    item, exact = loaded.object, loaded.exact
    low, high = recipe.elevation
    elevation = round(float(numpy_rng(recipe.seed, "elevation", item.id).uniform(low, high)), 4)
    views = _views(loaded, recipe, elevation)
    samples = _samples(loaded.object, recipe.sizes(split), recipe.seed, exact)
    return Observation(views=views, samples=samples, elevation=elevation)


def _views(loaded: LoadedObject, recipe: Recipe, elevation: float) -> PosedViews:
    item = loaded.object
    planned = recipe.view_plan.views(elevation)
    low, high = recipe.elevation
    size = recipe.size
    cameras = [recipe.view_plan.cameras(elevation, size)]
    for k in range(recipe.targets):
        rng = numpy_rng(recipe.seed, "target", item.id, k)
        cameras.append(
            orbit_cameras([float(rng.uniform(0, 360))], [float(rng.uniform(low, high))], size=size)
        )
    together = Cameras.cat(cameras)
    seen = recipe.renderer.render(loaded, together)
    for name, value in (("rgb", seen.rgb), ("depth", seen.depth), ("mask", seen.mask)):
        if not value.isfinite().all():
            raise InputError(f"{item.id}: rendered {name} holds NaN or infinite values")
    names = [p.name for p in planned] + [f"t{k}" for k in range(recipe.targets)]
    empty = (seen.mask.amax((1, 2)) <= 0).nonzero()
    if len(empty):
        raise InputError(f"{item.id}: view {names[int(empty[0])]} shows nothing of the object")
    return PosedViews(
        images=seen.rgb.cpu(),
        masks=seen.mask.cpu(),
        cameras=together,
        names=tuple(names),
        roles=(*(p.role for p in planned), *["target"] * recipe.targets),
        parents=(*(p.parent for p in planned), *[None] * recipe.targets),
        depth=seen.depth.cpu(),
        normals=seen.normal.cpu() if recipe.normals else None,
    )


def _samples(item: Object3D, sizes: SampleSizes, seed: int, exact: bool) -> Samples:
    surface = item.sample_surface(sizes.surface_points, seed=key(seed, "surface", item.id))
    points = _sdf_points(item, sizes, seed)
    values = _in_chunks(item.sdf, points)
    occupancy = {r: occupancy_grid(item, r, blockwise=exact) for r in sizes.occupancy}
    samples = Samples(
        sdf_points=points,
        sdf_values=values,
        surface_points=surface.points.float().cpu(),
        surface_normals=surface.normals.float().cpu(),
        surface_colours=surface.colours.float().cpu(),
        occupancy=occupancy,
    )
    for name in ("sdf_values", "surface_points", "surface_normals", "surface_colours"):
        if not getattr(samples, name).isfinite().all():
            raise InputError(f"{item.id}: {name} hold NaN or infinite values")
    if not any(grid.any() for grid in occupancy.values()) and occupancy:
        raise InputError(
            f"{item.id}: nothing is inside the object (open, inside out, or thinner than the grid)"
        )
    return samples


def _sdf_points(item: Object3D, sizes: SampleSizes, seed: int) -> Tensor:
    """Query points (n, 3): first those near the surface, sigma by sigma, then the uniform ones."""
    n = sizes.sdf_points
    near = round(sizes.near * n)
    generator = torch_rng(seed, "sdf", item.id)
    uniform = torch.rand(n - near, 3, generator=generator) - 0.5
    if near == 0:
        return uniform
    surface = item.sample_surface(near, seed=key(seed, "sdf surface", item.id)).points.float().cpu()
    sigmas = torch.tensor([float(s) for s in sizes.sigmas])
    sigma = sigmas[torch.arange(near) % len(sigmas)].sort().values
    noisy = surface + sigma[:, None] * torch.randn(near, 3, generator=generator)
    return torch.cat([noisy.clamp(-0.5, 0.5), uniform])


def occupancy_grid(item: Object3D, resolution: int, *, blockwise: bool = True) -> Tensor:
    """(r, r, r) bool: whether the nodes of `evaluation_box(resolution)` lie inside.

    blockwise: a block of nodes all of which are nearer to its centre than the surface has the sign of
    the centre. Exact where |sdf| is at most the distance to the nearest sign change. An object that has an
    `occupancy_grid(box)` of its own is asked for it.
    """
    box = evaluation_box(resolution)
    own = getattr(item, "occupancy_grid", None)
    if own is not None and resolution % _BLOCK == 0:
        return own(box).cpu()
    nodes = box.nodes()
    if not blockwise or resolution % _BLOCK:
        return (_in_chunks(item.sdf, nodes.reshape(-1, 3)) < 0).reshape(nodes.shape[:3])
    count = resolution // _BLOCK
    blocks = nodes.reshape(count, _BLOCK, count, _BLOCK, count, _BLOCK, 3).permute(0, 2, 4, 1, 3, 5, 6)
    blocks = blocks.reshape(count**3, _BLOCK**3, 3)
    centre = _in_chunks(item.sdf, blocks.mean(1))
    reach = (_BLOCK - 1) / 2 * box.voxel_size * 3**0.5
    mixed = (centre.abs() <= reach + 2e-3).nonzero()[:, 0]
    inside = (centre < 0)[:, None].repeat(1, _BLOCK**3)
    inside[mixed] = (_in_chunks(item.sdf, blocks[mixed].reshape(-1, 3)) < 0).reshape(-1, _BLOCK**3)
    inside = inside.reshape(count, count, count, _BLOCK, _BLOCK, _BLOCK).permute(0, 3, 1, 4, 2, 5)
    return inside.reshape((resolution,) * 3).contiguous()


def _in_chunks(function, points: Tensor) -> Tensor:
    """function over points (n, 3) in bounded pieces -> (n) float32 on the CPU."""
    parts = [function(part).float().cpu() for part in points.split(_CHUNK)]
    return torch.cat(parts) if parts else points.new_zeros(0)
