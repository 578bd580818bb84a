from dataclasses import replace

import numpy as np
import pytest
import torch

from one2345.errors import EmptySurfaceError
from one2345.evaluation import Case, exact_inputs, occupy, visual_hull_mesh
from one2345.evaluation.metrics import volume_iou
from one2345.geometry import Box, evaluation_box, hull_occupancy, orbit_cameras, project
from one2345.objects import MeshObject
from one2345.views import PosedViews


def test_hull_is_the_bilinear_rule(records):
    views = exact_inputs(Case.of_record(records[0]))
    grid = occupy(visual_hull_mesh(views, resolution=96), evaluation_box(32)).grid
    rule = hull_occupancy(evaluation_box(32).nodes().reshape(-1, 3), views.masks, views.cameras)
    assert volume_iou(grid, rule.reshape(32, 32, 32)) > 0.98


def test_hull_holds_the_object_and_shrinks_with_views(records, true_mesh):
    true = records[0].samples().occupancy[32].numpy()
    item = MeshObject(true_mesh, id="x", normalise=False)
    cameras = orbit_cameras(
        torch.arange(24) * 360.0 / 24, torch.tensor([0.0, 35.0, -35.0]).repeat(8), size=96
    )
    seen = item.render(cameras)
    names = tuple(str(i) for i in range(24))
    many = PosedViews(
        images=seen.rgb,
        masks=seen.mask,
        cameras=cameras,
        names=names,
        roles=("stage1",) * 24,
        parents=(None,) * 24,
    )
    few_grid = occupy(
        visual_hull_mesh(exact_inputs(Case.of_record(records[0])), resolution=64), evaluation_box(32)
    ).grid
    many_grid = occupy(visual_hull_mesh(many, resolution=64), evaluation_box(32)).grid
    assert (true & ~many_grid).sum() < 0.05 * true.sum()
    assert volume_iou(many_grid, true) > 0.9
    assert volume_iou(many_grid, true) > volume_iou(few_grid, true)


def test_hull_is_painted_by_its_views(records):
    mesh = visual_hull_mesh(exact_inputs(Case.of_record(records[0])), resolution=64)
    expected = np.clip(mesh.vertices * 0.9 + 0.5, 0, 1)
    assert np.abs(mesh.colours - expected).mean() < 0.06


def test_nothing_is_left_outside_the_frames(records):
    """Cameras that see the whole object also say that nothing is beyond their frames."""
    views = exact_inputs(Case.of_record(records[0]))[[0]]
    mesh = visual_hull_mesh(views, resolution=48, box=Box(half_edge=1.1))
    pixels, _ = project(torch.from_numpy(mesh.vertices).float(), views.cameras[0])
    assert pixels.min() > 0
    assert pixels.max() < 64


def test_silhouettes_without_common_point_are_an_error(records):
    views = exact_inputs(Case.of_record(records[0]))
    empty = replace(views, masks=torch.zeros_like(views.masks))
    with pytest.raises(EmptySurfaceError, match="no surface"):
        visual_hull_mesh(empty, resolution=32)
