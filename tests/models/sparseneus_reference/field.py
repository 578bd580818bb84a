"""Signed distance from volume and point: the fixture's quirks 6 and 7."""

from itertools import product

import torch
import torch.nn.functional as F
from tests.models.sparseneus_reference.weights import Weights
from torch import Tensor

LAYER = "sdf_network_lod0.sdf_layer"
OCTAVES = 6


def _trilinear(volume: Tensor, index: Tensor, *, repeat_border: bool) -> Tensor:
    """Values (p, c) of a cube (g, g, g, c) at fractional indices (p, 3): nodes at integers; a node outside has the
    value of the nearest one inside (`repeat_border`) or zero."""
    grid = volume.shape[0]
    index = index.clamp(-2, grid + 1)
    low = index.detach().floor()
    total = volume.new_zeros(len(index), volume.shape[-1])
    for corner in product((0, 1), repeat=3):
        step = torch.tensor(corner, dtype=index.dtype)
        node = low + step
        weight = torch.where(step == 1, index - low, 1 - (index - low)).prod(dim=-1)
        if not repeat_border:
            weight = weight * ((node >= 0) & (node <= grid - 1)).all(dim=-1)
        i, j, k = node.clamp(0, grid - 1).long().unbind(dim=-1)
        total = total + volume[i, j, k] * weight[:, None]
    return total


def fractional_index(points: Tensor, grid: int) -> Tensor:
    """Cube points (p, 3) in steps of 2 / (grid - 1) from the first node."""
    return (points + 1) / 2 * (grid - 1)


def latent(volume: Tensor, points: Tensor) -> Tensor:
    """What the SDF network reads (p, 16): zero unless 0 < index < grid on every axis, the border repeated above."""
    grid = volume.shape[0]
    index = fractional_index(points, grid)
    inside = ((index > 0) & (index < grid)).all(dim=-1)
    return _trilinear(volume, index, repeat_border=True) * inside[:, None]


def geometry_feature(volume: Tensor, points: Tensor) -> Tensor:
    """What the colour network reads (p, 16): ordinary trilinear, zero beyond the nodes."""
    return _trilinear(volume, fractional_index(points, volume.shape[0]), repeat_border=False)


def touches_active(active: Tensor, points: Tensor) -> Tensor:
    """The colours' validity (p): inside the cube, and any active voxel among the eight around that has a weight."""
    return (geometry_feature(active.double()[..., None], points)[:, 0] > 0) & inside_cube(points)


def inside_cube(points: Tensor) -> Tensor:
    """Strictly (p)."""
    return (points.abs() < 1).all(dim=-1)


def nearest_active(active: Tensor, points: Tensor) -> Tensor:
    """The rays' validity (p): the nearest voxel, were voxels the cells of the cube (align_corners False)."""
    grid = active.shape[0]
    index = torch.round(((points + 1) * grid - 1) / 2)  # halves to even
    inside = ((index >= 0) & (index <= grid - 1)).all(dim=-1)
    i, j, k = index.clamp(0, grid - 1).long().unbind(dim=-1)
    return active[i, j, k] & inside


def linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    """A weight-normalised layer: rows of weight_v made as long as weight_g says."""
    v, g = weights[f"{LAYER}.{name}.weight_v"], weights[f"{LAYER}.{name}.weight_g"]
    return x @ (v * g / v.norm(dim=1, keepdim=True)).T + weights[f"{LAYER}.{name}.bias"]


def mlp(points: Tensor, latents: Tensor, weights: Weights) -> Tensor:
    """(p, 128) of points (p, 3) and latents (p, 16): channel 0 is the signed distance in cube units."""
    encoded = [points]
    for octave in range(OCTAVES):
        encoded += [torch.sin(2**octave * points), torch.cos(2**octave * points)]
    x = F.softplus(linear(torch.cat(encoded, dim=-1), weights, "lin0"), beta=100)
    x = F.softplus(linear(torch.cat([x, latents], dim=-1), weights, "lin1"), beta=100)
    return linear(torch.cat([x, latents], dim=-1), weights, "lin2")


def sdf(volume: Tensor, points: Tensor, weights: Weights) -> Tensor:
    """Signed distance (p), negative inside, with no regard to what is active."""
    return mlp(points, latent(volume, points), weights)[:, 0]


def sdf_and_gradient(
    volume: Tensor, points: Tensor, weights: Weights, *, create_graph: bool = False
) -> tuple[Tensor, Tensor]:
    """Signed distance (p) and its gradient (p, 3) by autograd."""
    with torch.enable_grad():
        points = points.detach().requires_grad_()
        value = sdf(volume, points, weights)
        (gradient,) = torch.autograd.grad(value.sum(), points, create_graph=create_graph)
    return (value, gradient) if create_graph else (value.detach(), gradient)


def field_on_lattice(volume: Tensor, weights: Weights, *, resolution: int) -> Tensor:
    """The mesh field -SDF (r, r, r) at the lattice of linspace(-1, 1, r)."""
    axis = torch.linspace(-1, 1, resolution, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    with torch.no_grad():
        values = [-sdf(volume, chunk, weights) for chunk in points.split(65536)]
    return torch.cat(values).reshape(resolution, resolution, resolution)
