"""Each switch of `Quirks` alone against what its docstring says, worked out by hand."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import product

import pytest
import torch
from torch import Tensor

from one2345.data.batch import SceneBatch, TargetRays
from one2345.errors import InputError
from one2345.geometry import Cameras, Rays, look_at
from one2345.models import SparseNeus
from one2345.models.norms import BatchNorm, Statistics
from one2345.models.sparseneus import Quirks
from one2345.models.sparseneus.field import NEAREST, CubeField
from one2345.models.sparseneus.lifting import lift, view_positions
from one2345.models.sparseneus.volume_net import Sites, SiteVolumeNet
from one2345.models.volume_lookup import FeatureVolume
from one2345.rendering import RenderSettings, hierarchical
from one2345.training.terms import StepTerms, TermSettings

SIZE, FOCAL = 33, 16.0
NAMES = [field.name for field in fields(Quirks)]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def looking_along_z(*places: tuple[float, float, float]) -> Cameras:
    """Cameras of focal length 16 with the world's axes; pixel position (16, 16) is straight ahead."""
    c2w = torch.eye(4, dtype=torch.float64).repeat(len(places), 1, 1)
    c2w[:, :3, 3] = torch.tensor(places, dtype=torch.float64)
    K = torch.tensor([[FOCAL, 0, 16], [0, FOCAL, 16], [0, 0, 1]], dtype=torch.float64)
    return Cameras(K=K.repeat(len(places), 1, 1), c2w=c2w, size=(SIZE, SIZE))


def plain(*values: float) -> Tensor:
    """Feature maps (v, 1, h, w) of one value each."""
    return torch.tensor(values, dtype=torch.float64)[:, None, None, None].repeat(1, 1, SIZE, SIZE)


def at(*points: tuple[float, float, float]) -> Tensor:
    return torch.tensor(points, dtype=torch.float64)


def cube_field(*, training: bool = False, views: int = 3, **on: bool) -> CubeField:
    """The field of an untrained network of 16^3 voxels that sees the whole cube from around it."""
    torch.manual_seed(0)
    network = SparseNeus(resolution=16, quirks=on).train(training)
    eyes = torch.tensor([[2.6, 0.0, 0.4], [-1.4, 2.2, 0.3], [-1.2, -2.3, 0.2]])[:views]
    K = torch.tensor([[22.0, 0.0, 16.0], [0.0, 22.0, 16.0], [0.0, 0.0, 1.0]]).repeat(views, 1, 1)
    cameras = Cameras(K=K, c2w=look_at(eyes), size=(32, 32))
    with torch.no_grad():
        return network.in_cube(torch.rand(1, views, 3, 32, 32), Cameras.stack([cameras]))


def test_all_or_none_and_single_changes() -> None:
    assert not any(vars(Quirks.of(False)).values())
    assert all(vars(Quirks.of(True)).values())
    one = Quirks.of(True, {"odd_sites": False})
    assert [name for name in NAMES if not getattr(one, name)] == ["odd_sites"]
    other = Quirks.of(False, {"odd_sites": True})
    assert [name for name in NAMES if getattr(other, name)] == ["odd_sites"]
    assert SparseNeus(resolution=16).quirks == Quirks()
    both = SparseNeus(resolution=16, published_quirks=True, quirks={"counted_rays": False}).quirks
    assert both == replace(Quirks.of(True), counted_rays=False)
    with pytest.raises(InputError, match=r"model\.quirks: 'odd_site' is none of leaking_views, "):
        SparseNeus(quirks={"odd_site": True})


@pytest.mark.parametrize("norm", ["batch", "running"])
def test_norm_is_that_of_every_layer(norm: Statistics) -> None:
    found = [part for part in SparseNeus(resolution=16, norm=norm).modules() if isinstance(part, BatchNorm)]
    assert len(found) == 8 + 1 + 10
    assert {part.statistics for part in found} == {norm}


def test_leaking_views_add_to_the_sum_but_not_to_the_count() -> None:
    # Two cameras see the point; it lies two units behind the third, which projects it to its middle.
    cameras = looking_along_z((0, 0, -1), (0, 0, -2), (0, 0, 2))
    features, point = plain(1, 2, -1), at((0, 0, 0))
    for on, want in ((False, [0.25, 1.5]), (True, [6 / 2 - 1, 2 / 2])):  # variance before mean
        for integer in (False, True):
            quirks = Quirks(leaking_views=on, integer_pixels=integer)
            rows, count = lift(features, point, cameras, quirks)
            assert count.tolist() == [2]
            assert rows[:, 0].tolist() == pytest.approx(want)


def test_behind_a_camera_the_projection_is_mirrored() -> None:
    ramp = torch.arange(SIZE, dtype=torch.float64).expand(1, 1, SIZE, SIZE)
    features = torch.cat([plain(0, 0), ramp])
    cameras = looking_along_z((0, 0, -1), (0, 0, -1), (0, 0, 2))
    # x = 0.5 at depth -2 is 4 pixels left of the middle, 16, as if it were at x = -0.5 in front.
    rows, _ = lift(features, at((0.5, 0, 0)), cameras, Quirks(leaking_views=True))
    assert rows[1].item() == pytest.approx((16 - 4 - 0.5) / 2)


@pytest.mark.parametrize(("integer", "outside", "share"), [(False, 0.25, 0.25), (True, 0.75, 0.25)])
def test_leaking_views_fade_over_the_rim_of_the_frame(integer: bool, outside: float, share: float) -> None:
    x = -1 - outside / FOCAL  # at depth 1: `outside` pixels left of the frame; 5 away all is gone
    cameras = looking_along_z((0, 0, -1), (x, 0, -1), (x, 0, -1))
    for on, want in ((True, (1 + 1 + 4 * share) / 2), (False, 1.0)):
        quirks = Quirks(leaking_views=on, integer_pixels=integer)
        rows, count = lift(plain(4, 1, 1), at((x, 0, 0)), cameras, quirks)
        assert count.tolist() == [2]
        assert rows[1].item() == pytest.approx(want)
    far = looking_along_z((0, 0, -1), (-2, 0, -1), (-2, 0, -1))
    rows, _ = lift(plain(4, 1, 1), at((-2, 0, 0)), far, Quirks(leaking_views=True, integer_pixels=integer))
    assert rows[1].item() == pytest.approx(1)


@pytest.mark.parametrize(("on", "shift"), [(False, -0.5), (True, 0.0)])
def test_integer_pixels_move_a_ramp_by_half_a_pixel(on: bool, shift: float) -> None:
    ramp = torch.arange(SIZE, dtype=torch.float64).expand(2, 1, SIZE, SIZE)
    points = at((0, 0, 0), (0.25, 0, 0), (-0.5, 0.3, 0))
    rows, _ = lift(ramp, points, looking_along_z((0, 0, -1), (0, 0, -1)), Quirks(integer_pixels=on))
    position = torch.tensor([16.0, 20.0, 8.0], dtype=torch.float64)
    torch.testing.assert_close(rows[1], position + shift)


def test_integer_pixels_leave_the_rim_out_of_colours_and_half_a_pixel_out_of_the_frame() -> None:
    points = at((-1, 0, 0), (1, 0, 0), (1 + 0.5 / FOCAL, 0, 0))  # pixel positions 0, 32 and 32.5 of 33 pixels
    camera = looking_along_z((0, 0, -1))
    for on, lifted, coloured in (
        (False, [True, True, True], [True, True, True]),
        (True, [True, True, False], [False, False, False]),
    ):
        quirks = Quirks(integer_pixels=on)
        assert view_positions(points, camera, quirks)[1][0].tolist() == lifted
        assert view_positions(points, camera, quirks, nearest=NEAREST)[1][0].tolist() == coloured


def test_rounded_voxels_are_not_where_the_volume_is_looked_up() -> None:
    exact, rounded = SparseNeus(), SparseNeus(quirks={"rounded_voxels": True})
    for network, step in ((exact, 2 / 95), (rounded, 0.02105263)):
        nodes = network.voxels().reshape(96, 96, 96, 3)
        axis = torch.arange(96, dtype=torch.float64) * step - 1
        want = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
        assert (nodes - want).abs().max() < 1.3e-7  # as float32 rounds
        assert network.box.voxel_size == pytest.approx(2 / 95, abs=1e-15)
    assert exact.voxels().max() == 1
    assert 1 - float(rounded.voxels().max()) == pytest.approx(1.5e-7, abs=6e-8)


def test_signed_variance_goes_below_zero_and_counts_a_little_more() -> None:
    cameras = looking_along_z((0, 0, -1), (0, 0, -2), (0, 0, 2))
    point = at((0, 0, 0))

    def rows(*, signed: bool, leaking: bool) -> list[float]:
        quirks = Quirks(signed_variance=signed, leaking_views=leaking)
        return lift(plain(1, 1, 1), point, cameras, quirks)[0][:, 0].tolist()

    assert rows(signed=False, leaking=False) == [0, 1]
    assert rows(signed=False, leaking=True) == [0, 1.5]
    for leaking, total in ((False, 2), (True, 3)):  # of ones, whose squares are ones too
        mean = total / 2.00001
        assert rows(signed=True, leaking=leaking) == pytest.approx([mean - mean**2, mean], abs=1e-12)
    assert rows(signed=True, leaking=True)[0] == pytest.approx(-0.75, abs=1e-4)


def test_absolute_gain_is_of_the_2d_norms() -> None:
    """With it the sign of their weights doesn't matter; that of the 3D norms always does."""
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for on in (False, True):
        torch.manual_seed(0)
        network = SparseNeus(resolution=16, quirks={"absolute_gain": on})
        with torch.no_grad():
            before = network.compress(network.fused_features(images))
            for part in (*network.feature_net.modules(), *network.compress.modules()):
                if isinstance(part, BatchNorm):
                    part.weight.neg_()
            after = network.compress(network.fused_features(images))
        assert torch.equal(before, after) is on
        norms = [part for part in network.volume_net.modules() if isinstance(part, BatchNorm)]
        assert len(norms) == 10
        assert not any(part.absolute_gain for part in norms)


def test_absolute_gain_adds_epsilon_to_the_weight() -> None:
    network = SparseNeus(resolution=16, quirks={"absolute_gain": True})
    norm = network.compress[1]
    assert isinstance(norm, BatchNorm)
    with torch.no_grad():
        norm.weight.fill_(0.0)
        y = norm(torch.tensor([-3.0, 3.0])[:, None].repeat(1, 16)[..., None, None])
    torch.testing.assert_close(y[:, 0, 0, 0], torch.tensor([-1e-5, 1e-5]), atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    ("on", "n", "edges"),
    [(True, 96, [49, 25, 13]), (False, 96, [48, 24, 12]), (True, 16, [9, 5, 3]), (False, 16, [8, 4, 2])],
)
def test_odd_sites_reach_beyond_the_far_faces(on: bool, n: int, edges: list[int]) -> None:
    network = SparseNeus(resolution=n, quirks={"odd_sites": on})
    levels = network.volume_net.levels(torch.ones(n, n, n, dtype=torch.bool))
    assert [int(level.mask.sum()) for level in levels] == [n**3, *(edge**3 for edge in edges)]


def coarser_by_hand(sites: set[tuple[int, ...]], *, lowest: bool) -> set[tuple[int, ...]]:
    """Halves of even places beside a site; `lowest`: none below the smallest coordinate of any axis."""
    beside = {
        tuple(c + d for c, d in zip(site, offset, strict=True))
        for site in sites
        for offset in product((-1, 0, 1), repeat=3)
    }
    least = [min(site[axis] for site in sites) for axis in range(3)]
    return {
        tuple(c // 2 for c in place)
        for place in beside
        if all(c % 2 == 0 for c in place)
        and (not lowest or all(c >= m for c, m in zip(place, least, strict=True)))
    }


def places(mask: Tensor) -> set[tuple[int, ...]]:
    return {tuple(place) for place in mask.nonzero().tolist()}


@pytest.mark.parametrize("seed", range(4))
def test_odd_sites_have_none_below_the_lowest(seed: int) -> None:
    drawn = torch.rand(16, 16, 16, generator=torch.Generator().manual_seed(seed))
    active = torch.zeros(16, 16, 16, dtype=torch.bool)
    active[5:, 2:, 3:] = drawn[5:, 2:, 3:] < 0.01
    found = SiteVolumeNet(odd_sites=True).levels(active)
    want = places(active)
    for level in found:
        assert places(level.mask) == want
        want = coarser_by_hand(want, lowest=True)
    # Without the quirk a level of n places has n / 2 coarser ones, whatever is lowest.
    plain_sites = Sites(active).coarser(odd=False)
    within = {place for place in coarser_by_hand(places(active), lowest=False) if max(place) < 8}
    assert places(plain_sites.mask) == within


def test_odd_sites_of_a_single_voxel() -> None:
    active = torch.zeros(8, 8, 8, dtype=torch.bool)
    active[5, 5, 5] = True
    assert places(SiteVolumeNet(odd_sites=True).levels(active)[1].mask) == {(3, 3, 3)}
    assert places(SiteVolumeNet().levels(active)[1].mask) == set(product((2, 3), repeat=3))


@pytest.mark.parametrize("on", [False, True])
def test_strict_border(on: bool) -> None:
    volume = cube_field(strict_border=on).volume
    ones = FeatureVolume(values=torch.ones_like(volume.values), box=volume.box, strict=volume.strict)
    voxel = 2 / 15
    steps = [-1.5, -1.0, -1.0 + 1e-3, 0.0, 1.0, 1 + 0.9 * voxel, 1 + 1.1 * voxel]
    held = [0, 0, 1, 1, 1, 1, 0] if on else [1] * 7
    for axis in range(3):
        points = torch.zeros(1, len(steps), 3)
        points[0, :, axis] = torch.tensor(steps)
        torch.testing.assert_close(ones.lookup(points)[0, :, 0], torch.tensor(held, dtype=torch.float32))


@pytest.mark.parametrize("on", [False, True])
def test_shifted_mask(on: bool) -> None:
    """Voxel i of 16 reaches from (i - 1/2) 2/15 to (i + 1/2) 2/15 beyond the near face, shifted from i/8."""
    field = cube_field(shifted_mask=on)
    for index in (0, 5, 15):
        active = torch.zeros_like(field.active)
        active[0, index] = True  # a slab
        x = torch.linspace(-1.2, 1.2, 4001, dtype=torch.float64)
        points = torch.stack([x, torch.zeros_like(x), torch.zeros_like(x)], -1)[None]
        found = x[replace(field, active=active).inside(points)[0]]
        low, high = (index / 8, (index + 1) / 8) if on else ((index - 0.5) / 7.5, (index + 0.5) / 7.5)
        assert float(found.min()) == pytest.approx(low - 1, abs=1e-3)
        assert float(found.max()) == pytest.approx(high - 1, abs=1e-3)


@pytest.mark.parametrize("on", [False, True])
def test_free_first_samples(on: bool) -> None:
    """Sections beside the region's edge: a fall from `OUTSIDE` draws all new samples to the first one within."""
    free = cube_field(free_first_samples=on).rules.free_coarse
    assert free is on
    t = hierarchical(
        lambda t: torch.full_like(t, 0.5),  # nothing to find
        torch.tensor([0.0, 1.0, 2.0, 3.0]),
        fine=10,
        inv_s=(64.0,),
        inside=lambda t: t >= 1,
        free_coarse=free,
    )
    per_section = [int(((t > low) & (t < low + 1)).sum()) for low in range(3)]
    # Weights are 1e-5 within, 0 outside, and 1e-5 more everywhere: shares of 1/5, 2/5, 2/5.
    assert per_section == ([2, 4, 4] if on else [0, 10, 0])


@pytest.mark.parametrize("on", [False, True])
def test_outside_is_sparse(on: bool) -> None:
    field = cube_field(outside_is_sparse=on)
    active = torch.zeros_like(field.active)
    active[:, :, :, 8:] = True
    field = replace(field, active=active)
    origins = torch.tensor([[[0.2, 0.1, -3.0], [-0.3, 0.2, -3.0]]])
    directions = torch.tensor([0.0, 0.0, 1.0]).expand_as(origins)
    nothing = torch.zeros(1, 0, 3)
    batch = SceneBatch(
        ids=("one",), seeds=(0,), images=torch.zeros(1, 3, 3, 32, 32), masks=torch.ones(1, 3, 32, 32),
        cameras=field.cameras, sdf_points=nothing, sdf_values=nothing[..., 0], surface_points=nothing,
        surface_normals=nothing, surface_colours=nothing,
        rays=TargetRays(
            origins=origins, directions=directions, rgb=torch.ones_like(origins), mask=torch.ones(1, 2), t=None
        ),
    )  # fmt: skip
    settings = TermSettings(render=RenderSettings(coarse=16, fine=0), uniform_points=8)
    terms = StepTerms(field, batch, inv_s=torch.tensor(20.0), anneal=1.0, settings=settings)
    got = terms.functions()["sparsity"]()
    inside = terms.rendered.inside
    assert 0.3 < inside.float().mean() < 0.7
    unit = terms._random("sparsity", 8, 3) * 2 - 1
    uniform = torch.exp(-100 * field.sdf(unit).abs()).mean()
    value = torch.exp(-100 * field.sdf(terms.rendered.points.flatten(1, 2)).abs()).reshape(inside.shape)
    within = (value * inside).sum() / (inside.numel() if on else inside.sum())
    assert within > 1e-5
    torch.testing.assert_close(got, (uniform + within) / 2)


def test_sphere_planes() -> None:
    origins = torch.tensor([[[0.0, 0.0, -3.0], [0.0, 0.0, -0.5], [0.0, 4.0, -3.0]]])
    rays = Rays(origins=origins, directions=torch.tensor([0.0, 0.0, 1.0]).expand_as(origins))
    near, far, hit = cube_field().ray_interval(rays)
    assert hit.tolist() == [[True, True, False]]
    torch.testing.assert_close(near[0, :2], torch.tensor([2.0, 0.0]))
    torch.testing.assert_close(far[0, :2], torch.tensor([4.0, 1.5]))
    for training, least in ((False, -0.5), (True, 0.02)):
        near, far, hit = cube_field(training=training, sphere_planes=True).ray_interval(rays)
        assert hit.all()
        torch.testing.assert_close(near, 0.95 * torch.tensor([[2.0, least, 4.0]]))
        torch.testing.assert_close(far, 1.05 * torch.tensor([[4.0, 1.5, 6.0]]))


@pytest.mark.parametrize("on", [False, True])
def test_hidden_views_count(on: bool) -> None:
    blend = SparseNeus(resolution=16, quirks={"hidden_views_count": on}).blend_net
    cosine = torch.tensor([1.0, 0.5, -0.5])
    directions = torch.cat([torch.zeros(3, 3), cosine[:, None]], -1)[None, :, None]
    visible = torch.tensor([True, True, False])[None, :, None]
    weights = blend.anti_alias(directions, visible)[0, :, 0]
    closeness = torch.exp(0.2 * (cosine - 1))
    raw = closeness - closeness[2 if on else 1]
    want = torch.stack([raw[0], raw[1], torch.tensor(0.0)]) / (raw[0] + raw[1])
    torch.testing.assert_close(weights, want, atol=1e-6, rtol=1e-5)
    assert weights[1] > 0.3 if on else weights[1] == 0


def test_counted_rays_have_more_than_eight_samples_seen_by_two_views() -> None:
    field = replace(cube_field(counted_rays=True), active=torch.ones(1, 16, 16, 16, dtype=torch.bool))
    good = torch.tensor([0.1, 0.0, 0.0])
    assert view_positions(good[None], field.cameras[0], field.quirks, nearest=NEAREST)[1].sum() == 3
    field, single = (replace(field, cameras=field.cameras[:, :views]) for views in (2, 1))

    def ray(count: int) -> Tensor:
        return torch.stack([good] * count + [torch.tensor([0.0, 0.0, 5.0])] * (12 - count))

    rays = torch.stack([ray(12), ray(9), ray(8), ray(0)])[None]
    for one, want in (
        (field, [True, True, False, False]),
        (single, [False] * 4),
        (replace(field, active=torch.zeros_like(field.active)), [False] * 4),
    ):
        found = one.rays_seen(rays)
        assert found is not None
        assert found.tolist() == [want]
    assert cube_field().rays_seen(rays) is None


@pytest.mark.parametrize("on", [False, True])
def test_unmasked_extraction(on: bool) -> None:
    field = cube_field(unmasked_extraction=on)
    active = torch.zeros_like(field.active)
    active[:, 8:] = True
    field = replace(field, active=active)
    points = torch.rand(1, 400, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    inside = points[..., 0] > 0
    with torch.no_grad():
        raw, got = field.sdf(points), field.surface_sdf(points)
    assert (raw < 0).any() and (raw[~inside] < 0).any()  # the untrained field is about a sphere
    want = raw if on else torch.where(inside, raw, raw.abs().clamp_min(2 / 15))
    assert torch.equal(got, want)
