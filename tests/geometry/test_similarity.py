"""Frames of their own: there and back, by hand and through pictures."""

from __future__ import annotations

import torch
from torch import Tensor

from one2345.geometry import Cameras, Rays, Similarity, camera_rays, intrinsics, look_at, project


def frame() -> Similarity:
    """Two frames with rotations of determinant 1, far from one another."""
    generator = torch.Generator().manual_seed(0)
    pose = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    for index in range(2):
        q, r = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator))
        q = q * torch.diag(r).sign()
        q[:, 0] *= torch.linalg.det(q)
        pose[index, :3, :3] = q
    pose[:, :3, 3] = torch.tensor([[0.3, -1.0, 0.2], [-2.0, 0.1, 0.7]])
    return Similarity(pose=pose, scale=torch.tensor([0.4, 1.7], dtype=torch.float64))


def points(*shape: int) -> Tensor:
    return torch.randn(2, *shape, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, atol=1e-12, rtol=1e-12)


def test_points_by_hand() -> None:
    quarter = torch.tensor([[0.0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])  # local x is world y
    one = Similarity(pose=quarter[None], scale=torch.tensor([2.0]))
    local = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [0, 0, 3]]])
    world = torch.tensor([[[5.0, 8, 7], [3, 6, 7], [5, 6, 13]]])
    close(one.points_to_world(local), world)
    close(one.points_to_local(world), local)
    turned = torch.tensor([[[0.0, 1, 0], [-1, 0, 0], [0, 0, 3]]])  # neither moved nor scaled
    close(one.directions_to_world(local), turned)
    close(one.directions_to_local(turned), local)
    close(one.lengths_to_world(torch.tensor([[3.0]])), torch.tensor([[6.0]]))
    close(one.lengths_to_local(torch.tensor([[3.0]])), torch.tensor([[1.5]]))


def test_world_is_rotation_times_scaled_local_plus_translation() -> None:
    similarity, local = frame(), points(4, 5)
    for index in range(2):
        rotation, translation = similarity.pose[index, :3, :3], similarity.pose[index, :3, 3]
        want = (similarity.scale[index] * local[index]) @ rotation.T + translation
        close(similarity.points_to_world(local)[index], want)
        close(similarity.directions_to_world(local)[index], local[index] @ rotation.T)


def test_there_and_back() -> None:
    similarity = frame()
    for shape in ((), (7,), (4, 5)):
        x = points(*shape)
        close(similarity.points_to_world(similarity.points_to_local(x)), x)
        close(similarity.points_to_local(similarity.points_to_world(x)), x)
        close(similarity.directions_to_world(similarity.directions_to_local(x)), x)
        lengths = x[..., 0]
        close(similarity.lengths_to_world(similarity.lengths_to_local(lengths)), lengths)


def test_lengths_are_those_between_points() -> None:
    similarity, x = frame(), points(6)
    moved = similarity.points_to_world(x)
    for index, scale in enumerate((0.4, 1.7)):
        close(torch.cdist(moved[index], moved[index]), scale * torch.cdist(x[index], x[index]))
    apart = (x[:, 1:] - x[:, :-1]).norm(dim=-1)
    close(similarity.lengths_to_world(apart), (moved[:, 1:] - moved[:, :-1]).norm(dim=-1))
    turned = similarity.directions_to_world(x)
    close(turned.norm(dim=-1), x.norm(dim=-1))


def cameras() -> Cameras:
    eyes = points(3) * 0.3 + torch.tensor([2.0, -1.0, 1.0], dtype=torch.float64)
    K = intrinsics((24, 32)).double().expand(2, 3, 3, 3)
    return Cameras(K=K, c2w=look_at(eyes), size=(24, 32))


def test_local_cameras_show_the_same_pixels() -> None:
    similarity, world = frame(), cameras()
    local = similarity.cameras_to_local(world)
    x = points(9) * 0.2
    pixels, depth = project(x[:, None], world)
    there, its_depth = project(similarity.points_to_local(x)[:, None], local)
    close(there, pixels)
    close(similarity.lengths_to_world(its_depth), depth)
    assert local.size == world.size
    close(local.K, world.K)


def test_local_cameras_cast_the_same_rays() -> None:
    similarity, world = frame(), cameras()
    rays, local = camera_rays(world), camera_rays(similarity.cameras_to_local(world))
    t = torch.full(rays.origins.shape[:-1], 0.8, dtype=torch.float64)
    own = Rays(
        origins=similarity.points_to_local(rays.origins),
        directions=similarity.directions_to_local(rays.directions),
    )
    close(local.origins, own.origins)
    close(local.directions, own.directions)
    close(similarity.points_to_world(local.at(similarity.lengths_to_local(t))), rays.at(t))


def test_a_single_view_per_object_and_precision() -> None:
    similarity, world = frame(), cameras()
    one = similarity.cameras_to_local(world[:, 0])
    close(one.c2w, similarity.cameras_to_local(world).c2w[:, 0])
    narrow = similarity.cameras_to_local(world.to(torch.float32))
    assert narrow.c2w.dtype == torch.float32
    torch.testing.assert_close(narrow.c2w[:, 0], one.c2w.float(), atol=1e-5, rtol=0)
    assert similarity.points_to_local(points(2).float()).dtype == torch.float32


def test_slices() -> None:
    similarity, x = frame(), points(3)
    assert len(similarity) == 2
    assert len(similarity[1:]) == 1
    close(similarity[1:].points_to_local(x[1:]), similarity.points_to_local(x)[1:])
