"""Pictures of meshes: at a protocol's cameras, and in strips for the report."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from one2345.geometry import OBJECT_EDGE, Cameras, Mesh, camera_rays
from one2345.geometry.rays import z_per_t
from one2345.objects import Render
from one2345.objects.mesh_object import MeshObject
from one2345.objects.shading import shade
from one2345.views import PosedViews

from .cameras import CameraRings
from .sampling import as_it_stands

CLAY = 0.82
SIZE, COUNT = 112, 6
RINGS = CameraRings(rings=({"elevation": 20, "count": COUNT},), size=SIZE, distance=1.3)
ERROR_STOPS = (
    np.array([[38, 70, 132], [66, 150, 160], [214, 222, 170], [238, 150, 74], [178, 34, 46]], np.float32)
    / 255
)
"""Colours of a surface error from 0 to 1, evenly spaced."""


@dataclass(frozen=True)
class Portrait:
    """The truth as a report shows it. cameras (v,): in the world frame; colour, clay: strips as data: URIs."""

    cameras: Cameras
    colour: str
    clay: str | None


def draw(mesh: Mesh, cameras: Cameras) -> Render:
    """Albedo, depth, mask and normals of `mesh`, in the world frame, as it stands."""
    return as_it_stands(mesh, "prediction").render(cameras)


def portrait_of_mesh(item: MeshObject) -> Portrait:
    """Of a mesh in the world frame, from a ring of cameras."""
    cameras = RINGS.cameras(OBJECT_EDGE)
    seen = item.render(cameras)
    return Portrait(cameras, strip(seen.rgb), strip(clay(seen.normal, seen.mask)))


def portrait_of_views(views: PosedViews) -> Portrait:
    """Of stored pictures, some of them."""
    shape = clay_of_views(views)
    cameras = views.cameras[evenly(len(views), COUNT)].resized((SIZE, SIZE))
    return Portrait(cameras, strip(views.images), None if shape is None else strip(shape))


def error_colours(errors: NDArray[np.floating]) -> NDArray[np.float32]:
    """(n, 3) colours of errors (n,) from 0 (blue) to 1 and beyond (red)."""
    place = np.clip(errors, 0, 1) * (len(ERROR_STOPS) - 1)
    return np.stack(
        [np.interp(place, np.arange(len(ERROR_STOPS)), ERROR_STOPS[:, i]) for i in range(3)], -1
    ).astype(np.float32)


def error_map(mesh: Mesh, errors: NDArray[np.floating], cameras: Cameras) -> Tensor:
    """Pictures (v, 3, h, w) of a mesh in the world frame, coloured by the errors (n,) of its vertices, lightly
    shaded."""
    coloured = Mesh(mesh.vertices, mesh.faces, error_colours(errors))
    item = MeshObject(coloured, id="error", normalise=False, repair=False, shading=0.45)
    return item.render(cameras).rgb


def strip(images: Tensor, *, size: int = SIZE, count: int = COUNT) -> str:
    """Up to `count` of the pictures (v, 3, h, w), evenly chosen, side by side as an inline PNG."""
    chosen = images[evenly(len(images), count)].detach().float().cpu().clamp(0, 1)
    small = torch.nn.functional.interpolate(chosen, size=(size, size), mode="bilinear", antialias=True)
    row = (small.permute(2, 0, 3, 1).reshape(size, -1, 3) * 255).round().to(torch.uint8).numpy()
    return data_uri(row)


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """(h, w, 3) uint8 as a data: URI."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels).quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def evenly(total: int, count: int) -> list[int]:
    """At most `count` positions, evenly spread over `total`."""
    return list(range(total)) if total <= count else [i * total // count for i in range(count)]


def clay(normal: Tensor, mask: Tensor) -> Tensor:
    """Shaded pictures (v, 3, h, w) of a grey surface with world normals (v, 3, h, w), over white."""
    normals = normal.permute(0, 2, 3, 1)
    grey = shade(torch.full_like(normals, CLAY), normals, 1.0).permute(0, 3, 1, 2)
    return torch.where((mask > 0.5)[:, None] & (normal.abs().sum(1, keepdim=True) > 0), grey, 1.0)


def clay_of_views(views: PosedViews) -> Tensor | None:
    """`clay` of stored normals, or of normals from stored depth; None where there is neither."""
    if views.normals is not None:
        return clay(views.normals, views.masks)
    if views.depth is None:
        return None
    rays = camera_rays(views.cameras)
    t = views.depth / z_per_t(views.cameras, rays.directions).clamp_min(1e-6)
    points = rays.origins + rays.directions * t[..., None]
    known = views.depth > 0
    across = torch.zeros_like(points)
    down = torch.zeros_like(points)
    across[:, :, 1:-1] = points[:, :, 2:] - points[:, :, :-2]
    down[:, 1:-1] = points[:, 2:] - points[:, :-2]
    normal = torch.nn.functional.normalize(torch.linalg.cross(down, across), dim=-1)
    whole = known.clone()
    whole[:, :, 1:-1] &= known[:, :, 2:] & known[:, :, :-2]
    whole[:, 1:-1] &= known[:, 2:] & known[:, :-2]
    # Beside the outline there is no difference to take: there the surface is shown facing the camera.
    normal = torch.where(whole[..., None], normal, -rays.directions)
    return clay(normal.permute(0, 3, 1, 2), known.float())
