"""What is wrong with a folder of photographs is said in one line that names the file and the frame."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from one2345.errors import InputError
from one2345.geometry import opengl_from_opencv, orbit
from one2345.views.layouts import read_posed
from one2345.views.layouts.normalisation import nearest_point, up_of_cameras, upright
from one2345.views.layouts.shots import inside


def disc() -> Image.Image:
    grid = np.arange(40) - 19.5
    alpha = np.hypot(grid[:, None], grid) < 12
    return Image.fromarray(np.dstack([np.full((40, 40, 3), 90), alpha * 255]).astype(np.uint8))


@pytest.fixture
def nerf(tmp_path: Path) -> Path:
    """Three cameras around a ball; the file is rewritten by the tests."""
    poses = opengl_from_opencv(orbit(torch.tensor([0.0, 120.0, 240.0]), 20.0, 2.0))
    frames = []
    for i in range(3):
        disc().save(tmp_path / f"{i}.png")
        frames.append({"file_path": f"{i}.png", "transform_matrix": poses[i].tolist()})
    (tmp_path / "transforms.json").write_text(json.dumps({"camera_angle_x": 0.9, "frames": frames}))
    return tmp_path


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    file = folder / "transforms.json"
    document = json.loads(file.read_text())
    edit(document)
    file.write_text(json.dumps(document))


def refused(path: Path, *words: str, **arguments: Any) -> None:
    with pytest.raises(InputError) as caught:
        read_posed(path, **arguments)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text


def test_the_folder_itself_is_fine(nerf: Path) -> None:
    found = read_posed(nerf, size=32)
    # A ball seen alike by three cameras: it stays in the middle, and its edge becomes 0.8.
    np.testing.assert_allclose(found.normalisation.matrix[:3, 3], 0, atol=0.08)


BAD_PATHS = [
    "/etc/passwd",
    "../out.png",
    "a/../../out.png",
    "..",
    "",
    "C:/x.png",
    "..\\out.png",
    "a\x00b",
    5,
    None,
]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_paths_that_lead_out(nerf: Path, path: object) -> None:
    disc().save(nerf.parent / "out.png")
    change(nerf, lambda d: d["frames"][1].update(file_path=path))
    refused(nerf, "transforms.json", "frames[1]")


def test_a_way_up_is_refused_wherever_it_ends(nerf: Path) -> None:
    (nerf / "sub").mkdir()
    change(nerf, lambda d: d["frames"][1].update(file_path="sub/../1.png"))
    refused(nerf, "frames[1]", "without ..")


@pytest.mark.parametrize("key", ["file_path", "mask_path"])
def test_links_that_lead_out(nerf: Path, tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    outside = tmp_path_factory.mktemp("outside")
    disc().save(outside / "x.png")
    (nerf / "link.png").symlink_to(outside / "x.png")
    (nerf / "folder").symlink_to(outside)
    (nerf / "loop").symlink_to("loop")
    for path in ("link.png", "folder/x.png", "link", "folder/x"):
        change(nerf, lambda d, path=path: d["frames"][1].update({key: path}))
        refused(nerf, "frames[1]")
    change(nerf, lambda d: d["frames"][1].update({key: "loop"}))
    refused(nerf, "frames[1]")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["..", ".", "a", "/", "\\", "~", "link", "C:", "", "\x00", "é"]), max_size=6))
def test_no_path_ever_leads_out(tmp_path: Path, parts: list[str]) -> None:
    root = tmp_path / "root"
    root.mkdir(exist_ok=True)
    if not (root / "link").is_symlink():
        (root / "link").symlink_to(tmp_path)
    try:
        found = inside(root, "/".join(parts), "frame")
    except InputError:
        return
    assert found.resolve().is_relative_to(root.resolve())


EDITS: list[tuple[Callable[[dict[str, Any]], object], tuple[str, ...]]] = [
    (lambda d: d.update(frames="x"), ("frames must be a list",)),
    (lambda d: d.update(frames=d["frames"][:1]), ("at least 2",)),
    (lambda d: d.update(frames=d["frames"] * 200), ("at most 500",)),
    (lambda d: d["frames"][2].pop("transform_matrix"), ("frames[2]", "transform_matrix")),
    (lambda d: d["frames"][2].update(file_path="9.png"), ("frames[2]", "9.png", "does not exist")),
    (lambda d: d["frames"][2]["transform_matrix"][0].__setitem__(0, float("nan")), ("frames[2]", "NaN")),
    (lambda d: d["frames"][2]["transform_matrix"][0].__setitem__(0, 3.0), ("frames[2]", "no rotation")),
    (lambda d: d["frames"][2].update(transform_matrix=np.diag([-1, 1, 1, 1]).tolist()), ("no rotation",)),
    (lambda d: d["frames"][2].update(transform_matrix=[[1, 2], [3]]), ("frames[2]", "4x4")),
    (lambda d: d["frames"][2].update(transform_matrix="x"), ("4x4",)),
    (lambda d: d["frames"][2]["transform_matrix"][3].__setitem__(0, 1.0), ("last row",)),
    (lambda d: d.pop("camera_angle_x"), ("fl_x nor camera_angle_x",)),
    (lambda d: d.update(camera_angle_x=4.0), ("camera_angle_x", "less than pi")),
    (lambda d: d.update(camera_angle_x=float("inf")), ("camera_angle_x", "finite")),
    (lambda d: d.update(fl_x=-3), ("fl_x", "positive")),
    (lambda d: d.update(fl_x="x"), ("fl_x", "no number")),
    (lambda d: d.update(w=41), ("w is 41", "40x40")),
    (lambda d: d.update(camera_model="OPENCV_FISHEYE"), ("fisheye",)),
    (lambda d: d.update(k4=0.1), ("k4",)),
    (lambda d: d["frames"][0].update(mask_path="m.png"), ("mask_path", "does not exist")),
    (
        lambda d: d["frames"][1].update(transform_matrix=opengl_from_opencv(orbit(0.0, 90.0, -2.0)).tolist()),
        ("look away",),
    ),
    (
        lambda d: [f.update(transform_matrix=d["frames"][0]["transform_matrix"]) for f in d["frames"]],
        ("same way",),
    ),
]


@pytest.mark.parametrize("index", range(len(EDITS)))
def test_each_error_of_transforms(nerf: Path, index: int) -> None:
    edit, words = EDITS[index]
    change(nerf, edit)
    refused(nerf, "transforms.json", *words)


def test_json_that_is_none(nerf: Path) -> None:
    for text in ("{", "[]", "[" * 100_000, "\xff"):
        (nerf / "transforms.json").write_bytes(text.encode("latin-1"))
        refused(nerf, "transforms.json")


def test_masks_that_are_missing_empty_or_of_another_size(nerf: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(nerf / "1.png")
    refused(nerf, "1.png", "what is the object?", "masks/1.png")
    Image.fromarray(np.full((20, 20), 255, np.uint8)).save(nerf / "m.png")
    change(nerf, lambda d: d["frames"][1].update(mask_path="m.png"))
    refused(nerf, "m.png", "20x20", "40x40")
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(nerf / "m.png")
    refused(nerf, "1.png", "empty")
    disc().getchannel("A").save(nerf / "m.png")
    assert read_posed(nerf, size=32).facts["masks"] == {"alpha": 2, "mask file": 1}


def test_masks_without_a_common_volume(nerf: Path) -> None:
    for i, shift in enumerate((-16, 0, 16)):
        image = Image.new("RGBA", (40, 40))
        image.paste((9, 9, 9, 255), (18 + shift, 2 if i else 34, 22 + shift, 6 if i else 38))
        image.save(nerf / f"{i}.png")
    refused(nerf, "transforms.json", "belong together")


def test_a_camera_inside_the_object(nerf: Path) -> None:
    near = opengl_from_opencv(orbit(120.0, 20.0, 0.2)).tolist()
    change(nerf, lambda d: d["frames"][1].update(transform_matrix=near))
    image = Image.new("RGBA", (40, 40), (9, 9, 9, 255))
    image.putpixel((0, 0), (0, 0, 0, 0))
    image.save(nerf / "1.png")
    change(nerf, lambda d: d.update(fl_x=40))
    refused(nerf, "transforms.json", "inside the object")


def test_nothing_known_here(tmp_path: Path) -> None:
    refused(tmp_path, "known layout", "transforms.json", "COLMAP")
    refused(tmp_path / "none", "no such folder")
    (tmp_path / "sparse").mkdir()
    (tmp_path / "sparse/cameras.bin").write_bytes(b"")
    refused(tmp_path, "binary model", "--output_type TXT")


@pytest.mark.parametrize("up", ["w", (0, 0, 0), (1, 2), (float("nan"), 0, 1)])
def test_up_that_is_none(nerf: Path, up: object) -> None:
    refused(nerf, "up=", up=up)


CAMERA = "1 PINHOLE 40 40 45 45 20 20"
IMAGE = "1 1 0 0 0 0 0 4 1 0.png"


@pytest.mark.parametrize(
    ("cameras", "images", "words"),
    [
        ("1 FISHEYE 40 40 45 45 20 20", IMAGE, ("cameras.txt: line 1", "FISHEYE")),
        ("1 PINHOLE 40 40 45", IMAGE, ("cameras.txt: line 1", "4 parameters")),
        ("1 PINHOLE 40 40 nan 45 20 20", IMAGE, ("line 1", "NaN")),
        ("1 PINHOLE 40 40 x 45 20 20", IMAGE, ("line 1", "expected numbers")),
        ("1 PINHOLE 40 40 -45 45 20 20", IMAGE, ("focal length",)),
        ("1 PINHOLE 41 40 45 45 20 20", IMAGE, ("40x40", "41x40")),
        (CAMERA, "1 1 0 0 0 0 0 4 2 0.png", ("images.txt: line 1 (0.png)", "camera '2'")),
        (CAMERA, "1 0 0 0 0 0 0 4 1 0.png", ("images.txt: line 1", "quaternion")),
        (CAMERA, "1 1 0 0", ("images.txt: line 1", "expected ID")),
        (CAMERA, "1 1 0 0 0 0 0 4 1 ../0.png", ("images.txt: line 1", "leads out")),
        (CAMERA, "1 1 0 0 0 0 0 4 1 7.png", ("images.txt: line 1", "does not exist")),
        (CAMERA, IMAGE, ("at least 2",)),
    ],
)
def test_each_error_of_colmap(tmp_path: Path, cameras: str, images: str, words: tuple[str, ...]) -> None:
    disc().save(tmp_path / "0.png")
    (tmp_path / "cameras.txt").write_text(cameras)
    (tmp_path / "images.txt").write_text(images)
    refused(tmp_path, *words)


def test_the_small_geometry() -> None:
    rng = np.random.default_rng(0)
    for up in (np.array([0, 1.0, 0]), np.array([0, 0, -1.0]), *rng.normal(size=(5, 3))):
        unit = up / np.linalg.norm(up)
        rotation = upright(unit)
        np.testing.assert_allclose(rotation @ unit, [0, 0, 1], atol=1e-9)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(rotation) > 0
    point = np.array([1.0, 2, 3])
    origins = rng.normal(size=(6, 3)) * 5
    directions = point - origins
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    np.testing.assert_allclose(nearest_point(origins, directions), point, atol=1e-9)
    # Cameras on a part of a ring that look down: their mean up leans, their rows still tell.
    poses = orbit(torch.tensor([0.0, 25.0, 50.0, 75.0]), 40.0).double().numpy()
    np.testing.assert_allclose(up_of_cameras(poses), [0, 0, 1], atol=1e-5)
