"""Examples in frames of their own."""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from tests.training.scenes import sphere_batch
from torch import Tensor

from one2345.data.batch import SceneBatch
from one2345.geometry import Cameras, Similarity, orbit_cameras, project


def turned() -> Similarity:
    """Two frames: a quarter turn about z and one about x, at half and at twice the size."""
    pose = torch.eye(4).repeat(2, 1, 1)
    pose[0, :3, :3] = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    pose[1, :3, :3] = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    pose[:, :3, 3] = torch.tensor([[0.1, 0.2, -0.3], [-0.4, 0.0, 0.2]])
    return Similarity(pose=pose, scale=torch.tensor([0.5, 2.0]))


def example() -> SceneBatch:
    batch = sphere_batch(objects=2, rays=8)
    reference = orbit_cameras([5.0], [30.0], size=32)
    return replace(batch, reference=Cameras.stack([reference] * 2))


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, atol=2e-6, rtol=1e-5)


def to_local(points: Tensor) -> Tensor:
    """By hand: what `turned` makes of points (2, p, 3)."""
    x, y, z = (points[0] - torch.tensor([0.1, 0.2, -0.3])).unbind(-1)
    first = torch.stack([y, -x, z], -1) * 2
    x, y, z = (points[1] - torch.tensor([-0.4, 0.0, 0.2])).unbind(-1)
    return torch.stack([first, torch.stack([x, z, -y], -1) / 2])


def test_positions_directions_and_lengths() -> None:
    batch = example()
    local = batch.in_frame(turned())
    for name in ("sdf_points", "surface_points"):
        close(getattr(local, name), to_local(getattr(batch, name)))
    close(local.rays.origins, to_local(batch.rays.origins))
    smaller = torch.tensor([2.0, 0.5])[:, None]
    assert batch.rays.t is not None and local.rays.t is not None
    close(local.rays.t, batch.rays.t * smaller)
    close(local.sdf_values, batch.sdf_values * smaller)
    assert batch.target_depth is not None and local.target_depth is not None
    close(local.target_depth, batch.target_depth * smaller[..., None, None])
    for got, given in (
        (local.rays.directions, batch.rays.directions),
        (local.surface_normals, batch.surface_normals),
    ):
        close(got.norm(dim=-1), torch.ones(got.shape[:2]))
        moved = to_local(batch.surface_points[:, :1] + given) - to_local(batch.surface_points[:, :1])
        close(got * smaller[..., None], moved)


def test_rays_end_where_they_did() -> None:
    batch = example()
    local = batch.in_frame(turned())
    ends = []
    for rays in (batch.rays, local.rays):
        assert rays.t is not None
        ends.append(rays.origins + rays.t[..., None] * rays.directions)
    close(ends[1], to_local(ends[0]))


def test_labels_are_still_the_distances_to_the_surface() -> None:
    local = example().in_frame(turned())
    centre = to_local(torch.zeros(2, 1, 3))
    radius = 0.22 * torch.tensor([2.0, 0.5])[:, None]
    close(local.sdf_values, (local.sdf_points - centre).norm(dim=-1) - radius)
    close(local.surface_normals * radius[..., None], local.surface_points - centre)


def test_cameras_show_the_same() -> None:
    batch = example()
    local = batch.in_frame(turned())
    for name in ("cameras", "reference", "target_cameras"):
        world, own = getattr(batch, name), getattr(local, name)
        pixels, depth = project(batch.surface_points[:, None], world)
        there, its_depth = project(local.surface_points[:, None], own)
        torch.testing.assert_close(there, pixels, atol=1e-3, rtol=0)
        close(its_depth, depth * torch.tensor([2.0, 0.5])[:, None, None])


def test_what_is_not_of_the_frame_stays() -> None:
    batch = example()
    local = batch.in_frame(turned())
    changed = {
        "cameras", "reference", "target_cameras", "rays", "sdf_points", "sdf_values", "surface_points",
        "surface_normals", "target_depth",
    }  # fmt: skip
    for field in fields(SceneBatch):
        if field.name not in changed:
            assert getattr(local, field.name) is getattr(batch, field.name), field.name
    assert local.rays.rgb is batch.rays.rgb and local.rays.mask is batch.rays.mask


def test_what_is_absent_stays_absent() -> None:
    batch = example()
    bare = replace(
        batch, reference=None, target_cameras=None, target_depth=None, rays=replace(batch.rays, t=None)
    )
    local = bare.in_frame(turned())
    assert local.reference is local.target_cameras is local.target_depth is local.rays.t is None
