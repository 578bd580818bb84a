import torch

from one2345.geometry import Box, Cameras, camera_rays, orbit_cameras, z_per_t
from one2345.rendering import RenderSettings, render_views

SMALL = RenderSettings(coarse=32, fine=32)


def traced(cameras, radius):
    """Closed-form pictures of a sphere at the origin: mask (v, h, w) and z-depth (v, h, w)."""
    rays = camera_rays(cameras)
    b = (rays.origins * rays.directions).sum(-1)
    discriminant = b**2 - (rays.origins**2).sum(-1) + radius**2
    t = -b - discriminant.clamp_min(0).sqrt()
    mask = discriminant > 0
    return mask, torch.where(mask, t * z_per_t(cameras, rays.directions), 0.0), rays


def test_pictures_of_a_sphere(spheres):
    cameras = orbit_cameras([0.0, 60.0], [20.0, -30.0], size=24)
    field = spheres([0.35], tilt=0.0)
    views = render_views(field, cameras, Box(), inv_s=2000.0, settings=SMALL, chunk=333)
    mask, depth, rays = traced(cameras, 0.35)
    assert views.rgb.shape == views.normal.shape == (2, 3, 24, 24)
    assert not views.rgb.requires_grad
    assert ((views.mask > 0.5) != mask).sum() <= 8  # the rim may fall either way
    inner, _, _ = traced(cameras, 0.33)
    torch.testing.assert_close(views.depth[inner], depth[inner], atol=3e-3, rtol=0)
    points = rays.origins + (depth / z_per_t(cameras, rays.directions))[..., None] * rays.directions
    normal = views.normal.movedim(1, -1)
    torch.testing.assert_close(normal[inner], points[inner] / 0.35, atol=0.03, rtol=0)
    torch.testing.assert_close(
        views.rgb.movedim(1, -1)[inner], torch.full((int(inner.sum()), 3), 0.4), atol=5e-3, rtol=0
    )
    empty = ~traced(cameras, 0.37)[0]
    assert (views.rgb.movedim(1, -1)[empty] > 0.99).all()
    assert (views.depth[empty] == 0).all()
    assert (views.normal.movedim(1, -1)[empty] == 0).all()


def test_chunks_and_batches_do_not_matter(spheres):
    cameras = orbit_cameras([0.0, 90.0], [10.0, 10.0], size=12)
    one = render_views(spheres([0.3]), cameras, Box(), inv_s=200.0, settings=SMALL, chunk=10_000)
    pieces = render_views(spheres([0.3]), cameras, Box(), inv_s=200.0, settings=SMALL, chunk=37)
    torch.testing.assert_close(one.rgb, pieces.rgb)
    batch = render_views(
        spheres([0.3, 0.2]), Cameras.stack([cameras, cameras]), Box(), inv_s=200.0, settings=SMALL, chunk=100
    )
    assert batch.rgb.shape == (2, 2, 3, 12, 12)
    for name in ("rgb", "depth", "normal", "mask"):
        torch.testing.assert_close(getattr(batch, name)[0], getattr(one, name))
    assert batch.mask[1].sum() < batch.mask[0].sum()


def test_only_rays_that_meet_the_box_are_asked(spheres):
    field, cameras = spheres([0.1]), orbit_cameras([0.0], [0.0], size=16)
    box = Box(half_edge=0.15)
    render_views(field, cameras, box, inv_s=200.0, settings=SMALL)
    hit = int(box.ray_interval(camera_rays(cameras))[2].sum())
    assert 0 < hit < 256
    assert [c[1] for c in field.calls if c[0] == "sdf_and_gradient"] == [hit * 64]
    # A camera that looks away sees nothing, and asks for nothing.
    field.calls.clear()
    away = Cameras(
        K=cameras.K, c2w=cameras.c2w @ torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0])), size=cameras.size
    )
    views = render_views(field, away, box, inv_s=200.0, settings=SMALL)
    assert field.calls == []
    assert (views.rgb == 1).all()
