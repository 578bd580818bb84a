"""The committed small set: the reference still gives it, and the checkpoints that it starts from are not degenerate."""

import hashlib
import io
from typing import Any

import numpy as np
import pytest
import torch
from tests.models import make_sparseneus_small as small
from tests.models.sparseneus_reference.features import compress, pyramid
from tests.models.sparseneus_reference.rays import importance
from tests.models.sparseneus_reference.sparse import Sites, coarser, convolve, find, neighbours
from tests.models.sparseneus_reference.volume import voxels
from tests.models.sparseneus_weights import random_checkpoint

NETWORKS = [name for name in random_checkpoint(0) if "network" in name]


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    with np.load(small.FILE, allow_pickle=False) as file:
        return dict(file)


def same(made: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Integers and names equal, floats within the rounding that machines differ by."""
    for name, value in small.as_stored(made).items():
        assert value.dtype == arrays[name].dtype and value.shape == arrays[name].shape, name
        if value.dtype.kind == "f":
            np.testing.assert_allclose(value, arrays[name], rtol=1e-5, atol=1e-6, err_msg=name)
        else:
            assert np.array_equal(value, arrays[name]), name


def test_stages_of_running_statistics_are_made_anew(arrays: dict[str, Any]) -> None:
    scene, pictures, weights = small.scene_of(arrays)
    same(small.cameras(scene), arrays)
    t = {name: torch.from_numpy(arrays[name]) for name in ("vox_ijk", "edge_pts", "blend_pts", "blend_dirs")}
    with torch.no_grad():
        stages, support = small.volume_stages(scene, pictures, weights, t["vox_ijk"], batch=False)
        same(stages, arrays)
        same(small.edge_stages(support, weights, t["edge_pts"].double()), arrays)
        points, dirs = t["blend_pts"].double(), t["blend_dirs"].double()
        same(small.blend_stages(support, scene, weights, points, dirs), arrays)


@pytest.mark.slow
def test_all_of_it_is_made_anew(arrays: dict[str, Any]) -> None:
    made = small.make()
    assert set(made) == set(arrays)
    same(made, arrays)


def test_the_set_holds_what_is_easily_got_wrong(arrays: dict[str, Any]) -> None:
    assert arrays["vox_leak"].max() > 0 and arrays["vox_leak_behind"].max() > 0
    assert (arrays["blend_mask"].sum(axis=0) == 0).any()  # seen by no view
    assert 0 < arrays["ray_pts_mask"].mean() < 1
    assert arrays["blk_conv5_sites"][4:7].max() == small.GRID  # a site beyond the last voxel
    assert 0.001 < (arrays["mesh_field"] > 0).mean() < 0.5
    assert np.abs(arrays["bt_sdf"] - arrays["sdf"]).max() > 1e-3
    assert small.FILE.stat().st_size < 400_000


def test_running_statistics_move_a_tenth_of_the_way(arrays: dict[str, Any]) -> None:
    """By torch's own batch normalisation, of the compressing layer and its fused input."""
    _, pictures, weights = small.scene_of(arrays)
    name = "sdf_network_lod0.compress_layer"
    with torch.no_grad():
        fused = pyramid(pictures, weights, batch=True).fused[1:]
        updates = {}
        compress(fused, weights, batch=True, updates=updates)
        bn = torch.nn.BatchNorm2d(16).double()
        bn.running_mean, bn.running_var = (weights[f"{name}.bn.running_{s}"].clone() for s in ("mean", "var"))
        bn(torch.nn.functional.conv2d(fused, weights[f"{name}.conv.weight"], padding=1))
    for kind, ours in (("running_mean", bn.running_mean), ("running_var", bn.running_var)):
        assert ours is not None
        torch.testing.assert_close(updates[f"{name}.bn.{kind}"], ours)
        np.testing.assert_allclose(arrays[f"tr_compress_{kind}"], ours, rtol=1e-5, atol=1e-6)


def test_sparse_convolution_is_the_dense_one_on_a_full_grid() -> None:
    """The strided one too: sites at 6 of a grid of 6, where the dense one needs a padded seventh voxel."""
    generator = torch.Generator().manual_seed(0)
    fine = Sites(voxels(6), 1)
    x = torch.randn(216, 3, generator=generator, dtype=torch.float64)
    kernel = torch.randn(27, 3, 2, generator=generator, dtype=torch.float64)
    cube = x.reshape(6, 6, 6, 3).permute(3, 0, 1, 2)[None]
    # (27, in, out) with z slowest to (out, in, x, y, z).
    dense_kernel = kernel.reshape(3, 3, 3, 3, 2).permute(4, 3, 2, 1, 0)
    for target, padded, stride in (
        (fine, cube, 1),
        (coarser(fine), torch.nn.functional.pad(cube, (0, 1) * 3), 2),
    ):
        expected = torch.nn.functional.conv3d(padded, dense_kernel, stride=stride, padding=1)[0]
        got = convolve(x, kernel, neighbours(fine, target), len(target.ijk))
        assert target.ijk.amax() == (5 if stride == 1 else 6)
        torch.testing.assert_close(got, expected.permute(1, 2, 3, 0).reshape(-1, 2))


def test_no_coarse_site_lies_below_the_smallest_fine_one() -> None:
    coarse = coarser(Sites(torch.tensor([[3, 4, 5], [4, 4, 6]]), 1))
    assert coarse.ijk.amin(dim=0).tolist() == [4, 4, 6]
    _, there = find(coarse, torch.tensor([[2, 4, 6], [4, 4, 4]]))
    assert not there.any()


def test_samples_are_added_where_a_surface_is_crossed() -> None:
    z = torch.linspace(0, 2, 64, dtype=torch.float64)[None]
    active = torch.ones_like(z, dtype=torch.bool)
    added = importance(z, 1.234 - z, active, 512.0)
    assert (added - 1.234).abs().max() < 2 / 63
    active[:, 30:] = False  # of an interval with an end outside nothing is added but the floor's share
    assert ((importance(z, 1.234 - z, active, 512.0) - 1.234).abs() < 2 / 63).sum() <= 1


@pytest.mark.parametrize("net", NETWORKS)
def test_checkpoints_are_not_degenerate(net: str) -> None:
    network = random_checkpoint(3)[net]
    gammas = [v for n, v in network.items() if n.endswith((".bn.weight", ".1.weight"))]
    assert all(g.min() < 0 < g.max() for g in gammas)
    for name, value in network.items():
        assert torch.isfinite(value).all()
        if name.endswith("weight_v"):
            ratio = network[name.replace("_v", "_g")][:, 0] / value.norm(dim=1)
            assert ratio.std() > 0.1 and (value.norm(dim=1) - 1).abs().min() > 1e-6


def test_a_seed_makes_one_checkpoint() -> None:
    def digest(seed: int) -> str:
        buffer = io.BytesIO()
        torch.save(random_checkpoint(seed), buffer)
        return hashlib.sha256(buffer.getvalue()).hexdigest()

    assert digest(5) == digest(5) != digest(6)
