"""The network with released weights against what the published code gave, stage by stage.

The fixture (sparseneus/README.md beside it describes every array and gives the tolerances) is not part of this
repository. Differences are in units of the reference's root mean square where not said otherwise.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import igl
import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from tests.models.plain_blending import evidence
from tests.models.published_step import EVERY_SAMPLE, LOSS, check_gradients, step_terms, table
from torch import Tensor
from torch.nn import functional as F

from one2345.geometry import Cameras, Rays, project
from one2345.meshing import Extractor
from one2345.models import SparseNeus
from one2345.models.import_published import import_published
from one2345.models.sparseneus.field import CubeField
from one2345.models.sparseneus.lifting import lift, view_positions
from one2345.models.sparseneus.view_cube import view_cube
from one2345.rendering import PlacedField, hierarchical, render_rays, stratified
from one2345.rendering.field import OUTSIDE

SHARED = Path(os.environ.get("ONE2345_SHARED", Path(__file__).parents[3] / "shared"))
FOLDER = SHARED / "fixtures" / "sparseneus"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no fixture at {FOLDER}; ONE2345_SHARED names its root"),
]


@dataclass
class Case:
    """One case of the fixture, and the field that the network makes of its sources."""

    name: str
    norm: str

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(np.asarray(self.arrays[key]))

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(FOLDER / f"{self.name}.npz", allow_pickle=False) as file:
            return {key: file[key] for key in file.files}

    @cached_property
    def model(self) -> SparseNeus:
        model = import_published(FOLDER / "weights.pth")[0]
        for part in model.modules():
            if hasattr(part, "statistics"):
                part.statistics = self.norm
        return model

    @cached_property
    def images(self) -> Tensor:
        return self["images_u8"].float() / 255

    @cached_property
    def cameras(self) -> Cameras:
        """In the cube, (v + 1), the reference first; as the published code passes them on."""
        return Cameras(K=self["intrinsics"], c2w=self["c2ws"], size=(256, 256))

    @cached_property
    def raw(self) -> Cameras:
        c2w = self["raw_c2w"]
        return Cameras(K=self["raw_K"].double().expand(len(c2w), 3, 3), c2w=c2w, size=(256, 256))

    @cached_property
    def field(self) -> CubeField:
        with torch.no_grad():
            cameras = Cameras.stack([self.cameras[1:]])
            return self.model.in_cube(self.images[None, 1:], cameras)

    @property
    def prefix(self) -> str:
        """Of the arrays that belong to these statistics."""
        return "bt_" if self.norm == "batch" else ""

    @cached_property
    def fused(self) -> Tensor:
        return self.field.colour_maps[0][:, 3:]


@pytest.fixture(scope="module", params=["case8-running", "case8-batch", "case32-running", "case32-batch"])
def case(request: pytest.FixtureRequest) -> Case:
    return Case(*request.param.split("-"))


@pytest.fixture(scope="module")
def running(case: Case) -> Case:
    if case.norm != "running":
        pytest.skip("the published numbers of this stage are those with running statistics")
    return case


def scaled(got: Tensor, want: Tensor) -> Tensor:
    want = want.double()
    return (got.detach().double() - want).abs() / want.square().mean().sqrt()


def near(got: Tensor, want: Tensor, most: float, mean: float | None = None) -> None:
    difference = scaled(got, want)
    assert difference.max() < most
    assert mean is None or difference.mean() < mean


def test_the_cube_is_the_published_one(running: Case) -> None:
    raw = Cameras.stack([running.raw])
    frame = view_cube(raw[:, 1:], raw[:, :1], near=0.5, far=1.8)
    assert abs(float(frame.scale) - 1 / float(running["scale_factor"])) < 2e-6
    local = frame.cameras_to_local(raw)
    assert (local.c2w[0] - running["c2ws"]).abs().max() < 2e-6
    vertices = running["mesh_verts_cube"].double()
    world = frame.points_to_world(vertices[None])[0]
    assert (world - running["mesh_verts_world"]).abs().max() < 2e-6


def test_features(case: Case) -> None:
    start, step = (8, 16) if case.name == "case8" else (16, 32)
    want = case[f"{case.prefix}feat_sub"]
    near(case.fused[:, :, start::step, start::step], want[-len(case.fused) :], 1e-3, 1e-4)
    means = case[f"{case.prefix}feat_mean"][-len(case.fused) :]
    near(case.fused.mean((2, 3)), means, 1e-3, 1e-4)
    with torch.no_grad():
        compressed = case.model.compress(case.fused)
    start, step = (4, 8) if case.name == "case8" else (8, 16)
    near(compressed[:, :, start::step, start::step], case[f"{case.prefix}comp_sub"], 1e-3, 1e-4)


def test_cost_volume(case: Case) -> None:
    model, cameras = case.model, case.cameras[1:]
    with torch.no_grad():
        volume, count = lift(model.compress(case.fused), model.voxels(), cameras, model.quirks)
    assert int((count.reshape(96, 96, 96) != case["view_count"]).sum()) <= 20
    i, j, k = case["vox_ijk"].long().unbind(-1)
    index = (i * 96 + j) * 96 + k
    # Where rounding decides whether a view leaks, or a point beside a camera's plane is thrown far, there is nothing
    # to compare.
    same = count[index] == case["vox_count"]
    points = model.voxels()[index]
    reach = view_positions(points, cameras, model.quirks)[0].abs().amax(-1)
    depth = project(points.expand(len(cameras), -1, -1), cameras)[1].abs()
    unsure = ((reach - 1 - 2 / 255).abs() < 2e-5) | ((reach - 1).abs() < 2e-5)
    unsure |= (depth < 0.1) & (reach < 1 + 2 / 255)
    same &= ~unsure.any(0)
    assert same.float().mean() > 0.9
    near(
        volume[:, index].T[same],
        case[f"{case.prefix}cost_feat"][same],
        1e-3 if case.norm == "running" else 5e-3,
    )


def test_shape_features(case: Case) -> None:
    i, j, k = case["vox_ijk"].long().unbind(-1)
    got, want = case.field.volume.values[0, i, j, k], case[f"{case.prefix}vol_feat"]
    near(got, want, *((1e-2, 1e-3) if case.norm == "batch" else (1e-3, 1e-4)))


def test_blocks_of_the_3d_network(running: Case) -> None:
    net, model, cameras = running.model.volume_net, running.model, running.cameras[1:]
    names = {"up3": "conv7", "up2": "conv9", "up1": "conv11"}
    seen: dict[str, Tensor] = {}

    def keep(name: str):
        return lambda _, __, values: seen.update({name: values[0]})

    hooks = [unit.register_forward_hook(keep(names.get(name, name))) for name, unit in net.named_children()]
    with torch.no_grad():
        volume, count = lift(model.compress(running.fused), model.voxels(), cameras, model.quirks)
        active = (count > 1).reshape(96, 96, 96)
        net(volume.unflatten(1, (96, 96, 96)), active)
    for hook in hooks:
        hook.remove()
    strides = {"conv1": 1, "conv2": 1, "conv3": 2, "conv4": 2, "conv5": 3, "conv6": 3, "conv7": 2, "conv9": 1}
    levels = net.levels(active)
    for name in (*[f"conv{n}" for n in range(8)], "conv9", "conv11"):
        level, sites = strides.get(name, 0), running[f"blk_{name}_sites"].tolist()
        count, stride = sites[0], sites[7]
        assert abs(int(levels[level].mask.sum()) - count) <= 20 and stride == 2**level
        i, j, k = (running[f"blk_{name}_ijk"].long() // stride).unbind(-1)
        near(seen[name][:, i, j, k].T, running[f"blk_{name}_val"], 1e-3)


def test_batch_statistics_of_the_3d_network_alone(running: Case) -> None:
    model = import_published(FOLDER / "weights.pth")[0]
    with torch.no_grad():
        volume, count = lift(
            running.model.compress(running.fused), model.voxels(), running.cameras[1:], model.quirks
        )
        model.volume_net.train()
        features = model.volume_net(volume.unflatten(1, (96, 96, 96)), (count > 1).reshape(96, 96, 96))
    i, j, k = running["vox_ijk"].long().unbind(-1)
    near(features[:, i, j, k].T, running["bn3d_vol_feat"], 1e-2, 1e-3)
    # (The fixture's running statistics after that pass are the checkpoint's, unchanged: nothing to compare.)


def test_distances_and_gradients(case: Case) -> None:
    points = case["sdf_pts"][None]
    with torch.no_grad():
        value, gradient = case.field.sdf_and_gradient(points)
    want = case[f"{case.prefix}sdf"]
    assert (value[0] - want).abs().max() < 2e-5
    near(gradient[0], case[f"{case.prefix}sdf_grad"], 1e-3)
    if case.norm == "running":
        near(case.field.volume.lookup(points)[0], case["sdf_latent"], 1e-3)
        near(case.model.sdf_net.features(points[:, :500], case.field.volume)[0], case["sdf_feat_500"], 1e-3)
        assert torch.equal(case.field.inside(points)[0], case["sdf_pts_mask"].bool())


def test_at_and_beyond_the_faces_of_the_cube(running: Case) -> None:
    points = running["edge_pts"][None]
    with torch.no_grad():
        assert (running.field.sdf(points)[0] - running["edge_sdf"]).abs().max() < 2e-5
        near(running.field.volume.lookup(points)[0], running["edge_latent"], 1e-3)
    assert torch.equal(running.field.inside(points)[0], running["edge_mask_nearest"].bool())


def test_the_mlp_alone(running: Case) -> None:
    """Arbitrary latents: a volume of one cell cannot hold them, so the layers are called as the network does."""
    net = running.model.sdf_net
    with torch.no_grad():
        latent = running["mlp_latent"]
        h = F.softplus(net.layer0(net._head(running.field.volume).encode(running["mlp_pts"])), beta=100)
        h = F.softplus(net.layer1(torch.cat([h, latent], -1)), beta=100)
        got = net.layer2(torch.cat([h, latent], -1))
    assert (got - running["mlp_out"]).abs().max() < 2e-5


@pytest.mark.parametrize("query", ["A", "B"])
def test_blending(running: Case, query: str) -> None:
    points = running["blend_pts"].float()
    towards = F.normalize(running.cameras.centres[0] - points, dim=-1)
    directions = towards if query == "A" else running["blend_dirs"].float()
    with torch.no_grad():
        geometry = running.field.volume.lookup(points[None])
        sights = running.field.sights(points[None], directions[None])
        sampled, relative, visible = evidence(sights, running.field.colour_maps, running.field.sampling)
        colour = running.field.colour(points[None], directions[None])[0][0]
    assert torch.equal(visible[0], running["blend_mask"].bool())
    inside = points.abs().amax(-1) < 1  # beyond, no view counts and the feature is not looked at
    near(geometry[0][inside], running["blend_geo_feat"][inside], 1e-3)
    near(sampled[0][..., :3], running["blend_view_rgb"], 1e-3)
    want = running["blend_rgb_feat"]
    near(sampled[0][:, : want.shape[1]], want, 1e-3)
    given = running[f"blend{query}_ray_diff"]
    # Seen from a source's own place, the direction of q - s is that of rounding (sources 0 and 16 of the second case).
    apart = torch.linalg.vector_norm(directions[None] - towards_views(running, points), dim=-1) > 1e-3
    assert apart.float().mean() > 0.9
    near(relative[0][apart], given[apart], 1e-3)
    # That rounding, which the loop has another one of than plain operations, is worth up to 0.008 of a colour.
    away, clear = (colour - running[f"blend{query}_rgb"]).abs(), (apart | ~visible[0]).all(0)
    assert bool((away[clear] < 1e-3).all()) and away.max() < 1e-2
    with torch.no_grad():
        weights = running.model.blend_net.weights(geometry, sampled, given[None], visible)[0]
    assert (weights - running[f"blend{query}_weights"]).abs().max() < 1e-3


def towards_views(case: Case, points: Tensor) -> Tensor:
    """Unit vectors (v, p, 3) from points to the sources."""
    return F.normalize(case.cameras.centres[1:, None] - points, dim=-1)


@pytest.mark.parametrize(
    ("prefix", "planes", "anneal"), [("ray1", "ray", 1.0), ("ray0", "ray", 0.0), ("raye", "raye", 1.0)]
)
def test_rays(
    running: Case, prefix: str, planes: str, anneal: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = dataclasses.replace(running.field, training=planes == "ray")
    origins, directions = running["ray_o"][None], running["ray_d"][None]
    low, high, _ = field.ray_interval(Rays(origins=origins, directions=directions))
    limits = running[f"{planes}_near_far"]
    assert (low - limits[0]).abs().max() < 2e-6 and (high - limits[1]).abs().max() < 2e-6

    def render():
        with torch.no_grad():
            inv_s = running.model.variance()
            return render_rays(
                field, origins, directions, low, high, inv_s=inv_s, settings=EVERY_SAMPLE, anneal=anneal
            )

    def compare(found, most: float, mean: float) -> None:
        for got, name in (
            (found.rgb[0], "color"),
            (found.t[0, :, None], "depth"),
            (found.weights_sum[0, :, None], "weights_sum"),
        ):
            difference = (got - running[f"{prefix}_{name}"]).abs()
            assert difference.max() < most and difference.mean() < mean

    own = render()
    # Samples are ill-conditioned where the field is flat: a few rays may differ, hardly their sums.
    z = running["raye_z" if planes == "raye" else "ray_z"].float()
    found = hierarchical(
        lambda t: field.sdf(
            (origins[..., None, :] + t[..., None] * directions[..., None, :]).flatten(1, 2)
        ).reshape(t.shape),
        stratified(low, high, 64),
        fine=64,
        inv_s=EVERY_SAMPLE.sharpness,
        inside=lambda t: field.inside(
            (origins[..., None, :] + t[..., None] * directions[..., None, :]).flatten(1, 2)
        ).reshape(t.shape),
        free_coarse=True,
    )[0]
    assert (found - z).abs().flatten().quantile(0.99) < 1e-4
    assert (own.weights[0] - running[f"{prefix}_weights"]).abs().flatten().quantile(0.99) < 1e-3
    compare(own, 2.5e-2, 1e-3)
    # At the published positions all of it is the published picture.
    monkeypatch.setattr("one2345.rendering.render.importance_rounds", lambda *_, **__: (z[None], None, None))
    given = render()
    assert (given.weights[0] - running[f"{prefix}_weights"]).abs().max() < 5e-5
    # (The second case has sources in the place of the query camera, see blending.)
    compare(given, *((5e-5, 5e-6) if running.name == "case8" else (5e-3, 1e-3)))
    if prefix == "ray1":
        assert torch.equal(given.inside[0], running["ray_pts_mask"].bool())
        assert torch.equal(given.valid[0, :, None], running["ray_valid"].bool())
        assert (given.sdf[0] - running["ray_sdf"]).abs().max() < 2e-5
        assert bool((given.sdf[0][~given.inside[0]] == OUTSIDE).all())
        near(given.gradient[0], running["ray_grad"], 5e-3)


@pytest.mark.parametrize("dense", [True, False])
def test_mesh(case: Case, dense: bool) -> None:
    """Extraction at 128^3: vertices within half a voxel (Hausdorff), colours within 1e-2, as the published route."""
    raw = Cameras.stack([case.raw]).to(torch.float32)
    frame = view_cube(raw[:, 1:], raw[:, :1], near=0.5, far=1.8)
    field = PlacedField(case.field, frame)
    with torch.no_grad():
        mesh = Extractor(resolution=128, dense=dense, min_area_fraction=0.0)(
            lambda p: field.sdf(p[None])[0],
            field.box,
            lambda p, n: field.surface_colour(p[None], n[None])[0],
        )
    want = case.arrays[f"{case.prefix}mesh_verts_world"].astype(np.float64)
    faces = case.arrays[f"{case.prefix}mesh_faces"].astype(np.int64)
    voxel = 2 * float(frame.scale[0]) / 127
    # Our marching cubes resolve ambiguous cells by a vertex inside, theirs don't: distances to surfaces.
    apart = max(
        to_surface(mesh.vertices, want, faces).max(), to_surface(want, mesh.vertices, mesh.faces).max()
    )
    assert apart < voxel / 2
    distance, index = cKDTree(mesh.vertices).query(want)
    assert np.median(distance) < 1e-5
    assert mesh.colours is not None
    shared = distance < 1e-3 * voxel
    assert shared.mean() > 0.99
    difference = np.abs(mesh.colours[index] - case.arrays[f"{case.prefix}mesh_color"])[shared]
    assert difference.mean() < 1e-3 and difference.max() < 1e-2
    assert len(want) <= len(mesh.vertices) <= 1.01 * len(want)


def to_surface(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    squared, _, _ = igl.point_mesh_squared_distance(
        np.ascontiguousarray(points, np.float64), vertices.astype(np.float64), faces.astype(np.int64)
    )
    return np.sqrt(squared)


@pytest.mark.parametrize("name", ["tr60k", "tr0", "ev60k"])
def test_training_step(name: str) -> None:
    """Losses and the gradient of every parameter, of 128 rays of the reference view, without perturbation."""
    case = Case("case8", "running")
    model = case.model.train(name != "ev60k")
    step, anneal = (0, 0.0) if name == "tr0" else (60_000, 1.0)
    cameras = Cameras.stack([case.cameras[1:]])
    field = model.in_cube(case.images[None, 1:], cameras, beside=case.images[None, :1])
    # Planes are those of training whatever the statistics.
    field = dataclasses.replace(field, training=True)
    terms = step_terms(case.__getitem__, model, field, case.images[1:], anneal=anneal)
    total, values = LOSS(terms.functions(), step)
    values = {**values, "depth": terms.functions()["depth"]().detach()}
    want = table(case.arrays, f"{name}_loss")
    assert abs(float(total.detach()) / want["loss"] - 1) < 1e-4
    ours = {
        "colour": "color_fine_loss",
        "eikonal": "gradient_error_loss",
        "mask": "fg_bg_loss",
        "depth": "depth_loss",
        "sparsity": "sparse_loss",
    }
    for term, value in values.items():
        # Opacities depend on where samples lie, which rounding moves on a few rays.
        assert abs(float(value) / want[ours[term]] - 1) < (3e-4 if term == "mask" else 1e-4), term
    # The published monitor divides the mean squared error by three once more.
    error = (terms.rendered.rgb[0] - case["tr_rays_color"]).square()[terms.rendered.valid[0]].mean() / 3
    assert abs(float(-10 * torch.log10(error)) - want["psnr"]) < 1e-2

    total.backward()
    networks = check_gradients(model, table(case.arrays, f"{name}_gradnorm"), tolerance=2e-2)
    for network, norm in networks.items():
        assert abs(norm / float(case[f"{name}_gradnorm_{network}"]) - 1) < 1e-3, network
    layers = model.sdf_net.layer1.parametrizations.weight
    conv5 = model.volume_net.conv5.conv.weight.grad
    assert conv5 is not None
    for got, key in (
        (model.feature_net.conv0[0][1].weight.grad, "fpn_conv0_0_bn_weight"),
        (model.compress[1].weight.grad, "compress_bn_weight"),
        (conv5[:, :, 1, 1, 1].T, "conv5_kernel_13"),
        (layers.original0.grad, "lin1_weight_g"),
        (model.blend_net.logit[0].weight.grad, "rgb_fc_0_weight"),
    ):
        cosine = F.cosine_similarity(got.flatten(), case[f"{name}_grad_{key}"].flatten(), dim=0)
        assert cosine > 0.999, key
