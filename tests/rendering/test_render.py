import pytest
import torch

from one2345.errors import InputError
from one2345.rendering import RenderSettings, render_rays
from one2345.rendering.colours import pack

SMALL = RenderSettings(coarse=32, fine=32, rounds=4)


def rays(count=9, objects=1, spread=0.2, seed=0):
    """Rays from y = -1.2 towards +y, offset in x and z."""
    g = torch.Generator().manual_seed(seed)
    offset = (torch.rand(objects, count, 2, generator=g) * 2 - 1) * spread
    origins = torch.stack([offset[..., 0], torch.full((objects, count), -1.2), offset[..., 1]], -1)
    directions = torch.tensor([0.0, 1.0, 0.0]).expand_as(origins)
    return origins, directions, torch.full((objects, count), 0.7), torch.full((objects, count), 1.7)


def true_t(origins, radius):
    return 1.2 - (radius**2 - origins[..., 0] ** 2 - origins[..., 2] ** 2).sqrt()


def test_depth_of_a_sphere_converges_to_the_truth(spheres):
    field, (o, d, near, far) = spheres([0.35]), rays()
    errors = []
    for inv_s in (20.0, 80.0, 320.0, 1280.0):
        out = render_rays(field, o, d, near, far, inv_s=inv_s)
        errors.append((out.t / out.weights_sum - true_t(o, 0.35)).abs().mean().item())
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    assert errors[2] < 5e-5
    assert errors[3] < 5e-5
    normal = torch.nn.functional.normalize(out.normal, dim=-1)
    expected = (o + true_t(o, 0.35)[..., None] * d) / 0.35
    torch.testing.assert_close(normal, expected, atol=5e-3, rtol=0)


def test_depth_of_a_plane_is_unbiased_even_when_blurred():
    class Plane:
        def sdf(self, points):
            return -points[..., 1]

        def sdf_and_gradient(self, points):
            return -points[..., 1], torch.tensor([0.0, -1.0, 0.0]).expand_as(points)

        def colour(self, points, directions):
            return torch.zeros_like(points), torch.ones(points.shape[:2])

    o, d, near, far = rays()
    out = render_rays(Plane(), o, d, near, far, inv_s=30.0, settings=RenderSettings(coarse=128, fine=0))
    torch.testing.assert_close(out.t / out.weights_sum, torch.full_like(out.t, 1.2), atol=2e-3, rtol=0)
    assert (out.weights_sum > 0.999).all()
    assert out.rgb.max() < 0.01


def test_one_call_at_the_midpoints_and_sampling_without_gradient(spheres):
    field, (o, d, near, far) = spheres([0.35]), rays(count=5)
    out = render_rays(field, o, d, near, far, inv_s=200.0, settings=SMALL)
    assert [c for c in field.calls if c[0] == "sdf_and_gradient"] == [("sdf_and_gradient", 5 * 64, True)]
    assert [c[1:] for c in field.calls if c[0] == "sdf"] == [(5 * 32, False)] + [(5 * 8, False)] * 3
    assert len([c for c in field.calls if c[0] == "colour"]) == 1
    t = (out.points - o[:, :, None]).norm(dim=-1)
    torch.testing.assert_close((out.weights * t).sum(-1), out.t)
    # Mid-points: the last one is half a coarse step beyond the last node, which is `far` without noise.
    torch.testing.assert_close(t[..., -1], far + 0.5 * (far - near) / 32)


def test_colour_is_asked_only_where_weight_is_and_within_the_bound(spheres):
    field, (o, d, near, far) = spheres([0.3]), rays(count=40, spread=0.45)
    exact = render_rays(field, o, d, near, far, inv_s=100.0, settings=RenderSettings(colour_eps=0.0))
    for eps in (1e-4, 1e-3):
        field.calls.clear()
        out = render_rays(field, o, d, near, far, inv_s=100.0, settings=RenderSettings(colour_eps=eps))
        asked = [c[1] for c in field.calls if c[0] == "colour"]
        assert asked == [out.active.sum().item()]
        assert asked[0] < 0.5 * out.weights.numel()
        left_out = (out.weights * ~out.active).sum(-1)
        difference = (out.rgb - exact.rgb).abs().amax(-1)
        assert (difference <= left_out + 1e-6).all()
        assert (left_out <= 128 * eps).all()
        torch.testing.assert_close(out.weights_sum, exact.weights_sum)
    full = (exact.weights[..., None] * (0.4 + 0.3 * exact.points).clamp(0, 1)).sum(2)
    torch.testing.assert_close(exact.rgb, full + 1 - exact.weights_sum[..., None])


def test_colour_query_gets_the_right_points_and_directions(spheres):
    field, (o, d, near, far) = spheres([0.3, 0.2]), rays(count=6, objects=2)
    d = torch.nn.functional.normalize(
        d + 0.1 * torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(1)), dim=-1
    )
    out = render_rays(field, o, d, near, far, inv_s=100.0, settings=SMALL)
    for i in range(2):
        count = out.active[i].sum()
        torch.testing.assert_close(field.seen_points[i, :count], out.points[i][out.active[i]])
        expected = -d[i][:, None].expand(-1, 64, -1)[out.active[i]]
        torch.testing.assert_close(field.seen_directions[i, :count], expected)


def test_pack_pads_per_object():
    active = torch.tensor([[True, False, True, True], [False, False, False, True], [False] * 4])
    index, real = pack(active)
    assert real.tolist() == [[True] * 3, [True, False, False], [False] * 3]
    assert index.tolist() == [[0, 2, 3], [3, 0, 0], [0, 0, 0]]
    index, real = pack(torch.zeros(2, 4, dtype=torch.bool))
    assert index.shape == (2, 1)
    assert not real.any()


def test_a_batch_equals_its_objects(spheres):
    o, d, near, far = rays(count=7, objects=2, spread=0.3)
    both = render_rays(spheres([0.35, 0.15]), o, d, near, far, inv_s=150.0, settings=SMALL)
    for i, radius in enumerate((0.35, 0.15)):
        one = render_rays(
            spheres([radius]),
            o[i : i + 1],
            d[i : i + 1],
            near[i : i + 1],
            far[i : i + 1],
            inv_s=150.0,
            settings=SMALL,
        )
        torch.testing.assert_close(both.rgb[i], one.rgb[0])
        torch.testing.assert_close(both.t[i], one.t[0])


def test_deterministic_given_noise(spheres):
    field, (o, d, near, far) = spheres([0.3]), rays()
    noise = torch.rand(1, 9, 32, generator=torch.Generator().manual_seed(3))
    a, b = (render_rays(field, o, d, near, far, inv_s=60.0, settings=SMALL, noise=noise) for _ in range(2))
    c = render_rays(field, o, d, near, far, inv_s=60.0, settings=SMALL, noise=1 - noise)
    assert torch.equal(a.rgb, b.rgb)
    assert not torch.equal(a.rgb, c.rgb)


def test_rays_that_miss_the_box_are_background(spheres):
    field, (o, d, near, far) = spheres([0.3]), rays(count=4)
    near, far = near.clone(), far.clone()
    near[0, 1], far[0, 1] = 3e8, -3e8
    out = render_rays(
        field, o, d, near, far, inv_s=100.0, settings=SMALL, background=torch.tensor([1.0, 0.5, 0.0])
    )
    assert out.hit.tolist() == out.valid.tolist() == [[True, False, True, True]]
    assert out.rgb[0, 1].tolist() == [1.0, 0.5, 0.0]
    assert out.weights_sum[0, 1] == out.t[0, 1] == 0
    assert out.points.abs().max() < 10
    (out.rgb.sum() + out.gradient.sum() + out.t.sum()).backward()
    assert torch.isfinite(field.radius.grad).all()


def test_empty_space_is_white_and_still_reaches_the_parameters(spheres):
    field, (o, d, near, far) = spheres([0.05]), rays(count=4)
    out = render_rays(field, o + torch.tensor([0.4, 0.0, 0.0]), d, near, far, inv_s=1e4, settings=SMALL)
    assert not out.active.any()
    assert (out.rgb == 1).all()
    assert out.valid.all()
    out.rgb.sum().backward()
    assert field.base.grad is not None
    assert (field.base.grad == 0).all()


def test_rays_of_unseen_points_are_not_valid(spheres):
    o, d, near, far = rays(spread=0.1)
    out = render_rays(spheres([0.3], views=1), o, d, near, far, inv_s=100.0, settings=SMALL)
    assert out.valid.all()
    strict = RenderSettings(coarse=32, fine=32, min_views=2)
    assert not render_rays(spheres([0.3], views=1), o, d, near, far, inv_s=100.0, settings=strict).valid.any()


def test_gradients_match_finite_differences(spheres):
    field, (o, d, near, far) = spheres([0.3]), rays(spread=0.2)
    field = field.double()
    o, d, near, far = (x.double() for x in (o, d, near, far))
    settings = RenderSettings(coarse=64, fine=0, colour_eps=0.0)  # fixed samples, as the gradient sees them
    inv_s = torch.tensor(50.0, dtype=torch.float64, requires_grad=True)

    def loss():
        out = render_rays(field, o, d, near, far, inv_s=inv_s, settings=settings, anneal=0.7)
        return out.rgb.sum() + out.t.sum()

    loss().backward()
    for parameter, step in ((field.radius, 1e-6), (field.base, 1e-6), (inv_s, 1e-4)):
        flat = parameter.data.view(-1)
        flat[0] += step
        up = loss().item()
        flat[0] -= 2 * step
        down = loss().item()
        flat[0] += step
        assert parameter.grad.view(-1)[0].item() == pytest.approx(
            (up - down) / (2 * step), rel=1e-4, abs=1e-7
        )
        assert abs(parameter.grad.view(-1)[0].item()) > 1e-4


def test_a_sphere_grows_to_its_picture(spheres):
    target, field, (o, d, near, far) = spheres([0.35]), spheres([0.2]), rays(count=60, spread=0.5)
    truth = render_rays(target, o, d, near, far, inv_s=60.0, settings=SMALL).weights_sum.detach()
    optimiser = torch.optim.Adam([field.radius], lr=0.02)
    for _ in range(20):
        out = render_rays(field, o, d, near, far, inv_s=60.0, settings=SMALL)
        optimiser.zero_grad()
        (out.weights_sum - truth).abs().mean().backward()
        optimiser.step()
    assert field.radius.item() == pytest.approx(0.35, abs=0.03)


@pytest.mark.parametrize(
    ("bad", "word"),
    [({"coarse": 1}, "coarse"), ({"fine": 30, "rounds": 4}, "rounds=4"), ({"rounds": 0}, "rounds=0")],
)
def test_settings_that_cannot_work(bad, word):
    with pytest.raises(InputError, match=word):
        RenderSettings(**bad)


def test_settings_sharpness():
    assert RenderSettings().sharpness == (64.0, 128.0, 256.0, 512.0)
    assert RenderSettings(fine=0).sharpness == ()
    assert RenderSettings().samples == 128
