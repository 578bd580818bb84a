"""The given pictures' own pixels on the surface: where a picture sees it well, what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from one2345.geometry import Cameras, Mesh, camera_rays, in_frame, project, sample_views
from one2345.objects.cpu_backend import CpuBackend

TRUST_EDGE = 256
"""Outlines are looked for in pictures of at most this size: they need not be sharper than the feather."""
FEATHER = 0.02
"""Share of the frame over which a picture fades out towards the object's outline and towards edges in depth."""
JUMP = 0.03
"""Difference in depth between neighbouring pixels, world units, that is an edge."""
COSINES = (0.2, 0.5)
"""Cosine of the angle between surface and viewer at which a picture begins to count, and counts fully."""
SHARPNESS = 4.0
"""Among pictures that see a point, those that look straight at it win by this power of the cosine."""
OFFSET = 2e-3
"""From where on the way to the camera the surface may hide itself, world units."""
OVERLAP = 0.7
"""Least intersection over union of the picture's mask and the mesh's outline: else they show different poses."""


@dataclass(frozen=True)
class Pictures:
    """Pictures that are trusted: images (v, 3, h, w) sRGB in [0, 1], masks (v, h, w) alpha, cameras (v)."""

    images: Tensor
    masks: Tensor
    cameras: Cameras


@dataclass(frozen=True)
class OwnPixels:
    """colours (p, 3) and share (p,) in [0, 1] that they have in the texture. overlap: of each picture's mask with the
    mesh's outline, (intersection over union), in order; those below OVERLAP were not used."""

    colours: NDArray[np.float32]
    share: NDArray[np.float32]
    overlap: tuple[float, ...]


def own_pixels(
    points: NDArray[np.float64], normals: NDArray[np.float64], mesh: Mesh, pictures: Sequence[Pictures]
) -> OwnPixels:
    """What pictures show at points (p, 3) of `mesh` with unit normals (p, 3).

    A picture counts at a point by three factors: whether a ray from there reaches its camera, the angle at which it
    looks, and the distance in the picture to where the object or its depth ends.
    """
    caster = CpuBackend(mesh.vertices, mesh.faces)
    total = np.zeros((len(points), 3), np.float32)
    weight = np.zeros(len(points), np.float32)
    share = np.zeros(len(points), np.float32)
    overlaps = []
    for some in pictures:
        for index in range(len(some.cameras)):
            camera = some.cameras[index : index + 1].to("cpu")
            mask = some.masks[index].float().cpu()
            trust, overlap = _trust(mask, camera, caster)
            overlaps.append(overlap)
            if overlap < OVERLAP:
                continue
            seen, factor, cosine = _seen(points, normals, camera, trust, caster)
            image = some.images[index : index + 1].float().cpu()
            pixels, _ = project(torch.from_numpy(points[seen]).float()[None], camera)
            colours = sample_views(image, pixels)[0].T.numpy()
            by_angle = factor * cosine**SHARPNESS
            total[seen] += by_angle[:, None] * colours
            weight[seen] += by_angle
            share[seen] = np.maximum(share[seen], factor)
    colours = (total / np.maximum(weight, 1e-12)[:, None]).astype(np.float32)
    return OwnPixels(colours=colours, share=share, overlap=tuple(overlaps))


def _seen(
    points: NDArray[np.float64],
    normals: NDArray[np.float64],
    camera: Cameras,
    trust: NDArray[np.float32],
    caster: CpuBackend,
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Points that a camera counts at: their indices (s,), the factor in [0, 1] and the cosine of the angle (s,)."""
    centre = camera.centres[0].double().numpy()
    towards = centre - points
    distance = np.linalg.norm(towards, axis=-1)
    towards /= np.maximum(distance, 1e-12)[:, None]
    cosine = np.einsum("pi,pi->p", normals, towards)
    pixels, depth = project(torch.from_numpy(points).float()[None], camera)
    framed = in_frame(pixels, depth, camera.size)[0].numpy()
    candidates = np.flatnonzero((cosine > COSINES[0]) & framed)
    scale = torch.tensor([trust.shape[1] / camera.size[1], trust.shape[0] / camera.size[0]])
    held = sample_views(torch.from_numpy(trust)[None, None], pixels[:, candidates] * scale)[0, 0].numpy()
    candidates, held = candidates[held > 0], held[held > 0]
    start = points[candidates] + OFFSET * (normals[candidates] + towards[candidates])
    hits = caster.cast(start, towards[candidates])
    hit = hits.face >= 0
    where = np.einsum("pk,pki->pi", hits.weights[hit], caster.vertices[caster.faces[hits.face[hit]]])
    hidden = np.zeros(len(candidates), bool)
    hidden[hit] = np.linalg.norm(where - start[hit], axis=-1) < distance[candidates][hit]
    seen, held = candidates[~hidden], held[~hidden]
    return seen, (held * _ramp(cosine[seen], *COSINES)).astype(np.float32), cosine[seen].astype(np.float32)


def _trust(mask: Tensor, camera: Cameras, caster: CpuBackend) -> tuple[NDArray[np.float32], float]:
    """How far a picture is to be trusted, in [0, 1] per pixel at TRUST_EDGE or below, and the overlap of its mask with
    the mesh's outline: 0 at the outline of either and at edges in depth, rising to 1 over FEATHER of the frame."""
    factor = min(1.0, TRUST_EDGE / max(mask.shape))
    size = (max(1, round(mask.shape[0] * factor)), max(1, round(mask.shape[1] * factor)))
    small = F.interpolate(mask[None, None], size, mode="area")[0, 0].numpy()
    view = camera.resized(size)
    rays = camera_rays(view)
    origins, directions = (x.reshape(-1, 3).double().numpy() for x in (rays.origins, rays.directions))
    hits = caster.cast(origins, directions)
    hit = hits.face >= 0
    depth = np.full(len(hit), np.inf)
    where = np.einsum("pk,pki->pi", hits.weights[hit], caster.vertices[caster.faces[hits.face[hit]]])
    depth[hit] = (where - origins[hit]) @ view.forward[0].double().numpy()
    depth, there = depth.reshape(size), hit.reshape(size)
    solid = small > 0.5
    union = (solid | there).sum()
    overlap = float((solid & there).sum() / union) if union else 0.0
    near = ndimage.minimum_filter(np.where(there, depth, np.inf), 3)
    far = ndimage.maximum_filter(np.where(there, depth, -np.inf), 3)
    whole = (small > 0.98) & there & (far - near < JUMP)
    padded = np.pad(whole, 1)  # beyond the frame there is nothing
    distance = ndimage.distance_transform_edt(padded)[1:-1, 1:-1]  # type: ignore[index]
    return _ramp(distance, 1.0, 1.0 + FEATHER * max(size)).astype(np.float32), overlap


def _ramp(x: NDArray[np.floating], low: float, high: float) -> NDArray[np.floating]:
    """0 up to `low`, 1 from `high`, smooth between."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)
