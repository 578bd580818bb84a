"""The inputs of the benchmarks: an ellipsoid as 8 x 4 views show it, and the networks with seeded weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from recipe import PublishedRecipe, Sources
from recipe.network import Targets
from torch import Tensor

from one2345.build import build
from one2345.cli.compose import compose, to_plain
from one2345.geometry import Cameras, Similarity, camera_rays, load_plan, pixel_rays
from one2345.models import Reconstructor, SparseNeus
from one2345.models.sparseneus.view_cube import view_cube

SEMI_AXES = (0.4, 0.28, 0.2)
"""Of the object, whose longest edge is 0.8 as in the released data."""
RADIUS = 0.544
"""Of the sphere that the seeded field starts as, in the cube: about 77,000 vertices of a lattice of 256^3."""


@dataclass(frozen=True)
class Sizes:
    """views of `pixels`^2, voxels per axis, rays of a step, and nodes per axis of the lattice."""

    views: int = 32
    pixels: int = 256
    volume: int = 96
    rays: int = 512
    lattice: int = 256
    batch: int = 1


def ellipsoid(origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Colour (..., 3) on white and mask (...) of rays (..., 3)."""
    axes = origins.new_tensor(SEMI_AXES)
    o, d = origins / axes, directions / axes
    a, b, c = (d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - 1
    disc = b * b - a * c
    hit = disc > 0
    t = (-b - disc.clamp_min(0).sqrt()) / a
    at = o + t[..., None] * d
    normal = torch.nn.functional.normalize(at / axes, dim=-1)
    light = torch.nn.functional.normalize(normal.new_tensor([0.5, -0.6, 0.7]), dim=0)
    shade = 0.35 + 0.65 * (normal @ light).clamp_min(0)
    tint = 0.5 + 0.35 * torch.sin(9 * at + at.new_tensor([0.0, 2.0, 4.0]))
    rgb = torch.where(hit[..., None], shade[..., None] * tint, torch.ones_like(at))
    return rgb.clamp(0, 1), hit.float()


@dataclass(frozen=True)
class Scene:
    """images (v, 3, h, w), masks (v, h, w) and cameras (v) in the world; the reference view, which is no source but is
    what rays look at; target rays (r) of it; frame: the cube of the published network."""

    images: Tensor
    masks: Tensor
    cameras: Cameras
    reference: Cameras
    reference_image: Tensor
    origins: Tensor
    directions: Tensor
    rgb: Tensor
    mask: Tensor
    noise: Tensor
    uniform: Tensor
    frame: Similarity

    def sources(self) -> Sources:
        """The views in the cube, as the recipe takes them."""
        local = self.frame.cameras_to_local(_batch(self.cameras))[0]
        return Sources(self.images, local.K @ local.w2c[:, :3], local.centres)

    def targets(self) -> Targets:
        """The rays in the cube, between the planes of training."""
        origins = self.frame.points_to_local(self.origins[None])[0]
        directions = self.frame.directions_to_local(self.directions[None])[0]
        distance = torch.linalg.vector_norm(origins, dim=-1)
        return Targets(
            origins, directions, 0.95 * (distance - 1).clamp_min(0.02), 1.05 * (distance + 1),
            self.noise, self.rgb, self.mask, self.uniform * 2 - 1,
        )  # fmt: skip


def scene(sizes: Sizes, device: str = "cpu") -> Scene:
    """Cameras of the released rig, source views spread evenly over it; three quarters of the rays hit the object."""
    generator = torch.Generator().manual_seed(0)
    plan = load_plan("published32")
    cameras = plan.cameras(30.0, sizes.pixels)
    first, near = len(plan.stage1), len(plan.source_views(30.0))
    # More views than the rig has: the same ones again, a little further round.
    chosen = [
        first + (i * near // sizes.views if sizes.views < near else i % near) for i in range(sizes.views)
    ]
    turned = [_turn(cameras.c2w[c], 2.5 * (i // near)) for i, c in enumerate(chosen)]
    sources = Cameras(K=cameras.K[chosen], c2w=torch.stack(turned), size=cameras.size)
    reference = cameras[:1]
    images, masks = _views(sources)
    image, alpha = _views(reference)
    on = torch.multinomial(alpha.flatten() + 1e-6, 3 * sizes.rays // 4, generator=generator)
    off = torch.randint(alpha.numel(), (sizes.rays - len(on),), generator=generator)
    pixel = torch.cat([on, off])
    rays = pixel_rays(
        reference[0], torch.stack([pixel % sizes.pixels + 0.5, pixel // sizes.pixels + 0.5], -1).float()
    )
    rgb, mask = ellipsoid(rays.origins, rays.directions)
    frame = view_cube(_batch(sources), _batch(reference), near=0.5, far=1.8)
    made = Scene(
        images, masks, sources, reference, image, rays.origins, rays.directions, rgb, mask,
        torch.rand(sizes.rays, 64, generator=generator), torch.rand(1024, 3, generator=generator), frame,
    )  # fmt: skip
    return made if device == "cpu" else Scene(**{k: v.to(device) for k, v in vars(made).items()})


def _turn(c2w: Tensor, degrees: float) -> Tensor:
    """A camera further round the world's z axis."""
    angle = math.radians(degrees)
    turn = torch.eye(4)
    turn[:2, :2] = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return turn @ c2w


def _views(cameras: Cameras) -> tuple[Tensor, Tensor]:
    rays = camera_rays(cameras)
    rgb, mask = ellipsoid(rays.origins, rays.directions)
    return rgb.permute(0, 3, 1, 2).contiguous(), mask


def _batch(cameras: Cameras) -> Cameras:
    return Cameras(K=cameras.K[None], c2w=cameras.c2w[None], size=cameras.size)


def sparseneus(sizes: Sizes) -> SparseNeus:
    """The published network as it is born but for what makes its field depend on the pictures: a sphere whose surface
    the volume's features move by a few thousandths of the cube."""
    torch.manual_seed(0)
    model = SparseNeus(published_quirks=True, norm="batch", resolution=sizes.volume)
    with torch.no_grad():
        for layer, start, scale in ((model.sdf_net.layer1, 128, 2e-3), (model.sdf_net.layer2, 128, 2e-3)):
            weight = layer.weight.clone()
            weight[:, start:] += scale * torch.randn(weight[:, start:].shape)
            layer.weight = weight
        model.sdf_net.layer2.bias[0] -= RADIUS - 0.5
    return model


def recipe(sizes: Sizes, weights: dict[str, Tensor]) -> PublishedRecipe:
    """The measuring stick with the weights of `SparseNeus`."""
    made = PublishedRecipe(resolution=sizes.volume)
    made.load_state_dict(weights)
    return made


def sdf_base(sizes: Sizes) -> Reconstructor:
    """The base network as conf/ has it, its residual not quite zero."""
    torch.manual_seed(0)
    config = to_plain(
        compose("train", ["scale=paper", f"scale.volume={sizes.volume}", "+run.dir=x", "run.id=x"]).config
    )
    model = build(config["model"], allow_any=True)
    with torch.no_grad():
        model.sdf_net.layer2.weight.normal_(0, 1e-3)
    return model
