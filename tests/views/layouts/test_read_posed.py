"""A scene from known cameras, written in each layout under another world, comes back where it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.views.layouts.scenes import (
    Scene,
    make_scene,
    on_background,
    similarity,
    turned,
    with_rgba,
    write_colmap,
    write_nerf,
)

from one2345.geometry import Box, hull_occupancy, opengl_from_opencv, orbit_cameras, project
from one2345.views import PosedViews, write_json, write_object
from one2345.views.layouts import PosedFolder, draw_cameras, read_posed
from one2345.views.layouts.photos import undistort

UPRIGHT = similarity(3.7, turned((0, 0, 1), 40), (5, -2, 9))
ASKEW = similarity(0.21, turned((1, 2, 0.5), 130), (-300, 2, 90))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(count=12, size=(112, 150), index=4, scale=0.75)


@pytest.fixture(scope="module")
def single_focal() -> Scene:
    return make_scene(count=6, size=(80, 104), index=4, same_focal=True, scale=0.5)


def moved(scene: Scene, world: np.ndarray) -> Scene:
    return Scene(shape=scene.shape, cameras=scene.cameras, rgba=scene.rgba, world=world)


def check(found: PosedFolder, scene: Scene, *, iou: float) -> None:
    """Cameras agree up to the normalisation that was stated, pixels show what cameras say, the hull is the object."""
    total = found.normalisation.matrix @ scene.world  # our world of the truth to the world that was found
    scale = float(np.linalg.norm(total[:3, 0]))
    rotation = total[:3, :3] / scale
    c2w = scene.cameras.c2w.double().numpy()
    np.testing.assert_allclose(
        found.views.cameras.c2w[:, :3, :3].numpy(), rotation @ c2w[:, :3, :3], atol=1e-4
    )
    np.testing.assert_allclose(
        found.views.cameras.centres.numpy(), c2w[:, :3, 3] @ total[:3, :3].T + total[:3, 3], atol=1e-3
    )
    assert rotation[2, 2] > 1 - 1e-5  # up is up
    # The object's own extent: 0.8 and centred, to what a hull of few views can say.
    surface = (
        scene.shape.sample_surface(4000, seed=0).points.double().numpy() @ total[:3, :3].T + total[:3, 3]
    )
    extent = surface.max(0) - surface.min(0)
    assert 0.74 < extent.max() <= 0.82
    assert np.abs(surface.max(0) + surface.min(0)).max() / 2 < 0.04
    # A crop keeps the ray of every pixel: points seen by the first camera land on its mask.
    cameras = found.views.cameras
    pixels, _ = project(torch.from_numpy(surface).float(), cameras)
    u, v = pixels.floor().long().clamp(0, cameras.size[0] - 1).unbind(-1)
    covered = torch.nn.functional.max_pool2d(found.views.masks[:, None], 3, 1, 1)[:, 0]
    hit = torch.stack([m[b, a] for m, a, b in zip(covered, u, v)]) > 0.3
    assert float(hit.float().mean()) > 0.995
    nodes = Box(half_edge=0.48, resolution=40).nodes().reshape(-1, 3)
    inside = hull_occupancy(nodes, found.views.masks, cameras)
    back = torch.from_numpy((nodes.double().numpy() - total[:3, 3]) @ np.linalg.inv(total[:3, :3]).T).float()
    truth = scene.shape.sdf(back) < 0
    assert bool((inside | ~truth).float().mean() > 0.995)
    assert float((inside & truth).sum() / (inside | truth).sum()) > iou


def test_transforms_with_intrinsics_per_frame(scene: Scene, tmp_path: Path) -> None:
    there = moved(scene, UPRIGHT)
    found = read_posed(write_nerf(tmp_path / "n", there))
    check(found, there, iou=0.68)
    assert found.names == tuple(f"r_{i}" for i in range(12))
    assert found.views.images.shape == (12, 3, 256, 256)
    assert found.facts["masks"] == {"alpha": 12}
    # Framed as from distance 1.2 with 280 px at 256, square pixels, the origin in the middle.
    cameras = found.views.cameras
    pixels, depth = project(torch.zeros(12, 1, 3), cameras)
    torch.testing.assert_close(pixels, torch.full((12, 1, 2), 128.0), atol=0.02, rtol=0)
    torch.testing.assert_close(cameras.K[:, 0, 0], 280 * depth[:, 0] / 1.2, atol=0.01, rtol=0)
    torch.testing.assert_close(cameras.K[:, 1, 1], cameras.K[:, 0, 0], atol=0.01, rtol=0)
    assert "moved by (-4.99" in found.normalisation.words and "scaled by 0.2" in found.normalisation.words


def test_blender_transforms_with_an_angle(single_focal: Scene, tmp_path: Path) -> None:
    write_nerf(tmp_path / "a", single_focal, angle=True, extension=False).rename(
        tmp_path / "a/transforms_train.json"
    )
    found = read_posed(tmp_path / "a", size=64)
    check(found, single_focal, iou=0.5)
    assert found.views.cameras.size == (64, 64)


@pytest.mark.parametrize("masks", [True, False])
def test_colmap_finds_up_scale_and_place(scene: Scene, tmp_path: Path, masks: bool) -> None:
    there = moved(scene, ASKEW)
    found = read_posed(write_colmap(tmp_path / "c", there, masks=masks))
    check(found, there, iou=0.68)
    assert found.facts["masks"] == {"mask file" if masks else "plain background": 12}
    assert "turned by 124.4 degrees" in found.normalisation.words


def test_up_can_be_given(single_focal: Scene, tmp_path: Path) -> None:
    there = moved(single_focal, similarity(1, turned((1, 0, 0), -90), (0, 0, 0)))  # z up becomes y up
    folder = write_colmap(tmp_path / "c", there, model="SIMPLE_PINHOLE")
    named, numbers = read_posed(folder, up="y"), read_posed(folder, up=(0, 2, 0))
    check(named, there, iou=0.5)
    np.testing.assert_array_equal(named.normalisation.matrix, numbers.normalisation.matrix)
    wrong = read_posed(folder, up="-y")
    assert wrong.views.cameras.centres[-1, 2] * named.views.cameras.centres[-1, 2] < 0


LENS = (-0.4, 0.1, 0.02, -0.015)


def undistorted(K: np.ndarray, size: tuple[int, int], lens: tuple[float, ...]) -> np.ndarray:
    """(h, w, 2): where a pinhole sees what each pixel of the lens shows, by OpenCV's documented formula."""
    k1, k2, p1, p2 = lens
    v, u = np.mgrid[: size[0], : size[1]] + 0.5
    dx, dy = (u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]
    x, y = dx.copy(), dy.copy()
    for _ in range(100):  # the fixed point of x = (d - tangential) / radial
        r = x * x + y * y
        radial = 1 + k1 * r + k2 * r * r
        x, y = (
            (dx - 2 * p1 * x * y - p2 * (r + 2 * x * x)) / radial,
            (dy - p1 * (r + 2 * y * y) - 2 * p2 * x * y) / radial,
        )
    return np.stack([x * K[0, 0] + K[0, 2], y * K[1, 1] + K[1, 2]], -1)


def test_a_lens_is_undone_to_a_tenth_of_a_pixel() -> None:
    h, w = 90, 120
    K = np.array([[130.0, 0, 63], [0, 125, 44], [0, 0, 1]])
    source = undistorted(K, (h, w), LENS)
    positions = (source / 200 + 0.2).clip(0, 1)
    colour = np.dstack([positions, np.zeros((h, w))]).astype(np.float32)
    found, alpha = undistort(colour, np.ones((h, w), np.float32), K, (*LENS, 0.0))
    seen = alpha > 0.999
    v, u = np.mgrid[:h, :w] + 0.5
    expected = (np.stack([u, v], -1) / 200 + 0.2).clip(0, 1)
    assert seen.mean() > 0.7
    assert np.abs(found[..., :2] - expected)[seen].max() * 200 < 0.1


def test_photographs_of_a_lens_become_those_of_a_pinhole(single_focal: Scene, tmp_path: Path) -> None:
    k1, k2, p1, p2 = LENS
    h, w = single_focal.cameras.size
    pixels = undistorted(single_focal.cameras.K[0].double().numpy(), (h, w), LENS)
    grid = torch.from_numpy(pixels / np.array([w / 2, h / 2]) - 1).float().expand(6, h, w, 2)
    rgba = torch.from_numpy(single_focal.rgba).permute(0, 3, 1, 2).float()
    rgba[:, :3] *= rgba[:, 3:] / 255
    bent = torch.nn.functional.grid_sample(rgba, grid, align_corners=False).permute(0, 2, 3, 1)
    bent[..., :3] /= bent[..., 3:].clamp_min(1) / 255
    file = write_nerf(
        tmp_path / "n", with_rgba(single_focal, bent.clamp(0, 255).round().byte().numpy()), angle=True
    )
    document = json.loads(file.read_text())
    flat = read_posed(write_nerf(tmp_path / "flat", single_focal, angle=True), size=64)
    file.write_text(json.dumps(document | {"k1": k1, "k2": k2, "p1": p1, "p2": p2}))
    undone = read_posed(file, size=64)
    file.write_text(json.dumps(document))
    ignored = read_posed(file, size=64)

    def off(folder: PosedFolder) -> float:
        return float((folder.views.masks - flat.views.masks).abs().mean())

    assert undone.facts["undistorted"] == 6
    assert off(undone) < 0.45 * off(ignored), (off(undone), off(ignored))


def test_far_photographs_are_warned_of_in_numbers(tmp_path: Path) -> None:
    far = make_scene(count=4, size=(60, 80), index=4, radius=(2.4, 2.4), scale=0.4, zoom=1.8)
    found = read_posed(write_nerf(tmp_path / "n", far), size=64)
    text = next(w for w in found.warnings if "training views" in w)
    assert "farther" in text and "rather than 1.50" in text and "rather than 49.1" in text


def test_our_own_format_comes_back_as_it_is(tmp_path: Path, views: PosedViews) -> None:
    folder = write_object(tmp_path, "a", views=views)
    write_json(tmp_path / "dataset.json", {"schema": "one2345-views", "version": 1})
    for path in (folder, tmp_path, folder / "object.json"):
        found = read_posed(path)
        assert torch.equal(found.views.cameras.c2w, views.cameras.c2w) and found.names == views.names
        np.testing.assert_array_equal(found.normalisation.matrix, np.eye(4))
        assert "as it is" in found.normalisation.words


def test_the_published_layout(single_focal: Scene, tmp_path: Path) -> None:
    cameras = orbit_cameras([30.0, 120.0, 30.0], [20.0, 20.0, 30.0], size=64)
    render = single_focal.shape.render(cameras)
    folder = tmp_path / "zero12345_narrow" / "000-000" / "uid"
    folder.mkdir(parents=True)
    rgba = (
        torch.cat([render.rgb, render.mask[:, None]], 1).permute(0, 2, 3, 1).mul(255).round().byte().numpy()
    )
    for i, name in enumerate(("view_0", "view_1")):
        Image.fromarray(rgba[i]).save(folder / f"{name}.png")
        depth = (render.depth[i] * 1000).round().numpy().astype(np.uint16)
        Image.fromarray(depth).save(folder / f"{name}_depth_mm.png")
    opengl = opengl_from_opencv(cameras.c2w).tolist()
    document = {
        "c2ws": {"view_0": opengl[0], "view_1": opengl[1], "view_0_1_10": opengl[2], "view_7": opengl[0]},
        "intrinsics": cameras.K[0].tolist(),
        "near_far": [0.5, 1.8],
    }
    (tmp_path / "One2345_training_pose.json").write_text(json.dumps(document))
    found = read_posed(folder)
    assert found.views.depth is not None
    torch.testing.assert_close(found.views.depth, render.depth[:2], atol=6e-4, rtol=0)
    torch.testing.assert_close(found.views.masks, render.mask[:2])
    torch.testing.assert_close(found.views.images, render.rgb[:2], atol=2 / 255, rtol=0)
    Image.fromarray(on_background(rgba[2])).save(folder / "view_0_1_10.png")
    found = read_posed(folder)
    assert found.names == ("view_0", "view_1", "view_0_1_10") and found.views.roles == (
        "stage1",
        "stage1",
        "near",
    )
    assert found.views.parents == (None, None, 0) and found.views.depth is None
    assert found.facts["views_with_depth"] == 2
    torch.testing.assert_close(found.views.cameras.c2w, cameras.c2w)


def test_the_drawing_shows_each_camera(views: PosedViews) -> None:
    drawing = draw_cameras(views)
    assert drawing.mode == "RGB" and drawing.size == (960, 510)
    alone = np.asarray(draw_cameras(views[[0, 1]]))
    pixels = np.asarray(drawing)
    # Each camera is drawn in its own colour, at its place: azimuth 40 of the second is right of the middle, low.
    x, y = (
        480 / 2 + views.cameras.centres[1, 0] * (240 - 44) / 1.2,
        30 + 240 - views.cameras.centres[1, 1] * 196 / 1.2,
    )
    near = pixels[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4].reshape(-1, 3)
    assert (near == (125, 60, 125)).all(-1).sum() > 8
    assert not (alone == (125, 60, 125)).all(-1).any()
