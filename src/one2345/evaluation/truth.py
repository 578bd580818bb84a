"""What is known of an object, and a mesh measured against it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from one2345.errors import EmptySurfaceError, InputError
from one2345.geometry import Cameras, Mesh
from one2345.geometry.area_sampling import faces_at, uniform_weights
from one2345.objects.mesh_object import MeshObject
from one2345.seeding import numpy_rng
from one2345.views import ObjectRecord, PosedViews

from .metrics import chamfer, cloud_distances, fscore, normal_consistency, psnr, ssim, volume_iou
from .metrics.modules import f_name
from .occupancy import grid_occupancy
from .protocol import EvaluationProtocol


@dataclass(frozen=True)
class Truth:
    """Ground truth in the world frame, longest edge 0.8.

    points, normals (n, 3): uniform by area. occupancy: resolution → (r, r, r) bool at the nodes of
    `evaluation_box(r)`. views: pictures to compare with, in order of azimuth, or None.
    """

    id: str
    points: NDArray[np.float32]
    normals: NDArray[np.float32]
    occupancy: Mapping[int, NDArray[np.bool_]] = field(default_factory=dict[int, NDArray[np.bool_]])
    views: PosedViews | None = None

    @staticmethod
    def from_record(record: ObjectRecord) -> Truth:
        """Stored samples and target views of a prepared object (its source views where it has no targets)."""
        samples = record.samples()
        chosen = record.indices("target") or record.source_indices()
        views = record.views(chosen, depth=record.has_depth, normals=record.has_normals) if chosen else None
        if views is not None:
            views = views[by_azimuth(views.cameras)]
        return Truth(
            id=record.id,
            points=samples.surface_points.numpy(),
            normals=samples.surface_normals.numpy(),
            occupancy={r: grid.numpy() for r, grid in samples.occupancy.items()},
            views=views,
        )


def by_azimuth(cameras: Cameras) -> torch.Tensor:
    """(v,) the order in which `Truth` keeps its views: by azimuth from 0, file order among equals."""
    x, y = cameras.centres[:, 0], cameras.centres[:, 1]
    return torch.argsort(torch.atan2(x, -y) % (2 * torch.pi), stable=True)


@dataclass(frozen=True)
class Drawn:
    """A mesh seen by the truth's cameras. rgb, normal (v, 3, h, w); mask (v, h, w)."""

    rgb: torch.Tensor
    normal: torch.Tensor
    mask: torch.Tensor


def draw(mesh: Mesh, cameras: Cameras) -> Drawn:
    """Albedo, normals and mask of `mesh` as it stands."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an open prediction is measured as it is
        render = MeshObject(mesh, id="prediction", normalise=False).render(cameras)
    return Drawn(render.rgb, render.normal, render.mask)


def sample_mesh(
    mesh: Mesh, count: int, *, seed: int, object_id: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`count` points (n, 3) uniform by area (stratified) and the unit normals of their faces."""
    rng = numpy_rng(seed, object_id, "surface")
    total = np.cumsum(mesh.areas())
    if not total[-1] > 0:
        raise EmptySurfaceError("the mesh has no area")
    face = faces_at(total, (np.arange(count) + rng.random(count)) / count)
    weights = uniform_weights(rng, count)
    return np.einsum("pk,pki->pi", weights, mesh.triangles[face]), mesh.face_normals()[face]


def evaluate_mesh(
    mesh: Mesh, truth: Truth, protocol: EvaluationProtocol, *, drawn: Drawn | None = None
) -> dict[str, float]:
    """Every score of `protocol` that `mesh` and `truth` allow, by column.

    psnr and ssim come from `drawn`, and only for a mesh with colours. Raises EmptySurfaceError for a mesh
    without faces and InputError when the truth lacks an occupancy grid.
    """
    if mesh.is_empty:
        raise EmptySurfaceError("the mesh has no faces")
    missing = sorted(set(protocol.resolutions) - set(truth.occupancy))
    if missing:
        raise InputError(
            f"{truth.id}: no occupancy grid of resolution {missing}; stored: {sorted(truth.occupancy)}"
        )
    points, normals = sample_mesh(mesh, protocol.points, seed=protocol.seed, object_id=truth.id)
    true_points, true_normals = truth.points[: protocol.points], truth.normals[: protocol.points]
    distances = cloud_distances(points, true_points, normals, true_normals, unit=protocol.edge)
    grids = grid_occupancy(mesh, protocol.resolutions)
    scores = {f"iou_{r}": volume_iou(grid, truth.occupancy[r]) for r, grid in grids.items()}
    scores["chamfer"], scores["chamfer_squared"] = chamfer(distances)
    for threshold, value in zip(protocol.thresholds, fscore(distances, protocol.thresholds), strict=True):
        scores[f_name(threshold)] = value
    scores["normal_consistency"] = normal_consistency(distances)
    has_colour = mesh.colours is not None or mesh.texture is not None
    if drawn is not None and truth.views is not None and has_colour and protocol.views:
        scores |= view_scores(drawn.rgb, truth.views)
    return scores


def view_scores(images: torch.Tensor, views: PosedViews, suffix: str = "") -> dict[str, float]:
    """psnr and ssim of pictures (v, 3, h, w) at the cameras of `views`."""
    images = images.detach().float().cpu()
    return {f"psnr{suffix}": psnr(images, views.images), f"ssim{suffix}": ssim(images, views.images)}
