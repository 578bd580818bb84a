"""The network, in double precision, against the written-out reference on a small scene: every stage, every quirk on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.models import make_sparseneus_small as small
from tests.models.plain_blending import evidence
from tests.models.published_step import EVERY_SAMPLE, LOSS, check_gradients, step_terms, table
from tests.models.sparseneus_weights import random_checkpoint
from torch import Tensor
from torch.nn import functional as F

from one2345.geometry import Cameras, Rays
from one2345.models import SparseNeus
from one2345.models.import_published import CONFIG, load_released
from one2345.models.sparseneus.field import CubeField
from one2345.models.sparseneus.lifting import lift
from one2345.models.sparseneus.view_cube import view_cube
from one2345.rendering import render_rays

ROUNDING = 2e-6  # of float32, in which the reference's numbers are kept


@dataclasses.dataclass
class Small:
    arrays: dict[str, Any]

    def __getitem__(self, key: str) -> Tensor:
        value = torch.from_numpy(np.asarray(self.arrays[key]))
        return value.double() if value.is_floating_point() else value

    @property
    def images(self) -> Tensor:
        return self["images_u8"].double() / 255

    @property
    def cameras(self) -> Cameras:
        """World cameras (v), the reference first."""
        c2w = self["raw_c2w"]
        return Cameras(K=self["raw_K"].expand(len(c2w), 3, 3), c2w=c2w, size=(small.SIZE, small.SIZE))

    @property
    def local(self) -> Cameras:
        raw = Cameras.stack([self.cameras])
        return view_cube(raw[:, 1:], raw[:, :1], near=0.5, far=1.8).cameras_to_local(raw)[0]

    def model(self, norm: str = "running") -> SparseNeus:
        options = {**CONFIG, "norm": norm, "resolution": small.GRID}
        del options["_target_"]
        model = SparseNeus(**options)
        load_released(model, random_checkpoint(int(self.arrays["weights_seed"])), where=Path("small"))
        return model.double().eval()

    def field(self, model: SparseNeus) -> CubeField:
        return model.in_cube(self.images[None, 1:], Cameras.stack([self.local[1:]]))


@pytest.fixture(scope="module")
def data() -> Small:
    with np.load(small.FILE, allow_pickle=False) as file:
        return Small(dict(file))


@pytest.fixture(scope="module", params=["running", "batch"])
def made(request: pytest.FixtureRequest, data: Small) -> tuple[str, SparseNeus, CubeField]:
    model = data.model(request.param)
    with torch.no_grad():
        return {"running": "", "batch": "bt_"}[request.param], model, data.field(model)


@pytest.fixture(scope="module")
def running(data: Small) -> tuple[SparseNeus, CubeField]:
    model = data.model()
    with torch.no_grad():
        return model, data.field(model)


def near(got: Tensor, want: Tensor, tolerance: float = ROUNDING) -> None:
    """Within `tolerance` of the reference's largest value."""
    assert got.shape == want.shape
    assert (got.detach() - want).abs().max() < tolerance * want.abs().max().clamp_min(1)


def test_frames(data: Small) -> None:
    near(data.local.c2w, data["c2ws"])
    near(data.local.w2c, data["w2cs"])


def test_features_volume_and_distances(data: Small, made: tuple[str, SparseNeus, CubeField]) -> None:
    prefix, model, field = made
    fused = field.colour_maps[0][:, 3:]
    near(fused[:, :, 8::16, 8::16], data[f"{prefix}feat_sub"][-len(fused) :], 1e-5)
    with torch.no_grad():
        compressed = model.compress(fused)
        volume, count = lift(compressed, model.voxels(torch.float64), field.cameras[0], model.quirks)
    near(compressed[:, :, 4::8, 4::8], data[f"{prefix}comp_sub"], 1e-5)
    assert torch.equal(count.reshape(24, 24, 24), data["view_count"].long())
    i, j, k = data["vox_ijk"].unbind(-1)
    near(volume[:, (i * 24 + j) * 24 + k].T, data[f"{prefix}cost_feat"], 1e-5)
    near(field.volume.values[0, i, j, k], data[f"{prefix}vol_feat"], 1e-5)
    with torch.no_grad():
        value, gradient = field.sdf_and_gradient(data["sdf_pts"][None])
    near(value[0], data[f"{prefix}sdf"], 1e-5)
    near(gradient[0], data[f"{prefix}sdf_grad"], 1e-4)
    n = len(data[f"{prefix}mesh_field"])
    axis = torch.linspace(-1, 1, n, dtype=torch.float64)
    lattice = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(1, -1, 3)
    with torch.no_grad():
        near(-field.surface_sdf(lattice).reshape(n, n, n), data[f"{prefix}mesh_field"], 1e-5)


def test_sites_of_the_3d_network(data: Small, running: tuple[SparseNeus, CubeField]) -> None:
    model, field = running
    seen: dict[str, Tensor] = {}

    def keep(name: str):
        return lambda _, __, values: seen.update({name: values[0]})

    names = {"up3": "conv7", "up2": "conv9", "up1": "conv11"}
    hooks = [
        unit.register_forward_hook(keep(names.get(n, n))) for n, unit in model.volume_net.named_children()
    ]
    with torch.no_grad():
        data.field(model)
    for hook in hooks:
        hook.remove()
    levels = model.volume_net.levels(field.active[0])
    for name, values in seen.items():
        sites = data[f"blk_{name}_sites"].tolist()
        mask = levels[{1: 0, 2: 1, 4: 2, 8: 3}[sites[7]]].mask
        found = mask.nonzero()
        assert len(found) == sites[0]
        assert (found.amin(0) * sites[7]).tolist() == sites[1:4]
        assert (found.amax(0) * sites[7]).tolist() == sites[4:7]
        near(values[:, mask].mean(1), data[f"blk_{name}_mean"], 1e-5)


def test_edges_of_the_cube(data: Small, running: tuple[SparseNeus, CubeField]) -> None:
    field = running[1]
    points = data["edge_pts"][None]
    with torch.no_grad():
        near(field.sdf(points)[0], data["edge_sdf"], 1e-5)
        near(field.volume.lookup(points)[0], data["edge_latent"], 1e-5)
    assert torch.equal(field.inside(points)[0], data["edge_mask_nearest"].bool())


@pytest.mark.parametrize("query", ["A", "B"])
def test_blending(data: Small, running: tuple[SparseNeus, CubeField], query: str) -> None:
    model, field = running
    points = data["blend_pts"]
    towards = F.normalize(data.local.centres[0] - points, dim=-1)
    directions = towards if query == "A" else data["blend_dirs"]
    with torch.no_grad():
        geometry = field.volume.lookup(points[None])
        sights = field.sights(points[None], directions[None])
        sampled, relative, visible = evidence(sights, field.colour_maps, field.sampling)
        weights = model.blend_net.weights(geometry, sampled, relative, visible)[0]
        colour = field.colour(points[None], directions[None])[0][0]
    assert torch.equal(visible[0], data["blend_mask"].bool())
    near(relative[0], data[f"blend{query}_ray_diff"], 1e-4)  # the directions are kept in float32
    near(weights, data[f"blend{query}_weights"], 1e-5)
    near(colour, data[f"blend{query}_rgb"], 1e-5)


@pytest.mark.parametrize(("prefix", "anneal"), [("ray1", 1.0), ("ray0", 0.0)])
def test_rays(data: Small, running: tuple[SparseNeus, CubeField], prefix: str, anneal: float) -> None:
    model, field = running
    field = dataclasses.replace(field, training=True)
    origins, directions = data["ray_o"][None], data["ray_d"][None]
    low, high, _ = field.ray_interval(Rays(origins=origins, directions=directions))
    with torch.no_grad():
        inv_s = model.variance()
        seen = render_rays(
            field, origins, directions, low, high, inv_s=inv_s, settings=EVERY_SAMPLE, anneal=anneal
        )
    assert torch.equal(seen.inside[0], data["ray_pts_mask"].bool())
    assert torch.equal(seen.valid[0], data["ray_valid"].bool())
    near(seen.weights[0], data[f"{prefix}_weights"], 1e-4)
    near(seen.rgb[0], data[f"{prefix}_color"], 1e-4)
    near(seen.t[0], data[f"{prefix}_depth"], 1e-4)
    near(seen.weights_sum[0], data[f"{prefix}_weights_sum"], 1e-4)


@pytest.mark.parametrize("name", ["tr60k", "tr0"])
def test_training_step(data: Small, name: str) -> None:
    model = data.model().train()
    step, anneal = (0, 0.0) if name == "tr0" else (60_000, 1.0)
    cameras = Cameras.stack([data.local[1:]])
    field = model.in_cube(data.images[None, 1:], cameras, beside=data.images[None, :1])
    for norm, key in (
        (model.feature_net.conv0[0][1], "fpn_conv0_0"),
        (model.compress[1], "compress"),
        (model.volume_net.conv0.norm, "conv0"),
    ):
        near(norm.running_mean, data[f"tr_{key}_running_mean"], 1e-5)
        near(norm.running_var, data[f"tr_{key}_running_var"], 1e-5)
    terms = step_terms(data.__getitem__, model, field, data.images[1:], anneal=anneal)
    total, _ = LOSS(terms.functions(), step)
    assert abs(float(total.detach()) / table(data.arrays, f"{name}_loss")["loss"] - 1) < 1e-5
    near(terms.rendered.rgb[0], data[f"{name}_color"], 1e-4)
    assert torch.equal(terms.rendered.valid[0], data[f"{name}_valid"].bool())
    total.backward()
    check_gradients(model, table(data.arrays, f"{name}_gradnorm"), tolerance=1e-3)
