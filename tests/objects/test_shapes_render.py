"""Sphere-traced pictures against closed forms and against brute force."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from one2345.geometry import camera_rays, orbit_cameras, z_per_t
from one2345.objects.shapes import Part, place, random_shape, render_shapes


def test_sphere_closed_form() -> None:
    sphere = place([Part("superquadric", (0.4, 0.4, 0.4, 2.0, 2.0))], id="sphere")
    assert sphere is not None
    cameras = orbit_cameras(torch.tensor([0.0, 77.0]), torch.tensor([10.0, -35.0]), size=64)
    render = sphere.render(cameras)
    rays = camera_rays(cameras)
    along = -(rays.origins * rays.directions).sum(dim=-1)
    gap = 0.4**2 - (rays.origins.square().sum(dim=-1) - along**2)
    mask = gap > 0
    assert ((render.mask > 0.5) == mask).float().mean() > 0.999
    t = along - gap.clamp_min(0.0).sqrt()
    inner = gap > 0.01
    exact = t * z_per_t(cameras, rays.directions)
    assert (render.depth - exact)[inner].abs().max() < 1e-4
    normal = rays.at(t) / 0.4
    assert (render.normal.permute(0, 2, 3, 1) - normal)[inner].abs().max() < 1e-3
    assert (render.rgb.permute(0, 2, 3, 1)[render.mask == 0] == 1.0).all()
    assert (render.depth[render.mask == 0] == 0.0).all()


def test_camera_sees_the_front_from_minus_y() -> None:
    """A bump towards +x and one up: seen from the front (-y), x grows to the right and z upwards."""
    parts = [
        Part("box", (0.1, 0.1, 0.1)),
        Part("box", (0.2, 0.02, 0.02), position=(0.2, 0, 0)),
        Part("box", (0.02, 0.02, 0.2), position=(0, 0, 0.2)),
    ]
    shape = place(parts, id="bumps")
    assert shape is not None
    mask = shape.render(orbit_cameras(torch.tensor([0.0]), torch.tensor([0.0]), size=64)).mask[0]
    rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
    assert mask[rows[0]].nonzero().float().mean() < 32
    assert mask[:, columns[-1]].nonzero().float().mean() > 32


@pytest.mark.parametrize("index", range(6))
def test_first_hit_against_fixed_steps(index: int) -> None:
    """Marching in steps of 1.5e-3 through the occupancy finds the same first surface and nothing before."""
    shape = random_shape(31, index=index)
    cameras = orbit_cameras(torch.tensor([20.0 + 50.0 * index]), torch.tensor([30.0]), size=40)
    render, rays = shape.render(cameras), camera_rays(cameras)
    step = 1.5e-3
    t = torch.arange(0.5, 1.9, step)
    points = rays.origins[..., None, :] + t[:, None] * rays.directions[..., None, :]
    inside = shape.occupancy(points)
    seen = inside.any(dim=-1)
    first = t[inside.float().argmax(dim=-1)]
    mine = render.depth / z_per_t(cameras, rays.directions)
    # The march may step over slivers that the tracer sees, never the other way round.
    assert (render.mask > 0.5)[seen].all()
    assert ((render.mask > 0.5) == seen).float().mean() > 0.99
    assert (mine <= first + 1e-4)[seen].all()
    assert (mine >= first - step - 1e-4)[seen].float().mean() > 0.98
    hit = (rays.origins + mine[..., None] * rays.directions)[render.mask > 0.5]
    assert shape.bound(hit).abs().max() < 4e-4
    facing = (render.normal.permute(0, 2, 3, 1) * rays.directions).sum(dim=-1)[render.mask > 0.5]
    assert (facing < 0.05).float().mean() > 0.99
    assert torch.allclose(render.normal.norm(dim=1)[render.mask > 0.5], torch.ones(1), atol=1e-4)


def test_shapes_rendered_together_equal_alone() -> None:
    shapes = [random_shape(32, index=i) for i in range(4)]
    cameras = [
        orbit_cameras(torch.tensor([30.0 * i, 200.0]), torch.tensor([20.0, 50.0]), size=48) for i in range(4)
    ]
    for shape, views, batched in zip(shapes, cameras, render_shapes(shapes, cameras), strict=True):
        alone = shape.render(views)
        assert (alone.mask == batched.mask).float().mean() > 0.999
        both = (alone.mask * batched.mask) > 0
        assert (alone.depth - batched.depth)[both].abs().max() < 1e-3
        assert (alone.rgb - batched.rgb).abs().mean() < 1e-3
    with pytest.raises(ValueError, match="as many"):
        render_shapes(shapes, cameras[:2])


def test_shading_darkens_and_keeps_the_rest() -> None:
    shape = random_shape(33, index=1)
    cameras = orbit_cameras(torch.tensor([0.0]), torch.tensor([20.0]), size=32)
    plain = shape.render(cameras)
    shaded = dataclasses.replace(shape, shading=0.7).render(cameras)
    assert torch.equal(plain.depth, shaded.depth)
    assert (shaded.rgb <= plain.rgb + 1e-6).all()
    assert shaded.rgb.mean() < plain.rgb.mean()
    with pytest.raises(ValueError, match="shading"):
        dataclasses.replace(shape, shading=2.0).render(cameras)


def test_mesh_agrees_with_the_picture() -> None:
    shape = random_shape(34, index=2)
    mesh = shape.mesh(96)
    assert mesh.colours is not None
    assert shape.sdf(torch.from_numpy(mesh.vertices).float()).abs().median() < 5e-4
    signed = (mesh.triangles[:, 0] * mesh.cross_products()).sum() / 6.0
    grid = shape.grid
    assert signed == pytest.approx(float((grid.values < 0).sum()) * grid.spacing**3, rel=0.05)


@pytest.mark.gpu
def test_gpu_equals_cpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    shapes = [random_shape(35, index=i) for i in range(8)]
    cameras = [orbit_cameras(torch.arange(4) * 90.0, torch.full((4,), 25.0), size=64) for _ in shapes]
    for shape, render in zip(shapes, render_shapes(shapes, [c.to("cuda") for c in cameras]), strict=True):
        alone = shape.render(cameras[0])
        assert (alone.mask == render.mask.cpu()).float().mean() > 0.998
        assert (alone.rgb - render.rgb.cpu()).abs().mean() < 2e-3
