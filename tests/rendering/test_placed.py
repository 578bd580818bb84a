"""A sphere in a frame of its own against the same sphere in the world."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from one2345.geometry import Box, Cameras, Similarity, look_at, orbit_cameras
from one2345.rendering import PlacedField, RenderSettings, render_views

SETTINGS = RenderSettings(coarse=32, fine=32)
TILTED = torch.linalg.qr(torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 10]])).Q
TILTED = TILTED * torch.linalg.det(TILTED)


@dataclass
class Sphere:
    """b spheres of `radii` about `centres`; colours are linear in what `paint` (b, 3, 3) makes of the normal."""

    centres: Tensor
    radii: Tensor
    paint: Tensor
    box: Box

    def _away(self, points: Tensor) -> Tensor:
        return points - self.centres[:, None]

    def sdf(self, points: Tensor) -> Tensor:
        return self._away(points).norm(dim=-1) - self.radii[:, None]

    def sdf_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        return self.sdf(points), F.normalize(self._away(points), dim=-1)

    def colour(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        facing = (F.normalize(self._away(points), dim=-1) + 0.3 * directions) @ self.paint.mT
        return 0.5 + 0.3 * facing, torch.full(points.shape[:2], 2)

    def surface_sdf(self, points: Tensor) -> Tensor:
        return self.sdf(points) + 0.01

    def surface_colour(self, points: Tensor, normals: Tensor) -> Tensor:
        return self.colour(points, normals)[0]

    def only(self, index: int) -> Sphere:
        one = slice(index, index + 1)
        return Sphere(self.centres[one], self.radii[one], self.paint[one], self.box)


def frames() -> Similarity:
    pose = torch.eye(4).repeat(2, 1, 1)
    pose[:, :3, :3] = torch.stack([TILTED, TILTED.T])
    pose[:, :3, 3] = torch.tensor([[0.1, 0.05, -0.08], [-0.2, 0.1, 0.1]])
    return Similarity(pose=pose, scale=torch.tensor([0.5, 0.8]))


def placed() -> tuple[PlacedField, Sphere]:
    """Two spheres in frames of their own, and the same in the world."""
    frame = frames()
    tilted = torch.eye(4)
    tilted[:3, :3], tilted[:3, 3] = TILTED.T, torch.tensor([0.1, 0.0, 0.05])
    box = Box(half_edge=0.9, resolution=24, pose=tilted, align_corners=True)
    centres, radii = torch.tensor([[0.2, -0.1, 0.1], [-0.1, 0.2, 0.0]]), torch.tensor([0.6, 0.35])
    local = Sphere(centres, radii, torch.eye(3).repeat(2, 1, 1), box)
    world = Sphere(
        frame.points_to_world(centres[:, None])[:, 0],
        frame.lengths_to_world(radii),
        frame.pose[:, :3, :3].mT,  # the world's normals, turned into the frames
        Box(half_edge=1.5),
    )
    return PlacedField(local, frame), world


def views() -> Cameras:
    return Cameras.stack([orbit_cameras([20.0, 200.0], [10.0, 40.0], size=32)] * 2)


def test_pictures_are_those_of_the_sphere_in_the_world() -> None:
    field, sphere = placed()
    own = render_views(field, views(), inv_s=2000.0, settings=SETTINGS)
    for index, scale in enumerate((0.5, 0.8)):
        # Sharpness is in the field's own units: per world unit it is divided by the scale.
        want = render_views(
            sphere.only(index), views()[index : index + 1], inv_s=2000.0 / scale, settings=SETTINGS
        )
        both = ((own.mask[index] > 0.5) & (want.mask[0] > 0.5)).float()
        assert both.sum() > 100
        # The boxes differ, and so do the samples: pixels at the rim may.
        assert ((own.mask[index] - want.mask[0]).abs() > 1e-2).float().mean() < 0.02
        sure = F.max_pool2d(1 - both, 3, stride=1, padding=1) == 0
        assert sure.sum() > 80
        assert ((own.depth[index] - want.depth[0]).abs() * sure).max() < 2e-3
        assert ((own.normal[index] - want.normal[0]).abs() * sure[:, None]).max() < 2e-2
        assert ((own.rgb[index] - want.rgb[0]).abs() * sure[:, None]).max() < 2e-2


def test_pictures_without_a_batch() -> None:
    field, _ = placed()
    batched = render_views(field, views(), inv_s=200.0, settings=SETTINGS)
    single = render_views(field.only(1), views()[1], inv_s=200.0, settings=SETTINGS)
    for name in ("rgb", "depth", "normal", "mask"):
        torch.testing.assert_close(getattr(single, name), getattr(batched, name)[1])


def test_distances_gradients_and_colours_are_the_worlds() -> None:
    field, sphere = placed()
    points = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(0))
    directions = F.normalize(torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(1)), dim=-1)
    sdf, gradient = field.sdf_and_gradient(points)
    wanted_sdf, wanted_gradient = sphere.sdf_and_gradient(points)
    torch.testing.assert_close(sdf, wanted_sdf, atol=1e-5, rtol=0)
    torch.testing.assert_close(gradient, wanted_gradient, atol=1e-5, rtol=0)
    # The surface that becomes the mesh is the local field's own.
    offset = 0.01 * torch.tensor([[0.5], [0.8]])
    torch.testing.assert_close(field.sdf(points), wanted_sdf + offset, atol=1e-5, rtol=0)
    colours, count = field.colour(points, directions)
    torch.testing.assert_close(colours, sphere.colour(points, directions)[0], atol=1e-5, rtol=0)
    assert count.tolist() == [[2] * 40] * 2
    own = field.surface_colour(points, directions)
    torch.testing.assert_close(own, sphere.surface_colour(points, directions), atol=1e-5, rtol=0)


@pytest.mark.parametrize("index", [0, 1])
def test_the_box_is_the_local_one(index: int) -> None:
    field, sphere = placed()
    one = field.only(index)
    inner, outer = one.local.box, one.box
    assert outer.half_edge == pytest.approx(0.9 * (0.5, 0.8)[index])
    assert (outer.resolution, outer.align_corners) == (24, True)
    nodes = one.frame.points_to_world(inner.nodes().reshape(1, -1, 3))[0]
    torch.testing.assert_close(outer.nodes().reshape(-1, 3), nodes, atol=1e-5, rtol=0)
    assert outer.voxel_size == pytest.approx(inner.voxel_size * (0.5, 0.8)[index])
    normals = F.normalize(torch.randn(200, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    surface = sphere.centres[index] + sphere.radii[index] * normals
    assert outer.to_unit(surface).abs().max() < 1


def test_two_objects_have_no_common_box() -> None:
    with pytest.raises(ValueError, match="2 objects have boxes of their own"):
        _ = placed()[0].box


def test_only() -> None:
    field, _ = placed()
    points = torch.randn(2, 10, 3, generator=torch.Generator().manual_seed(0))
    for index in range(2):
        one = field.only(index)
        assert len(one.frame) == 1
        torch.testing.assert_close(one.sdf(points[index : index + 1])[0], field.sdf(points)[index])


def test_a_camera_inside_the_frame_sees_what_it_sees_in_the_world() -> None:
    """Depth is along the optical axis, in world units, however large the frame is."""
    field, sphere = placed()
    eye = sphere.centres[0] + torch.tensor([0.0, -1.0, 0.0])
    camera = Cameras(
        K=torch.tensor([[[40.0, 0, 8.5], [0, 40.0, 8.5], [0, 0, 1]]]),
        c2w=look_at(eye[None], sphere.centres[:1]),
        size=(17, 17),
    )
    seen = render_views(field.only(0), camera, inv_s=2000.0, settings=SETTINGS)
    assert seen.depth[0, 8, 8].item() == pytest.approx(1 - 0.3, abs=1e-3)
    torch.testing.assert_close(seen.normal[0, :, 8, 8], torch.tensor([0.0, -1.0, 0.0]), atol=5e-3, rtol=0)
