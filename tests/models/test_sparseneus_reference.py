"""The double-precision reference of the published network against what the published code gave, stage by stage.

The fixture (sparseneus/README.md beside it describes every array) is not part of this repository.
"""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.models.sparseneus_reference.features import compress, pyramid
from tests.models.sparseneus_reference.scene import Scene, normalise_scene
from tests.models.sparseneus_reference.sparse import dense, find, sparse_network
from tests.models.sparseneus_reference.volume import CostVolume, cost_volume, voxel_size
from tests.models.sparseneus_reference.weights import Weights, double
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

    def at_voxels(self, values: Tensor, volume: CostVolume) -> Tensor:
        """Values (n, c) of the active voxels, at the listed ones."""
        i, j, k = self["vox_ijk"].unbind(dim=-1)
        return dense(values, volume.sites, grid=GRID)[i, j, k]


# case32 takes four times as long and shows little more: it runs where ONE2345_CASE32 is set.
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
