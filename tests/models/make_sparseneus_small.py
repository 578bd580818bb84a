"""Make sparseneus_small.npz, the reference's outputs on a small scene: `python -m tests.models.make_sparseneus_small`.

All floating arrays are float32 of double results; where the fixture of the published code has the same quantity it has
the same name there. 24^3 voxels, 64 px pictures, view 0 the reference, views 1 to 4 the sources; `weights_seed` makes
the weights (sparseneus_weights.random_checkpoint). `v` = 5 views, `n` = 4 sources.

inputs      images_u8 (v, 3, 64, 64); raw_c2w (v, 4, 4), raw_K (3, 3), raw_near_far (2) float64; grid
cameras     c2ws, w2cs, affine_mats (v, 4, 4), near_fars_train, near_fars_eval (v, 2), scale_mat (4, 4)
running     feat_sub (v, 56, 4, 4) rows and columns 8::16; feat_mean, feat_std (v, 56); comp_sub (n, 16, 8, 8) rows and
            columns 4::8; view_count (24^3); vox_ijk (q, 3) listed voxels with cost_feat (q, 32), vol_feat (q, 16),
            vox_leak, vox_leak_behind (q); vol_mean, vol_std (16) over active voxels
            blk_NAME_sites [count, min xyz, max xyz, stride], blk_NAME_mean, blk_NAME_std of every block
batch       bt_ of the same: feat_sub, comp_sub, cost_feat, vol_feat, sdf, sdf_grad, mesh_field; sources only
            bn3d_vol_feat: the volume of running statistics through the 3D network on batch statistics
field       sdf_pts (p, 3): sdf, sdf_latent, sdf_grad, sdf_pts_mask; edge_pts: edge_sdf, edge_latent, edge_geo_feat,
            edge_geo_inside, edge_mask_nearest; mesh_field (32^3) = -SDF on linspace(-1, 1, 32), bt_ of it 16^3
blending    blend_pts, blend_dirs (b, 3): blend_geo_feat, blend_mask (n, b), and for the query A (the reference camera)
            and B (blend_dirs) blendX_ray_diff, blendX_weights, blendX_rgb
rays        ray_pixel_xy, ray_o, ray_d, ray_z, ray_new_z, ray_pts_mask, ray_sdf, ray_sample_rgb, ray_valid,
            ray_grad_err; rayA_ with anneal ratio A in 0, 1: alpha, weights, color, depth, weights_sum, depth_var
training    tr_rays_o, tr_rays_v, tr_rays_color, tr_rays_mask, tr_rays_depth, tr_pts_random; for tr60k and tr0:
            loss_names, loss_values, color, depth, weights_sum, valid, gradnorm_names, gradnorm_values
            tr_fpn_conv0_0_, tr_compress_, tr_conv0_ running_mean and running_var after one step's forward pass
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.models.sparseneus_reference.blending import Support, blend, look, ray_difference, unit
from tests.models.sparseneus_reference.features import compress, pyramid
from tests.models.sparseneus_reference.field import (
    field_on_lattice,
    geometry_feature,
    inside_cube,
    latent,
    nearest_active,
    sdf_and_gradient,
)
from tests.models.sparseneus_reference.rays import composite, march, rays_through, sample
from tests.models.sparseneus_reference.scene import Scene, normalise_scene
from tests.models.sparseneus_reference.sparse import dense, sparse_network
from tests.models.sparseneus_reference.training import Batch, build, gradients, losses, render, trainable
from tests.models.sparseneus_reference.volume import cost_volume
from tests.models.sparseneus_reference.weights import Weights, double
from tests.models.sparseneus_weights import random_checkpoint
from torch import Tensor

FILE = Path(__file__).with_name("sparseneus_small.npz")
SIZE, GRID, LATTICE, SEED = 64, 24, 32, 7
Arrays = dict[str, Any]


def look_at(azimuth: float, elevation: float, radius: float) -> Tensor:
    """Camera-to-world (4, 4) on a sphere around the origin, z up, OpenCV axes; angles in degrees."""
    a, e = torch.deg2rad(torch.tensor([azimuth, elevation], dtype=torch.float64))
    back = torch.stack([a.sin() * e.cos(), -a.cos() * e.cos(), e.sin()])
    right = torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), back)
    right = right / right.norm()
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.stack([right, -torch.linalg.cross(back, right), -back], dim=1)
    pose[:3, 3] = radius * back
    return pose


def photograph(c2w: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """A striped ball of radius 0.35 on white: picture (3, h, h), and the distance along each ray (h, h), 0 beside."""
    index = torch.arange(SIZE, dtype=torch.float64)
    v, u = torch.meshgrid(index, index, indexing="ij")
    rays = torch.stack([u, v, torch.ones_like(u)], dim=-1) @ torch.linalg.inv(intrinsics).T
    rays = rays / rays.norm(dim=-1, keepdim=True) @ c2w[:3, :3].T
    centre = torch.tensor([0.05, -0.03, 0.04], dtype=torch.float64)
    towards = c2w[:3, 3] - centre
    half = (rays * towards).sum(dim=-1)
    inside = half**2 - towards.square().sum() + 0.35**2
    hit = inside > 0
    t = torch.where(hit, -half - inside.clamp(min=0).sqrt(), 0.0)
    points = c2w[:3, 3] + rays * t[..., None]
    waves = torch.tensor([[9.0, 4.0, -3.0], [-2.0, 11.0, 5.0], [3.0, -6.0, 8.0]], dtype=torch.float64)
    rgb = 0.5 + 0.45 * torch.sin(points @ waves.T)
    return torch.where(hit[..., None], rgb, 1.0).permute(2, 0, 1), t


def inputs() -> tuple[Arrays, Tensor]:
    """The raw scene, and the world distance along the rays of view 0 (h, h)."""
    angles = [(0.0, 20.0, 1.2), (30.0, 5.0, 1.2), (-35.0, 30.0, 1.15), (65.0, 35.0, 1.2), (185.0, 15.0, 1.1)]
    poses = torch.stack([look_at(*a) for a in angles])
    focal = 280.0 * SIZE / 256
    intrinsics = torch.tensor([[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1]], dtype=torch.float64)
    shots = [photograph(pose, intrinsics) for pose in poses]
    pictures = torch.stack([picture for picture, _ in shots])
    arrays = {
        "images_u8": (pictures * 255).round().to(torch.uint8).numpy(),
        "raw_c2w": poses.numpy(),
        "raw_K": intrinsics.numpy(),
        "raw_near_far": np.array([0.5, 1.8]),
        "grid": np.array(GRID),
        "weights_seed": np.array(SEED),
    }
    return arrays, shots[0][1]


def scene_of(arrays: Arrays) -> tuple[Scene, Tensor, Weights]:
    """Cameras, pictures in [0, 1] and weights from the inputs of the file."""
    raw = [torch.from_numpy(arrays[name]) for name in ("raw_c2w", "raw_K", "raw_near_far")]
    scene = normalise_scene(*raw, size=arrays["images_u8"].shape[-1])
    pictures = torch.from_numpy(arrays["images_u8"]).double() / 255
    return scene, pictures, double(random_checkpoint(int(arrays["weights_seed"])))


def cameras(scene: Scene) -> Arrays:
    scale = torch.diag(torch.stack([scene.radius] * 3 + [torch.ones_like(scene.radius)]))
    scale[:3, 3] = scene.centre
    return {
        "c2ws": scene.c2w,
        "w2cs": scene.w2c,
        "affine_mats": scene.affine,
        "near_fars_train": scene.near_far_train,
        "near_fars_eval": scene.near_far_eval,
        "scale_mat": scale,
    }


def volume_stages(
    scene: Scene, pictures: Tensor, weights: Weights, vox_ijk: Tensor, *, batch: bool
) -> tuple[Arrays, Support]:
    """Features to volume; with `batch` on the statistics of the sources, as the published export runs."""
    fused = pyramid(pictures[1 if batch else 0 :], weights, batch=batch).fused
    sources = fused if batch else fused[1:]
    compressed = compress(sources, weights, batch=batch)
    volume = cost_volume(compressed, scene.affine[1:], grid=GRID)
    blocks = sparse_network(volume.cost, volume.sites, weights, batch=batch)
    cube = dense(blocks["output"].values, volume.sites, grid=GRID)
    at = tuple(vox_ijk.T)
    arrays: Arrays = {
        "feat_sub": fused[:, :, 8::16, 8::16],
        "comp_sub": compressed[:, :, 4::8, 4::8],
        "cost_feat": dense(volume.cost, volume.sites, grid=GRID)[at],
        "vol_feat": cube[at],
    }
    if not batch:
        again = sparse_network(volume.cost, volume.sites, weights, batch=True)["output"].values
        arrays |= {
            "feat_mean": fused.mean(dim=(2, 3)),
            "feat_std": fused.std(dim=(2, 3)),
            "view_count": volume.count.to(torch.uint8),
            "vox_leak": volume.leaks[at].to(torch.uint8),
            "vox_leak_behind": volume.leaks_behind[at].to(torch.uint8),
            "vol_mean": blocks["output"].values.mean(dim=0),
            "vol_std": blocks["output"].values.std(dim=0),
            "bn3d_vol_feat": dense(again, volume.sites, grid=GRID)[at],
        }
        for name, block in blocks.items():
            ijk = block.sites.ijk
            box = [len(ijk), *ijk.amin(dim=0).tolist(), *ijk.amax(dim=0).tolist(), block.sites.stride]
            arrays[f"blk_{name}_sites"] = torch.tensor(box, dtype=torch.int32)
            arrays[f"blk_{name}_mean"], arrays[f"blk_{name}_std"] = block.values.mean(0), block.values.std(0)
    support = Support(pictures[1:], sources, scene.affine[1:], scene.c2w[1:, :3, 3], cube, volume.active)
    return arrays, support


def listed_voxels(scene: Scene, generator: torch.Generator) -> Tensor:
    """(200, 3): 40 anywhere, 80 active, 80 that some view leaks into (those behind it first)."""
    nothing = torch.zeros(len(scene.affine) - 1, 1, SIZE, SIZE, dtype=torch.float64)
    volume = cost_volume(nothing, scene.affine[1:], grid=GRID)
    order = volume.leaks_behind * 100 + volume.leaks
    leaking = order.flatten().argsort(descending=True, stable=True)[:80]
    leaking = torch.stack(torch.unravel_index(leaking, order.shape), dim=-1)
    active = volume.sites[torch.randperm(len(volume.sites), generator=generator)[:80]]
    return torch.cat([torch.randint(GRID, (40, 3), generator=generator), active, leaking])


def random_points(generator: torch.Generator, count: int, half: float) -> Tensor:
    return (2 * torch.rand(count, 3, generator=generator, dtype=torch.float64) - 1) * half


def edge_points(generator: torch.Generator) -> Tensor:
    """At, just inside and just beyond every face, half a voxel and more than one voxel beyond."""
    voxel = 2 / (GRID - 1)
    places = [s * x for s in (-1, 1) for x in (1, 0.9999, 1.0001, 1 + voxel / 2, 1 + 1.3 * voxel)]
    points = random_points(generator, 3 * len(places), 0.5)
    for i, point in enumerate(points):
        point[i // len(places)] = places[i % len(places)]
    return points


def field_stages(support: Support, weights: Weights, points: Tensor, *, batch: bool) -> Arrays:
    distance, gradient = sdf_and_gradient(support.volume, points, weights)
    arrays = {
        "sdf": distance,
        "sdf_grad": gradient,
        "mesh_field": field_on_lattice(
            support.volume, weights, resolution=LATTICE // 2 if batch else LATTICE
        ),
    }
    if not batch:
        arrays |= {
            "sdf_latent": latent(support.volume, points),
            "sdf_pts_mask": nearest_active(support.active, points),
        }
    return arrays


def edge_stages(support: Support, weights: Weights, points: Tensor) -> Arrays:
    return {
        "edge_pts": points,
        "edge_sdf": sdf_and_gradient(support.volume, points, weights)[0],
        "edge_latent": latent(support.volume, points),
        "edge_geo_feat": geometry_feature(support.volume, points),
        "edge_geo_inside": inside_cube(points),
        "edge_mask_nearest": nearest_active(support.active, points),
    }


def blend_stages(support: Support, scene: Scene, weights: Weights, points: Tensor, dirs: Tensor) -> Arrays:
    looked = look(support, points)
    arrays: Arrays = {"blend_geo_feat": looked.geometry, "blend_mask": looked.mask}
    for name, query in (("A", unit(scene.c2w[0, :3, 3] - points)), ("B", dirs)):
        blended = blend(looked, ray_difference(query, points, support.centres), weights)
        arrays |= {
            f"blend{name}_ray_diff": blended.ray_diff,
            f"blend{name}_weights": blended.weights,
            f"blend{name}_rgb": blended.rgb,
        }
    return arrays


def ray_stages(support: Support, scene: Scene, weights: Weights, pixels: Tensor) -> Arrays:
    origins, directions = rays_through(scene, 0, pixels)
    near, far = scene.near_far_train[0].tolist()
    z, added = sample(origins, directions, near, far, support, weights)
    marched = march(origins, directions, z, (far - near) / 64, scene.c2w[0, :3, 3], support, weights)
    arrays: Arrays = {
        "ray_o": origins,
        "ray_d": directions,
        "ray_z": z,
        "ray_new_z": added,
        "ray_pts_mask": marched.mask,
        "ray_sdf": marched.sdf,
        "ray_sample_rgb": marched.rgb,
        "ray_valid": marched.valid,
        "ray_grad_err": marched.eikonal.reshape(1),
    }
    for ratio in (0, 1):
        picture = composite(marched, directions, weights, anneal=float(ratio))
        arrays |= {
            f"ray{ratio}_alpha": picture.alpha,
            f"ray{ratio}_weights": picture.weights,
            f"ray{ratio}_color": picture.colour,
            f"ray{ratio}_depth": picture.depth,
            f"ray{ratio}_weights_sum": picture.weights_sum,
            f"ray{ratio}_depth_var": picture.depth_variance,
        }
    return arrays


def training_stages(pictures: Tensor, scene: Scene, checkpoint: Weights, rays: Batch) -> Arrays:
    weights, updates = trainable(checkpoint), {}
    support = build(pictures, scene, weights, grid=GRID, batch=True, updates=updates)
    rendered = render(rays, support, scene, weights)
    arrays: Arrays = {}
    norms = {
        "fpn_conv0_0": "pyramid_feature_network.conv0.0.bn",
        "compress": "sdf_network_lod0.compress_layer.bn",
        "conv0": "sdf_network_lod0.sparse_costreg_net.conv0.net.1",
    }
    for short, name in norms.items():
        for kind in ("running_mean", "running_var"):
            arrays[f"tr_{short}_{kind}"] = updates[f"{name}.{kind}"]
    for tag, iteration in (("tr60k", 60000), ("tr0", 0)):
        terms, picture = losses(rays, rendered, weights, iteration=iteration)
        found = gradients(terms["loss"], weights, keep=True)
        arrays |= {
            f"{tag}_loss_names": np.array(list(terms)),
            f"{tag}_loss_values": np.array([value.item() for value in terms.values()]),
            f"{tag}_color": picture.colour,
            f"{tag}_depth": picture.depth,
            f"{tag}_weights_sum": picture.weights_sum,
            f"{tag}_valid": rendered.marched.valid,
            f"{tag}_gradnorm_names": np.array(list(found)),
            f"{tag}_gradnorm_values": np.array([g.norm().item() for g in found.values()]),
        }
    return arrays


def as_stored(arrays: Arrays) -> dict[str, np.ndarray]:
    """Tensors as numpy: doubles in float32, truths as uint8."""
    stored = {}
    for name, value in arrays.items():
        if isinstance(value, Tensor):
            value = value.detach()
            value = value.float() if value.is_floating_point() else value
            value = (value.to(torch.uint8) if value.dtype == torch.bool else value).numpy()
        stored[name] = value
    return stored


def make() -> dict[str, np.ndarray]:
    arrays, distance = inputs()
    scene, pictures, weights = scene_of(arrays)
    draw = torch.Generator().manual_seed(SEED)
    vox_ijk = listed_voxels(scene, draw)
    sdf_pts, blend_pts = random_points(draw, 200, 0.9), random_points(draw, 80, 0.4)
    blend_pts[60:] = random_points(draw, 20, 1.1)
    blend_dirs = torch.nn.functional.normalize(random_points(draw, 80, 1.0), dim=-1)
    pixels = torch.randint(8, 56, (12, 2), generator=draw)
    pixels[:2] = torch.tensor([[0, 0], [63, 40]])
    arrays |= cameras(scene) | {"vox_ijk": vox_ijk, "sdf_pts": sdf_pts, "blend_pts": blend_pts}
    arrays |= {"blend_dirs": blend_dirs, "ray_pixel_xy": pixels}
    # What is stored is what is evaluated.
    sdf_pts, blend_pts, blend_dirs = (x.float().double() for x in (sdf_pts, blend_pts, blend_dirs))
    edges = edge_points(draw).float().double()
    with torch.no_grad():
        running, support = volume_stages(scene, pictures, weights, vox_ijk, batch=False)
        batch, support_bt = volume_stages(scene, pictures, weights, vox_ijk, batch=True)
        running |= field_stages(support, weights, sdf_pts, batch=False)
        batch |= field_stages(support_bt, weights, sdf_pts, batch=True)
        arrays |= running | {f"bt_{name}": value for name, value in batch.items()}
        arrays |= edge_stages(support, weights, edges)
        arrays |= blend_stages(support, scene, weights, blend_pts, blend_dirs)
        arrays |= ray_stages(support, scene, weights, pixels)

    u, v = torch.randint(SIZE, (2, 32), generator=draw)
    origins, directions = rays_through(scene, 0, torch.stack([u, v], dim=-1))
    rays = {
        "tr_rays_o": origins,
        "tr_rays_v": directions,
        "tr_rays_color": pictures[0, :, v, u].T,
        "tr_rays_mask": (distance[v, u] > 0).double(),
        "tr_rays_depth": distance[v, u] / scene.radius,
        "tr_pts_random": random_points(draw, 64, 1.0),
    }
    rays = {name: value.float().double() for name, value in rays.items()}
    arrays |= rays | training_stages(pictures, scene, weights, Batch(*rays.values()))
    return as_stored(arrays)


if __name__ == "__main__":
    np.savez_compressed(FILE, allow_pickle=False, **make())
    print(f"{FILE.name}: {FILE.stat().st_size / 1000:.0f} kB")
