"""A training step's losses: the fixture's quirks 8 and 10."""

from dataclasses import dataclass

import torch
from tests.models.sparseneus_reference.blending import Support
from tests.models.sparseneus_reference.features import compress, pyramid
from tests.models.sparseneus_reference.field import sdf
from tests.models.sparseneus_reference.rays import Composited, Marched, composite, march, sample
from tests.models.sparseneus_reference.scene import Scene
from tests.models.sparseneus_reference.sparse import dense, sparse_network
from tests.models.sparseneus_reference.volume import cost_volume
from tests.models.sparseneus_reference.weights import Weights
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """r rays of view 0: origins, directions, colour (r, 3), mask (r), depth (r) along the ray, 0 where nothing;
    random_points (q, 3) of the sparsity term."""

    origins: Tensor
    directions: Tensor
    colour: Tensor
    mask: Tensor
    depth: Tensor
    random_points: Tensor


@dataclass(frozen=True)
class Rendered:
    """What does not depend on the iteration: the samples and the distances at the random points (q)."""

    marched: Marched
    random_sdf: Tensor


def build(
    pictures: Tensor,
    scene: Scene,
    weights: Weights,
    *,
    grid: int,
    batch: bool,
    updates: Weights | None = None,
) -> Support:
    """The volume of a training step: features of all v views in one batch, the volume of the sources 1 to v - 1."""
    fused = pyramid(pictures, weights, batch=batch, updates=updates).fused[1:]
    compressed = compress(fused, weights, batch=batch, updates=updates)
    volume = cost_volume(compressed, scene.affine[1:], grid=grid)
    values = sparse_network(volume.cost, volume.sites, weights, batch=batch, updates=updates)["output"].values
    cube = dense(values, volume.sites, grid=grid)
    return Support(pictures[1:], fused, scene.affine[1:], scene.c2w[1:, :3, 3], cube, volume.active)


def render(
    rays: Batch, support: Support, scene: Scene, weights: Weights, z: Tensor | None = None
) -> Rendered:
    """March the rays between the near and far of training, unperturbed (or at depths z given), with gradients."""
    near, far = scene.near_far_train[0].tolist()
    if z is None:
        z, _ = sample(rays.origins, rays.directions, near, far, support, weights)
    step = (far - near) / 64
    marched = march(
        rays.origins, rays.directions, z, step, scene.c2w[0, :3, 3], support, weights, create_graph=True
    )
    return Rendered(marched, sdf(support.volume, rays.random_points, weights))


def schedules(iteration: int) -> tuple[float, float, float]:
    """(anneal ratio, weight of the sparsity, weight of the mask) of the released configuration."""
    return min(1.0, iteration / 25000), 0.02 * min(1.0, iteration / 50000), 0.1 if iteration >= 50000 else 0.0


def losses(
    rays: Batch, rendered: Rendered, weights: Weights, *, iteration: int
) -> tuple[dict[str, Tensor], Composited]:
    """The terms by their published names, "loss" the weighted sum (depth weighs nothing), and the picture."""
    anneal, sparse_weight, mask_weight = schedules(iteration)
    marched = rendered.marched
    picture = composite(marched, rays.directions, weights, anneal=anneal)
    colour = (picture.colour - rays.colour).abs()[marched.valid].mean()
    depth = (picture.depth - rays.depth).abs().mean()
    at_random = torch.exp(-100 * rendered.random_sdf.abs()).mean()
    along_rays = torch.exp(-100 * marched.sdf.abs()).mean()
    sparse = (at_random + along_rays) / 2
    mask = (picture.weights_sum - rays.mask).abs().mean()
    if (rays.mask == 0).double().mean() <= 0.02:
        mask = 0 * mask
    total = colour + 0.1 * marched.eikonal + sparse_weight * sparse + mask_weight * mask
    terms = {
        "loss": total,
        "depth_loss": depth,
        "color_fine_loss": colour,
        "gradient_error_loss": marched.eikonal,
        "sparse_loss": sparse,
        "fg_bg_loss": mask,
    }
    return terms, picture


def parameters(weights: Weights) -> list[str]:
    """Names of what is trained: all but the running statistics."""
    return [name for name in weights if "running_" not in name and "num_batches" not in name]


def trainable(weights: Weights) -> Weights:
    """Leaves of a graph to come."""
    train = set(parameters(weights))
    return {name: value.clone().requires_grad_(name in train) for name, value in weights.items()}


def gradients(loss: Tensor, weights: Weights, *, keep: bool = False) -> dict[str, Tensor]:
    """Of every parameter; keep: the graph serves another loss."""
    names = parameters(weights)
    found = torch.autograd.grad(loss, [weights[n] for n in names], retain_graph=keep)
    return dict(zip(names, found, strict=True))
