"""The double-precision reference of the published network against what the published code gave, stage by stage.

The fixture (sparseneus/README.md beside it describes every array) is not part of this repository.
"""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from tests.models.sparseneus_reference.blending import (
    Support,
    blend,
    look,
    ray_difference,
    unit,
    vertex_colours,
)
from tests.models.sparseneus_reference.features import compress, pyramid
from tests.models.sparseneus_reference.field import (
    field_on_lattice,
    geometry_feature,
    inside_cube,
    latent,
    mlp,
    nearest_active,
    sdf,
    sdf_and_gradient,
)
from tests.models.sparseneus_reference.rays import composite, inverse_sd, march, rays_through, sample
from tests.models.sparseneus_reference.scene import Scene, normalise_scene
from tests.models.sparseneus_reference.sparse import dense, find, sparse_network
from tests.models.sparseneus_reference.training import (
    Batch,
    build,
    gradients,
    losses,
    render,
    schedules,
    trainable,
)
from tests.models.sparseneus_reference.volume import CostVolume, cost_volume, voxel_size
from tests.models.sparseneus_reference.weights import NETWORKS, Weights, double
from torch import Tensor

SHARED = Path(os.environ.get("ONE2345_SHARED", Path(__file__).parents[3] / "shared"))
FOLDER = SHARED / "fixtures" / "sparseneus"
GRID, SIZE = 96, 256

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no fixture at {FOLDER}; ONE2345_SHARED names its root"),
]


class Case:
    """Arrays of one case as float64 tensors (integers as int64), and the reference's stages, each run once."""

    def __init__(self, name: str) -> None:
        self.arrays = np.load(FOLDER / f"{name}.npz", allow_pickle=False)
        self.weights: Weights = double(torch.load(FOLDER / "weights.pth", weights_only=True))
        self.coarse = 2 if name == "case32" else 1  # case32 lists every second of what case8 lists
        self.stages: dict[Any, Any] = {}

    def __getitem__(self, key: str) -> Tensor:
        array = torch.from_numpy(self.arrays[key])
        return array.double() if array.is_floating_point() else array.long()

    @property
    def scene(self) -> Scene:
        return normalise_scene(self["raw_c2w"], self["raw_K"], self["raw_near_far"], size=SIZE)

    @property
    def pictures(self) -> Tensor:
        return self["images_u8"].double() / 255

    def stage(self, *, batch: bool) -> SimpleNamespace:
        """Features, volume and 3D network; with `batch` all of them on batch statistics, over the sources."""
        if batch not in self.stages:
            with torch.no_grad():
                maps = pyramid(self.pictures[1 if batch else 0 :], self.weights, batch=batch)
                comp = compress(maps.fused if batch else maps.fused[1:], self.weights, batch=batch)
                # The rounded matrices of the fixture: next to a camera's plane their last digit moves a pixel.
                volume = cost_volume(comp, self["affine_mats"][1:], grid=GRID)
                blocks = sparse_network(volume.cost, volume.sites, self.weights, batch=batch)
            self.stages[batch] = SimpleNamespace(maps=maps, comp=comp, volume=volume, blocks=blocks)
        return self.stages[batch]

    def support(self, *, batch: bool) -> Support:
        """The sources and the volume, as colours and rays read them."""
        stage, c2w = self.stage(batch=batch), self.scene.c2w
        fused = stage.maps.fused if batch else stage.maps.fused[1:]
        cube = dense(stage.blocks["output"].values, stage.volume.sites, grid=GRID)
        affine = self["affine_mats"][1:]
        return Support(self.pictures[1:], fused, affine, c2w[1:, :3, 3], cube, stage.volume.active)

    def at_voxels(self, values: Tensor, volume: CostVolume) -> Tensor:
        """Values (n, c) of the active voxels, at the listed ones."""
        i, j, k = self["vox_ijk"].unbind(dim=-1)
        return dense(values, volume.sites, grid=GRID)[i, j, k]


# case32 runs where ONE2345_CASE32 is set. It misses some tolerances yet: one voxel of 884,736 is counted otherwise
# (rounding at a frame's border), a listed voxel differs by 2.05e-3, and what follows from the volume was not traced.
CASES = ["case8", *(["case32"] if os.environ.get("ONE2345_CASE32") else [])]


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def close(
    ours: Tensor, theirs: Tensor, *, largest: float, mean: float | None = None, axis: int | None = None
):
    """Differences over the rms of theirs (per channel of `axis`): at most `largest`, on average `mean`."""
    assert ours.shape == theirs.shape
    other = [d for d in range(theirs.dim()) if d != axis] if axis is not None else None
    rms = theirs.square().mean(dim=other, keepdim=True).sqrt()
    ratio = (ours - theirs).abs() / rms.clamp(min=1e-9)
    assert ratio.max() <= largest
    assert ratio.mean() <= (largest / 10 if mean is None else mean)


def test_cameras(case: Case) -> None:
    scene = case.scene
    pairs = {
        "c2ws": scene.c2w,
        "w2cs": scene.w2c,
        "near_fars_train": scene.near_far_train,
        "near_fars_eval": scene.near_far_eval,
        "trans_mat": scene.reference,
        "scale_factor": (1 / scene.radius).reshape(1),
    }
    for name, ours in pairs.items():
        assert (ours - case[name]).abs().max() <= 2e-6, name
    assert (scene.affine - case["affine_mats"]).abs().max() <= 5e-5
    scale = case["scale_mat"]
    assert (scale[:3, 3] - scene.centre).abs().max() <= 2e-6 and (scale[0, 0] - scene.radius).abs() <= 2e-6
    assert voxel_size(GRID) == case["voxel_size"].item()
    if "mesh_verts_cube" in case.arrays:
        assert (scene.to_world(case["mesh_verts_cube"]) - case["mesh_verts_world"]).abs().max() <= 2e-6


def test_features(case: Case) -> None:
    maps, step = case.stage(batch=False).maps, 16 * case.coarse
    close(maps.fused[:, :, step // 2 :: step, step // 2 :: step], case["feat_sub"], largest=1e-3, axis=1)
    close(maps.fused.mean(dim=(2, 3)), case["feat_mean"], largest=1e-3)
    close(maps.fused.std(dim=(2, 3)), case["feat_std"], largest=1e-3)
    if case.coarse == 1:
        close(maps.coarse[1, :, 1::4, 1::4], case["pyr2_v1"], largest=1e-3, axis=0)
        close(maps.middle[1, :, 1::4, 1::4], case["pyr1_v1"], largest=1e-3, axis=0)
        close(maps.fine[1, :, 1::4, 1::4], case["pyr0_v1"], largest=1e-3, axis=0)


def test_compressed(case: Case) -> None:
    comp, step = case.stage(batch=False).comp, 8 * case.coarse
    close(comp[:, :, step // 2 :: step, step // 2 :: step], case["comp_sub"], largest=1e-3, axis=1)
    close(comp.mean(dim=(2, 3)), case["comp_mean"], largest=1e-3)
    close(comp.std(dim=(2, 3)), case["comp_std"], largest=1e-3)


def test_cost_volume(case: Case) -> None:
    volume = case.stage(batch=False).volume
    assert (volume.count != case["view_count"]).sum() <= 20
    packed = np.unpackbits(case.arrays["active_packed"]).reshape(GRID, GRID, GRID)
    assert (volume.active != torch.from_numpy(packed).bool()).sum() <= 20
    i, j, k = case["vox_ijk"].unbind(dim=-1)
    leaks, behind = volume.leaks[i, j, k], volume.leaks_behind[i, j, k]
    same = leaks == case["vox_leak"]
    assert same.float().mean() > 0.999
    assert (behind == case["vox_leak_behind"]).float().mean() > 0.999
    totals = [
        len(volume.sites),
        volume.count[volume.active].sum(),
        volume.leaks.sum(),
        volume.leaks_behind.sum(),
    ]
    voxels = [(volume.leaks > 0).sum(), (volume.leaks_behind > 0).sum()]
    ours = torch.tensor([float(n) for n in totals + voxels], dtype=torch.float64)
    assert (ours - case["leak_stats"]).abs().max() <= 20
    cost = case.at_voxels(volume.cost, volume)
    close(cost[same], case["cost_feat"][same], largest=2e-3, mean=1e-4, axis=1)
    close(volume.cost.mean(dim=0), case["cost_mean"], largest=1e-3)
    close(volume.cost.std(dim=0), case["cost_std"], largest=1e-3)


def test_3d_network(case: Case) -> None:
    stage = case.stage(batch=False)
    for name in ("conv0", "conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "conv7", "conv9", "conv11"):
        block = stage.blocks[name]
        ijk = block.sites.ijk
        box = [len(ijk), *ijk.amin(dim=0).tolist(), *ijk.amax(dim=0).tolist(), block.sites.stride]
        assert box == case[f"blk_{name}_sites"].tolist(), name
        place, there = find(block.sites, case[f"blk_{name}_ijk"])
        assert there.all(), name
        close(block.values[place], case[f"blk_{name}_val"], largest=1e-3, axis=1)
        close(block.values.mean(dim=0), case[f"blk_{name}_mean"], largest=1e-3)
        close(block.values.std(dim=0), case[f"blk_{name}_std"], largest=1e-3)
        if f"blk_{name}_packed" in case.arrays:
            packed = np.unpackbits(case.arrays[f"blk_{name}_packed"])[: 50**3].reshape(50, 50, 50)
            assert torch.equal(torch.from_numpy(packed).bool().nonzero(), ijk // block.sites.stride), name
    values = stage.blocks["output"].values
    close(case.at_voxels(values, stage.volume), case["vol_feat"], largest=1e-3, axis=1)
    close(values.mean(dim=0), case["vol_mean"], largest=1e-3)
    close(values.std(dim=0), case["vol_std"], largest=1e-3)
    close(values.amax(dim=0), case["vol_max"], largest=1e-3)


def test_3d_network_on_batch_statistics(case: Case) -> None:
    """Of the volume built on running statistics."""
    volume = case.stage(batch=False).volume
    with torch.no_grad():
        values = sparse_network(volume.cost, volume.sites, case.weights, batch=True)["output"].values
    close(case.at_voxels(values, volume), case["bn3d_vol_feat"], largest=1e-2, mean=1e-3, axis=1)
    close(values.mean(dim=0), case["bn3d_vol_mean"], largest=1e-2)
    close(values.std(dim=0), case["bn3d_vol_std"], largest=1e-2)


def test_everything_on_batch_statistics(case: Case) -> None:
    """As the published export runs: statistics over the sources, then over the sites."""
    stage, step = case.stage(batch=True), 16 * case.coarse
    fused, comp = stage.maps.fused, stage.comp
    close(fused[:, :, step // 2 :: step, step // 2 :: step], case["bt_feat_sub"], largest=1e-3, axis=1)
    close(fused.mean(dim=(2, 3)), case["bt_feat_mean"], largest=1e-3)
    close(fused.std(dim=(2, 3)), case["bt_feat_std"], largest=1e-3)
    step //= 2
    close(comp[:, :, step // 2 :: step, step // 2 :: step], case["bt_comp_sub"], largest=1e-3, axis=1)
    cost = case.at_voxels(stage.volume.cost, stage.volume)
    same = stage.volume.leaks[tuple(case["vox_ijk"].T)] == case["vox_leak"]
    close(cost[same], case["bt_cost_feat"][same], largest=1e-2, mean=1e-3, axis=1)
    values = case.at_voxels(stage.blocks["output"].values, stage.volume)
    close(values, case["bt_vol_feat"], largest=1e-2, mean=1e-3, axis=1)


def test_field(case: Case) -> None:
    """At points that keep off the voxel planes, where the gradient jumps."""
    volume = case.support(batch=False).volume
    points = case["sdf_pts"]
    with torch.no_grad():
        close(latent(volume, points), case["sdf_latent"], largest=1e-3, axis=1)
        out = mlp(points[:500], latent(volume, points[:500]), case.weights)
        alone = mlp(case["mlp_pts"], case["mlp_latent"], case.weights)
    distance, gradient = sdf_and_gradient(volume, points, case.weights)
    assert (distance - case["sdf"]).abs().max() <= 2e-5
    close(gradient, case["sdf_grad"], largest=1e-3)
    close(out[:, 1:], case["sdf_feat_500"], largest=1e-3)
    assert (alone - case["mlp_out"]).abs().max() <= 2e-5
    assert (inverse_sd(case.weights) - case["inv_s"]).abs().max() <= 1e-4


def test_edges_of_the_cube(case: Case) -> None:
    support, points = case.support(batch=False), case["edge_pts"]
    close(latent(support.volume, points), case["edge_latent"], largest=1e-3)
    close(geometry_feature(support.volume, points), case["edge_geo_feat"], largest=1e-3)
    assert (sdf(support.volume, points, case.weights) - case["edge_sdf"]).abs().max() <= 2e-5
    assert torch.equal(nearest_active(support.active, points).long(), case["edge_mask_nearest"])
    assert torch.equal(inside_cube(points).long(), case["edge_geo_inside"])
    assert torch.equal(nearest_active(support.active, case["sdf_pts"]).long(), case["sdf_pts_mask"])


def test_field_on_batch_statistics(case: Case) -> None:
    volume = case.support(batch=True).volume
    distance, gradient = sdf_and_gradient(volume, case["sdf_pts"], case.weights)
    assert (distance - case["bt_sdf"]).abs().max() <= 2e-5
    close(gradient, case["bt_sdf_grad"], largest=1e-2)


def test_blending(case: Case) -> None:
    support, points = case.support(batch=False), case["blend_pts"]
    looked = look(support, points)
    close(looked.geometry, case["blend_geo_feat"], largest=1e-3)
    close(looked.features[..., :3], case["blend_view_rgb"], largest=1e-3)
    first = case["blend_rgb_feat"]
    close(looked.features[:, : first.shape[1]], first, largest=1e-3)
    assert torch.equal(looked.mask.long(), case["blend_mask"])
    queries = {"A": unit(case.scene.c2w[0, :3, 3] - points), "B": case["blend_dirs"]}
    for name, query in queries.items():
        difference = ray_difference(query, points, support.centres)
        # A source at the query camera itself (case32): the direction of q - s is that of rounding.
        apart = difference[..., 3] < 1 - 1e-9
        close(difference[apart], case[f"blend{name}_ray_diff"][apart], largest=1e-3)
        blended = blend(looked, difference, case.weights)
        assert (blended.weights - case[f"blend{name}_weights"]).abs().max() <= 1e-3
        assert (blended.rgb - case[f"blend{name}_rgb"]).abs().max() <= 1e-3


def test_samples_along_rays(case: Case) -> None:
    support, scene = case.support(batch=False), case.scene
    origins, directions = rays_through(scene, 0, case["ray_pixel_xy"])
    assert (origins - case["ray_o"]).abs().max() <= 2e-6
    assert (directions - case["ray_d"]).abs().max() <= 2e-6
    for bounds, name in (("ray_near_far", "ray_z"), ("raye_near_far", "raye_z")):
        near, far = case[bounds].tolist()
        z, added = sample(origins, directions, near, far, support, case.weights)
        assert (z - case[name]).abs().quantile(0.99) <= 1e-4
        if name == "ray_z":
            assert (added - case["ray_new_z"]).abs().quantile(0.99) <= 2e-4


def test_rendering(case: Case) -> None:
    """From the fixture's own samples."""
    support, scene = case.support(batch=False), case.scene
    origins, directions = case["ray_o"], case["ray_d"]
    for z, bounds, tags in (
        ("ray_z", "ray_near_far", {"ray1": 1.0, "ray0": 0.0}),
        ("raye_z", "raye_near_far", {"raye": 1.0}),
    ):
        near, far = case[bounds].tolist()
        with torch.no_grad():
            marched = march(
                origins, directions, case[z], (far - near) / 64, scene.c2w[0, :3, 3], support, case.weights
            )
            pictures = {
                tag: composite(marched, directions, case.weights, anneal=r) for tag, r in tags.items()
            }
        assert torch.equal(marched.mask.long(), case[z.replace("_z", "_pts_mask")])
        for tag, picture in pictures.items():
            got = {
                "alpha": picture.alpha,
                "weights": picture.weights,
                "color": picture.colour,
                "depth": picture.depth[:, None],
                "weights_sum": picture.weights_sum[:, None],
                "depth_var": picture.depth_variance[:, None],
            }
            for name, ours in got.items():
                if f"{tag}_{name}" in case.arrays:
                    difference = (ours - case[f"{tag}_{name}"]).abs()
                    assert difference.max() <= 1e-2 and difference.mean() <= 1e-3, (tag, name)
                    if name in ("alpha", "weights"):
                        assert difference.quantile(0.99) <= 1e-3, (tag, name)
        if z == "ray_z":
            assert (marched.mid_z - case["ray_mid_z"]).abs().max() <= 2e-6
            assert (marched.rgb - case["ray_sample_rgb"]).abs().max() <= 1e-3
            assert (marched.sdf - case["ray_sdf"]).abs()[marched.mask].max() <= 2e-5
            close(
                marched.gradient, case["ray_grad"], largest=1e-1, mean=1e-3
            )  # samples may lie on voxel planes
            assert torch.equal(marched.valid.long(), case["ray_valid"][:, 0])
            close(marched.eikonal.reshape(1), case["ray_grad_err"], largest=1e-3)


@pytest.mark.parametrize("batch", [False, True], ids=["running", "batch"])
def test_mesh(case: Case, batch: bool) -> None:
    """The field's sign and the colours of some of the fixture's vertices."""
    support, prefix = case.support(batch=batch), "bt_" if batch else ""
    field = field_on_lattice(support.volume, case.weights, resolution=128)
    close(field[4::8, 4::8, 4::8], case[f"{prefix}mesh_field_sub"], largest=1e-3)
    sign = np.unpackbits(case.arrays[f"{prefix}mesh_field_sign_packed"]).reshape(128, 128, 128)
    assert ((field > 0) != torch.from_numpy(sign).bool()).sum() < 20
    vertices = case[f"{prefix}mesh_verts_cube"][::50]
    assert (sdf(support.volume, vertices, case.weights)).abs().max() < 0.05
    rgb, views = vertex_colours(support, vertices, case.weights)
    assert (rgb - case[f"{prefix}mesh_color"][::50]).abs().mean() <= 1e-3
    assert torch.equal(views, case[f"{prefix}mesh_nviews"][::50])


# The losses by iteration, on batch statistics but for the last: (tag, iteration, batch).
STEPS = [("tr60k", 60000, True), ("tr0", 0, True), ("ev60k", 60000, False)]


def available() -> float:
    """Bytes that can be had, those of this process's own heap included."""
    own = psutil.Process().memory_info().rss
    return psutil.virtual_memory().available + own


@pytest.mark.parametrize(("tag", "iteration", "batch"), STEPS, ids=[s[0] for s in STEPS])
def test_training(case: Case, tag: str, iteration: int, batch: bool) -> None:
    """Losses, the picture, and gradient norms before clipping."""
    if "tr_rays_o" not in case.arrays:
        pytest.skip("the fixture has a training step for case8 only")
    if available() < 14e9:
        pytest.skip(f"takes 13 GB, {available() / 1e9:.0f} GB of memory are available")
    rays = Batch(
        origins=case["tr_rays_o"],
        directions=case["tr_rays_v"],
        colour=case["tr_rays_color"],
        mask=case["tr_rays_mask"][:, 0],
        depth=case["tr_rays_depth"][:, 0],
        random_points=case["tr_pts_random"],
    )
    scene = replace(case.scene, affine=case["affine_mats"])
    weights = trainable(case.weights)
    support = build(case.pictures, scene, weights, grid=GRID, batch=batch)
    rendered = render(rays, support, scene, weights)
    terms, picture = losses(rays, rendered, weights, iteration=iteration)
    published = dict(zip(case.arrays[f"{tag}_loss_names"].tolist(), case[f"{tag}_loss_values"].tolist()))
    for name, value in terms.items():
        # Samples sit where rounding puts them, so what hangs on single ones is looser than the 1e-4 of the sum.
        assert value.item() == pytest.approx(published[name], rel=1e-4 if name == "loss" else 5e-4), (
            tag,
            name,
        )
    assert schedules(iteration)[1:] == (published["sparse_weight"], published["fg_bg_weight"])
    assert (picture.colour - case[f"{tag}_color"]).abs().max() <= 1e-2
    assert (picture.depth - case[f"{tag}_depth"][:, 0]).abs().max() <= 1e-2
    assert (picture.weights_sum - case[f"{tag}_weights_sum"][:, 0]).abs().max() <= 1e-2
    assert (rendered.random_sdf - case[f"{tag}_sdf_random"]).abs().max() <= 2e-5
    assert torch.equal(rendered.marched.valid.long(), case[f"{tag}_valid"][:, 0])

    found = gradients(terms["loss"], weights)
    for name, norm in zip(
        case.arrays[f"{tag}_gradnorm_names"].tolist(), case[f"{tag}_gradnorm_values"].tolist()
    ):
        # A constant added to all logits of a softmax: no gradient but rounding.
        expected = 0.0 if name.endswith("rgb_fc.4.bias") else norm
        assert found[name].norm().item() == pytest.approx(expected, rel=2e-2, abs=1e-8), (tag, name)
    for net in NETWORKS:
        total = torch.stack([g.norm() for n, g in found.items() if n.startswith(net)]).norm().item()
        assert total == pytest.approx(case[f"{tag}_gradnorm_{net}"].item(), rel=1e-3), (tag, net)
    whole = {
        "fpn_conv0_0_bn_weight": found["pyramid_feature_network.conv0.0.bn.weight"],
        "compress_bn_weight": found["sdf_network_lod0.compress_layer.bn.weight"],
        "conv5_kernel_13": found["sdf_network_lod0.sparse_costreg_net.conv5.net.0.kernel"][13],
        "lin1_weight_g": found["sdf_network_lod0.sdf_layer.lin1.weight_g"],
        "rgb_fc_0_weight": found["rendering_network_lod0.rgb_fc.0.weight"],
    }
    for name, ours in whole.items():
        theirs = case[f"{tag}_grad_{name}"]
        assert torch.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.999, (tag, name)
