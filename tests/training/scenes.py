"""Small scenes in closed form: a sphere's silhouettes as sources, a smaller sphere as the truth to learn."""

import torch

from one2345.build import build
from one2345.data.batch import SceneBatch, TargetRays
from one2345.geometry import Cameras, Rays, camera_rays, evaluation_box, load_plan, orbit_cameras, z_per_t
from one2345.models import Reconstructor
from one2345.seeding import torch_rng

SIZE, HULL_RADIUS, TRUE_RADIUS = 32, 0.34, 0.22
RED, GREEN = torch.tensor([0.9, 0.2, 0.1]), torch.tensor([0.1, 0.8, 0.2])


TINY = {
    "_target_": "one2345.models.Reconstructor",
    "resolution": 16,
    "hull_range": 0.25,
    "feature_net": {"_target_": "one2345.models.FeatureNet", "channels": [8, 8, 16], "out_channels": [4, 8]},
    "volume_net": {"_target_": "one2345.models.VolumeNet", "in_channels": 19, "channels": [8, 8, 16, 16]},
    "sdf_net": {"_target_": "one2345.models.SdfNet", "latent_channels": 9, "hidden": 32, "octaves": 3},
    "blend_net": {
        "_target_": "one2345.models.BlendNet",
        "geometry_channels": 9,
        "feature_channels": 4,
        "hidden": 16,
        "width": 8,
        "logit_hidden": [8, 8],
    },
    "variance": {"_target_": "one2345.rendering.Variance", "init": 0.35},
}


def tiny_model(*, seed: int = 0) -> Reconstructor:
    """The base network, narrow and coarse; its last layer is perturbed so that every weight has a gradient."""
    torch.manual_seed(seed)
    model = build(TINY)
    torch.nn.init.normal_(model.sdf_net.layer2.weight, 0.0, 0.02)
    return model


def sphere_hits(rays: Rays, radius: float) -> torch.Tensor:
    """Distance along rays (...) to a sphere about the origin, 0 where they miss."""
    along = (rays.origins * rays.directions).sum(-1)
    discriminant = along.square() - rays.origins.square().sum(-1) + radius**2
    return torch.where(discriminant > 0, -along - discriminant.clamp_min(0).sqrt(), torch.zeros_like(along))


def sphere_batch(*, objects: int = 1, seed: int = 0, rays: int = 96) -> SceneBatch:
    """Sources: masks of a large sphere, coloured red and green by turns. Truth: a small red sphere."""
    ids = tuple(f"sphere-{seed + i}" for i in range(objects))
    draws = [torch_rng("sphere", seed + i) for i in range(objects)]
    sources = [load_plan("ring8").cameras(10.0 + 7 * (seed + i), SIZE)[::2] for i in range(objects)]
    masks = torch.stack([(sphere_hits(camera_rays(c), HULL_RADIUS) > 0).float() for c in sources])
    paint = torch.stack([RED, GREEN, RED, GREEN])[None, :, :, None, None]
    images = masks[:, :, None] * paint + (1 - masks[:, :, None])

    pool = orbit_cameras([20.0, 140.0, 260.0], [15.0, 40.0, -5.0], size=SIZE)
    flat = camera_rays(pool)
    origins, directions = flat.origins.reshape(-1, 3), flat.directions.reshape(-1, 3)
    t = sphere_hits(Rays(origins=origins, directions=directions), TRUE_RADIUS)
    candidates = torch.cat([(t > 0).nonzero()[:, 0], (t == 0).nonzero()[: len(t) // 6, 0]])
    chosen = torch.stack([candidates[torch.randint(len(candidates), (rays,), generator=g)] for g in draws])
    hit = (t[chosen] > 0).float()
    target_rays = TargetRays(
        origins=origins[chosen],
        directions=directions[chosen],
        rgb=hit[..., None] * RED + (1 - hit[..., None]),
        mask=hit,
        t=t[chosen],
    )
    points = torch.stack([torch.rand(256, 3, generator=g) - 0.5 for g in draws])
    normals = torch.nn.functional.normalize(
        torch.stack([torch.randn(64, 3, generator=g) for g in draws]), dim=-1
    )
    target = Cameras.stack([pool] * objects)
    seen = sphere_hits(camera_rays(target), TRUE_RADIUS)
    nodes = evaluation_box(64).nodes()
    present = (seen > 0).float()
    return SceneBatch(
        ids=ids,
        seeds=tuple(1000 + seed + i for i in range(objects)),
        images=images,
        masks=masks,
        cameras=Cameras.stack(sources),
        rays=target_rays,
        sdf_points=points,
        sdf_values=points.norm(dim=-1) - TRUE_RADIUS,
        surface_points=normals * TRUE_RADIUS,
        surface_normals=normals,
        surface_colours=RED.expand_as(normals),
        target_images=present[:, :, None] * RED[:, None, None] + (1 - present[:, :, None]),
        target_masks=present,
        target_depth=seen * z_per_t(target, camera_rays(target).directions),
        target_cameras=target,
        occupancy_64=(nodes.norm(dim=-1) < TRUE_RADIUS).expand(objects, -1, -1, -1),
    )
