"""An analytic shape photographed by known cameras, written as other projects would."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from one2345.geometry import Cameras, colmap_from_c2w, look_at, opengl_from_opencv, orbit
from one2345.objects import AnalyticShape, random_shape


@dataclass(frozen=True)
class Scene:
    """shape: in our world. cameras: (v) in our world, all of one size but with focal lengths of their own.
    rgba: (v, h, w, 4) uint8. world: (4, 4) similarity from our world to the one that is written."""

    shape: AnalyticShape
    cameras: Cameras
    rgba: np.ndarray
    world: np.ndarray

    def written_c2w(self) -> np.ndarray:
        scale = np.linalg.norm(self.world[:3, 0])
        c2w = self.cameras.c2w.double().numpy().copy()
        c2w[:, :3, :3] = self.world[:3, :3] / scale @ c2w[:, :3, :3]
        c2w[:, :3, 3] = c2w[:, :3, 3] @ self.world[:3, :3].T + self.world[:3, 3]
        return c2w


def similarity(scale: float, rotation: np.ndarray, shift: tuple[float, float, float]) -> np.ndarray:
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = scale * rotation, shift
    return world


def turned(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    unit = np.array(axis) / np.linalg.norm(axis)
    k = np.array([[0, -unit[2], unit[1]], [unit[2], 0, -unit[0]], [-unit[1], unit[0], 0]])
    angle = math.radians(degrees)
    return np.eye(3) + math.sin(angle) * k + (1 - math.cos(angle)) * k @ k


def make_scene(
    *,
    count: int = 16,
    size: tuple[int, int] = (150, 200),
    radius: tuple[float, float] = (1.3, 1.6),
    off_centre: float = 0.06,
    same_focal: bool = False,
    index: int = 3,
    world: np.ndarray | None = None,
    scale: float = 1.0,
    zoom: float = 1.0,
) -> Scene:
    """Cameras on a jittered sphere, elevations -35 to 65, that look past the origin by `off_centre`.

    scale: of the focal lengths, which are about 190 px at 1. zoom: the same, for cameras that are far away."""
    shape = random_shape(5, index=index)
    rng = np.random.default_rng(index)
    azimuth = np.arange(count) * 360 * 0.382 + rng.uniform(-5, 5, count)
    elevation = np.linspace(-35, 65, count)
    eye = orbit(torch.tensor(azimuth), torch.tensor(elevation), torch.tensor(rng.uniform(*radius, count)))[
        :, :3, 3
    ]
    target = torch.tensor(rng.uniform(-off_centre, off_centre, (count, 3))).float()
    c2w = look_at(eye, target)
    focal = np.full(count, 190.0) if same_focal else rng.uniform(170, 210, count)
    focal = focal * scale * zoom
    K = torch.zeros(count, 3, 3)
    K[:, 0, 0], K[:, 1, 1], K[:, 2, 2] = torch.tensor(focal), torch.tensor(focal * 0.97), 1
    if same_focal:
        K[:, 1, 1] = K[:, 0, 0]
    K[:, 0, 2], K[:, 1, 2] = size[1] / 2 + (0 if same_focal else 4.5), size[0] / 2 - (0 if same_focal else 3)
    cameras = Cameras(K=K, c2w=c2w, size=size)
    return Scene(
        shape=shape,
        cameras=cameras,
        rgba=photograph(shape, cameras),
        world=np.eye(4) if world is None else world,
    )


def photograph(shape: AnalyticShape, cameras: Cameras, samples: int = 3) -> np.ndarray:
    """(v, h, w, 4) uint8 straight RGBA, averaged over samples x samples rays per pixel."""
    h, w = cameras.size
    render = shape.render(cameras.resized((h * samples, w * samples)))
    alpha = torch.nn.functional.avg_pool2d(render.mask[:, None], samples)
    lit = torch.nn.functional.avg_pool2d(render.rgb * render.mask[:, None], samples) / alpha.clamp_min(1e-6)
    rgba = torch.cat([lit, alpha], 1).clamp(0, 1)
    return (rgba * 255).round().byte().permute(0, 2, 3, 1).numpy()


def on_background(rgba: np.ndarray, colour: tuple[float, float, float] = (1, 1, 1)) -> np.ndarray:
    a = rgba[..., 3:] / 255
    return np.rint(rgba[..., :3] * a + (1 - a) * np.array(colour) * 255).astype(np.uint8)


def write_nerf(folder: Path, scene: Scene, *, angle: bool = False, extension: bool = True) -> Path:
    """transforms.json beside images/; angle: one camera_angle_x instead of intrinsics per frame."""
    (folder / "images").mkdir(parents=True)
    h, w = scene.cameras.size
    frames = []
    c2w = opengl_from_opencv(torch.from_numpy(scene.written_c2w()))
    for i, pixels in enumerate(scene.rgba):
        Image.fromarray(pixels).save(folder / "images" / f"r_{i}.png")
        frame: dict[str, object] = {
            "file_path": f"./images/r_{i}" + (".png" if extension else ""),
            "transform_matrix": c2w[i].tolist(),
        }
        if not angle:
            K = scene.cameras.K[i]
            frame |= {
                "fl_x": float(K[0, 0]),
                "fl_y": float(K[1, 1]),
                "cx": float(K[0, 2]),
                "cy": float(K[1, 2]),
            }
        frames.append(frame)
    document: dict[str, object] = {"frames": frames}
    if angle:
        document["camera_angle_x"] = 2 * math.atan(w / 2 / float(scene.cameras.K[0, 0, 0]))
    else:
        document |= {"w": w, "h": h}
    file = folder / "transforms.json"
    file.write_text(json.dumps(document))
    return file


def write_colmap(folder: Path, scene: Scene, *, model: str = "PINHOLE", masks: bool = False) -> Path:
    """sparse/0/{cameras,images}.txt and images/*.png on a busy or plain background."""
    sparse = folder / "sparse" / "0"
    sparse.mkdir(parents=True)
    (folder / "images").mkdir()
    h, w = scene.cameras.size
    quaternion, translation = colmap_from_c2w(torch.from_numpy(scene.written_c2w()))
    cameras, images = ["# Camera list"], ["# Image list with two lines of data per image:"]
    busy = np.random.default_rng(0).uniform(0, 1, (h, w, 3))
    for i, rgba in enumerate(scene.rgba):
        K = scene.cameras.K[i].double()
        p = {
            "PINHOLE": (K[0, 0], K[1, 1], K[0, 2], K[1, 2]),
            "SIMPLE_PINHOLE": (K[0, 0], K[0, 2], K[1, 2]),
            "OPENCV": (K[0, 0], K[1, 1], K[0, 2], K[1, 2], 0, 0, 0, 0),
        }[model]
        cameras.append(f"{i + 1} {model} {w} {h} " + " ".join(f"{float(x):.17g}" for x in p))
        pose = [*quaternion[i].tolist(), *translation[i].tolist()]
        images += [
            f"{i + 1} " + " ".join(f"{x:.17g}" for x in pose) + f" {i + 1} p {i}.png",
            "" if i % 2 else "1 2 -1",
        ]
        if masks:
            (folder / "masks").mkdir(exist_ok=True)
            Image.fromarray(rgba[..., 3]).save(folder / "masks" / f"p {i}.png")
        a = rgba[..., 3:] / 255
        pixels = (
            np.rint(rgba[..., :3] * a + (1 - a) * 255 * busy).astype(np.uint8)
            if masks
            else on_background(rgba)
        )
        Image.fromarray(pixels).save(folder / "images" / f"p {i}.png")
    (sparse / "cameras.txt").write_text("\n".join(cameras) + "\n")
    (sparse / "images.txt").write_text("\n".join(images) + "\n")
    return folder


def with_rgba(scene: Scene, rgba: np.ndarray) -> Scene:
    return replace(scene, rgba=rgba)
