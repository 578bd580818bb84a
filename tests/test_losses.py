import math

import pytest
import torch
from torch import Tensor

from one2345.errors import InputError
from one2345.losses import (
    Ramp,
    WeightedLosses,
    colour_l1,
    depth_l1,
    eikonal,
    mask_l1,
    mesh_regularisation,
    nearest,
    per_object_mean,
    sdf_l1,
    sparsity,
    surface_points,
    texture_consistency,
    view_consistency,
)

T = torch.tensor


def leaf(*values) -> Tensor:
    return T(values, dtype=torch.float64).requires_grad_()


def check(loss: Tensor, expected: float, *leaves: Tensor) -> None:
    """The hand-computed number, and a finite gradient that isn't 0 to every leaf."""
    assert loss.ndim == 0
    assert loss.item() == pytest.approx(expected, abs=1e-9)
    for gradient in torch.autograd.grad(loss, leaves):
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 0


# Two objects: the first with one valid ray of two, the second with both.
MASK = T([[True, False], [True, True]])


@pytest.mark.parametrize("term", [colour_l1, view_consistency, texture_consistency])
def test_colour_terms_average_per_object(term):
    rgb = leaf([[0.1, 0.2, 0.3], [9.0, 9.0, 9.0]], [[0.5, 0.5, 0.5], [0.0, 0.0, 0.9]])
    target = torch.zeros(2, 2, 3, dtype=torch.float64)
    # Objects: 0.6 / 3 = 0.2 and (1.5 + 0.9) / 6 = 0.4. Over all rays together it would be 3.0 / 9.
    check(term(rgb, target, MASK), 0.3, rgb)
    check(term(rgb, target), ((0.6 + 27) / 6 + 0.4) / 2, rgb)


def test_view_consistency_of_whole_pictures():
    rendered = torch.full((2, 3, 4, 5, 3), 0.25, dtype=torch.float64, requires_grad=True)
    valid = torch.zeros(2, 3, 4, 5, dtype=torch.bool)
    valid[0, 0, 0, 0] = valid[1] = True
    check(view_consistency(rendered, torch.zeros_like(rendered), valid), 0.25, rendered)


def test_depth():
    t = leaf([1.0, 2.0], [0.5, 0.1])
    check(depth_l1(t, T([[1.25, 0.0], [0.0, 0.0]])), ((0.25 + 2.0) / 2 + 0.3) / 2, t)
    check(depth_l1(t, T([[1.25, 0.0], [0.0, 0.0]]), MASK), (0.25 + 0.3) / 2, t)


def test_mask_needs_background():
    opacity = leaf([0.8, 0.1], [0.4, 0.9])
    both = T([[1.0, 0.0], [0.0, 1.0]])
    check(mask_l1(opacity, both), (0.15 + 0.25) / 2, opacity)
    full = T([[1.0, 0.0], [1.0, 1.0]])  # the second object has no background: it counts, with 0
    loss = mask_l1(opacity, full)
    assert (torch.autograd.grad(loss, opacity)[0][1] == 0).all()
    check(mask_l1(opacity, full), 0.15 / 2, opacity)
    rays = torch.ones(1, 100)
    rays[0, :2] = 0  # exactly 2 % isn't more than 2 %
    assert mask_l1(torch.full((1, 100), 0.5), rays) == 0
    rays[0, 2] = 0
    assert mask_l1(torch.full((1, 100), 0.5), rays) == pytest.approx(0.5)


def test_eikonal():
    gradient = leaf([[3.0, 4.0, 0.0], [0.0, 0.0, 0.5]], [[0.0, 2.0, 0.0], [1.0, 0.0, 0.0]])
    check(eikonal(gradient), ((16.0 + 0.25) / 2 + (1.0 + 0.0) / 2) / 2, gradient)
    check(eikonal(gradient, MASK), (16.0 + 0.5) / 2, gradient)
    flat = torch.zeros(1, 2, 3, requires_grad=True)
    eikonal(flat).backward()
    assert torch.isfinite(flat.grad).all()


def test_sparsity():
    sdf, ray = leaf([0.01, -0.02], [0.0, 0.05]), leaf([[0.01], [0.03]], [[0.0], [-0.01]])
    e = math.exp
    uniform = ((e(-1) + e(-2)) / 2 + (1 + e(-5)) / 2) / 2
    check(sparsity(sdf), uniform, sdf)
    check(sparsity(sdf, ray), 0.5 * (uniform + ((e(-1) + e(-3)) / 2 + (1 + e(-1)) / 2) / 2), sdf, ray)
    check(sparsity(sdf, ray, MASK), 0.5 * (uniform + (e(-1) + (1 + e(-1)) / 2) / 2), sdf, ray)
    check(sparsity(sdf, scale=10.0), ((e(-0.1) + e(-0.2)) / 2 + (1 + e(-0.5)) / 2) / 2, sdf)


def test_sdf_with_and_without_truncation():
    sdf, target = leaf([0.02, 0.3], [-0.4, 0.2]), T([[0.01, 0.1], [-0.1, -0.01]], dtype=torch.float64)
    check(sdf_l1(sdf, target), ((0.01 + 0.2) / 2 + (0.3 + 0.21) / 2) / 2, sdf)
    # Truth 0.1 with 0.3, and -0.1 with -0.4: far enough on the right side. Truth -0.01 with 0.2: plain.
    loss = sdf_l1(sdf, target, truncation=0.05)
    check(loss, ((0.01 + 0) / 2 + (0 + 0.21) / 2) / 2, sdf)
    gradient = torch.autograd.grad(sdf_l1(sdf, target, truncation=0.05), sdf)[0]
    torch.testing.assert_close(gradient, T([[0.25, 0.0], [0.0, 0.25]], dtype=torch.float64))
    wrong = leaf([0.03, -0.2])  # truth far outside: asks for 0.05 at least, from however wrong a side
    check(sdf_l1(wrong, T([[0.3, 0.3]]), truncation=0.05), (0.02 + 0.25) / 2, wrong)
    check(sdf_l1(sdf, target, MASK), (0.01 + 0.255) / 2, sdf)


def test_sdf_inside_may_be_a_bound():
    """Deeper than the label costs nothing, less deep does; outside it is a distance."""
    sdf, target = leaf([-0.08, -0.01, 0.02]), T([[-0.03, -0.03, 0.05]], dtype=torch.float64)
    check(sdf_l1(sdf, target, inside="bound"), (0 + 0.02 + 0.03) / 3, sdf)
    gradient = torch.autograd.grad(sdf_l1(sdf, target, inside="bound"), sdf)[0]
    torch.testing.assert_close(gradient, T([[0.0, 1 / 3, -1 / 3]], dtype=torch.float64))
    check(sdf_l1(sdf, target, truncation=0.02, inside="bound"), (0 + 0.01 + 0) / 3, sdf)


def test_surface_points_are_exact_on_a_plane_and_bounded_on_flat_ground():
    points = T([[[0.3, 0.2, 0.7], [0.0, 0.0, -0.5]]])
    gradient = T([[[0.0, 0.0, 2.0], [0.0, 0.0, 2.0]]])  # plane z = 0.1, slope 2
    got = surface_points(points, 2 * (points[..., 2] - 0.1), gradient)
    torch.testing.assert_close(got, T([[[0.3, 0.2, 0.1], [0.0, 0.0, 0.1]]]))
    flat = surface_points(points, T([[0.1, 0.1]]), torch.full((1, 2, 3), 1e-9))
    assert (flat - points).norm(dim=-1).max() < 1e-6


def test_nearest_in_chunks_with_masks():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 37, 3, generator=g), torch.randn(2, 23, 3, generator=g)
    mask = torch.rand(2, 23, generator=g) > 0.5
    full = (a[:, :, None] - b[:, None]).square().sum(-1)
    assert torch.equal(nearest(a, b, chunk=5), full.argmin(-1))
    assert torch.equal(nearest(a, b, mask), full.masked_fill(~mask[:, None], 1e9).argmin(-1))
    assert torch.equal(nearest(a, b, torch.zeros_like(mask)), torch.zeros(2, 37, dtype=torch.long))


def mesh_case():
    # Two points above the plane z = 0 with sdf too small by 0.1 each, so they land at z = 0.1.
    points = T([[[0.0, 0.0, 0.3], [1.0, 0.0, 0.5]]], dtype=torch.float64)
    sdf = leaf([0.2, 0.4])
    gradient = leaf([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    vertices = T([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 2.0, 0.0]]], dtype=torch.float64)
    return points, sdf, gradient, vertices


def test_mesh_regularisation_by_hand():
    points, sdf, gradient, vertices = mesh_case()
    # Forth: 0.01 each. Back: 0.01, 0.01, and the third vertex is 2 away sideways: 4.01.
    check(
        mesh_regularisation(points, sdf, gradient, vertices),
        0.5 * (0.01 + (0.01 + 0.01 + 4.01) / 3),
        sdf,
        gradient,
    )
    mask = T([[True, True, False]])
    check(mesh_regularisation(points, sdf, gradient, vertices, vertex_mask=mask), 0.01, sdf, gradient)
    one = mesh_regularisation(points, sdf, gradient, vertices, T([[True, False]]), T([[True, True, False]]))
    check(one, 0.5 * (0.01 + (0.01 + 1.01) / 2), sdf, gradient)
    # Each direction moves the points: towards the plane, more sdf.
    forth = torch.autograd.grad(mesh_regularisation(points, sdf, gradient, vertices, vertex_mask=mask), sdf)[
        0
    ]
    assert (forth < 0).all()


def test_mesh_regularisation_averages_per_object():
    points, sdf, gradient, vertices = mesh_case()
    second = (points[:, :1] + 0.2, sdf[:, :1] * 0 + 0.5, gradient[:, :1], vertices[:, :1] - 0.1)
    pad = [torch.cat([x, torch.full_like(x[:, :1], torch.nan)], 1) for x in second[:3]]
    padded_vertices = torch.cat([second[3], torch.full((1, 2, 3), torch.nan, dtype=torch.float64)], 1)
    both = mesh_regularisation(
        torch.cat([points, pad[0]]),
        torch.cat([sdf, pad[1]]),
        torch.cat([gradient, pad[2]]),
        torch.cat([vertices, padded_vertices]),
        T([[True, True], [True, False]]),
        T([[True, True, True], [True, False, False]]),
    )
    expected = (mesh_regularisation(points, sdf, gradient, vertices) + mesh_regularisation(*second)) / 2
    check(both, expected.item(), sdf, gradient)


def test_mesh_regularisation_fits_a_radius():
    g = torch.Generator().manual_seed(0)
    vertices = 0.35 * torch.nn.functional.normalize(torch.randn(1, 400, 3, generator=g), dim=-1)
    points = vertices[:, :200] + 0.05 * torch.randn(1, 200, 3, generator=g)
    radius = torch.tensor(0.25, requires_grad=True)
    optimiser = torch.optim.Adam([radius], lr=0.01)
    first = None
    for _ in range(40):
        length = points.norm(dim=-1)
        loss = mesh_regularisation(points, length - radius, points / length[..., None], vertices)
        first = first or loss.item()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.2 * first
    assert radius.item() == pytest.approx(0.35, abs=0.02)


NONE = torch.zeros(2, 3, dtype=torch.bool)
NAN = torch.full((2, 3), torch.nan)
NAN3 = torch.full((2, 3, 3), torch.nan)


@pytest.mark.parametrize(
    "term",
    [
        lambda x: colour_l1(x[..., None] * NAN3, NAN3, NONE),
        lambda x: texture_consistency(x[..., None] * NAN3, NAN3, NONE),
        lambda x: view_consistency(x[..., None] * NAN3, NAN3, NONE),
        lambda x: depth_l1(x * NAN, NAN, NONE),
        lambda x: mask_l1(x, torch.ones(2, 3)),
        lambda x: eikonal(x[..., None] * torch.ones(3), NONE),
        lambda x: sdf_l1(x * 1.0, NAN, NONE, truncation=0.05),
        lambda x: sparsity(x + 1e6, x[..., None] * 1.0, NONE),
        lambda x: mesh_regularisation(
            x[..., None] * torch.ones(3), x, x[..., None] * torch.ones(3), NAN3, NONE, NONE
        ),
        lambda x: mesh_regularisation(
            x[..., None] * torch.ones(3), x, x[..., None] * torch.ones(3), NAN3, None, NONE
        ),
        lambda x: mesh_regularisation(
            x[..., None], x, x[..., None] * torch.ones(3), torch.ones(2, 3, 3), NONE, None
        ),
    ],
)
def test_empty_masks_give_zero_with_a_gradient(term):
    x = torch.full((2, 3), 0.5, requires_grad=True)
    loss = term(x)
    assert loss.item() == 0
    loss.backward()
    assert x.grad is not None


def test_nan_behind_a_mask_stays_there():
    rgb = T([[0.5, torch.nan]], requires_grad=True)
    for loss in (
        depth_l1(rgb, torch.zeros(1, 2), T([[True, False]])),
        sdf_l1(rgb, torch.zeros(1, 2), T([[True, False]])),
    ):
        assert loss.item() == 0.5
        assert torch.autograd.grad(loss, rgb)[0].tolist() == [[1.0, 0.0]]
    gradient = torch.full((1, 2, 3), torch.nan)
    gradient[0, 0] = T([0.0, 0.0, 2.0])
    gradient.requires_grad_()
    eikonal(gradient, T([[True, False]])).backward()
    assert gradient.grad.tolist() == [[[0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]]


def test_an_object_without_entries_counts_so_that_ranks_agree():
    values, mask = torch.ones(4, 3), torch.ones(4, 3, dtype=torch.bool)
    mask[1] = False
    whole = per_object_mean(values, mask)
    halves = [per_object_mean(values[i : i + 2], mask[i : i + 2]) for i in (0, 2)]
    assert whole == pytest.approx(0.75)
    assert whole == (halves[0] + halves[1]) / 2


def test_ramps():
    sparsity_weight = Ramp(end=0.02, until=50_000)
    assert [sparsity_weight(s) for s in (0, 25_000, 50_000, 90_000)] == [0.0, 0.01, 0.02, 0.02]
    mask_weight = Ramp(end=0.1, begin=50_000, until=50_000)
    assert [mask_weight(s) for s in (0, 49_999, 50_000)] == [0.0, 0.0, 0.1]
    fall = Ramp(start=1.0, end=0.5, begin=10, until=20)
    assert [fall(s) for s in (0, 10, 15, 20)] == [1.0, 1.0, 0.75, 0.5]
    with pytest.raises(InputError, match="until=5"):
        Ramp(end=1.0, begin=10, until=5)


def test_weighted_sum_and_terms_of_weight_zero_are_not_computed():
    called = []

    def term(name, value):
        def compute():
            called.append(name)
            return leaf(value).sum()

        return compute

    losses = WeightedLosses(colour=1.0, eikonal=0.1, mask=Ramp(end=0.5, begin=10, until=10))
    terms = {
        name: term(name, value)
        for name, value in {"colour": 2.0, "eikonal": 3.0, "mask": 4.0, "sdf": 5.0}.items()
    }
    total, parts = losses(terms, 9)
    assert called == list(parts) == ["colour", "eikonal"]
    assert total.item() == pytest.approx(2.3)
    assert {k: v.item() for k, v in parts.items()} == {"colour": 2.0, "eikonal": 3.0}
    assert total.requires_grad
    assert not parts["colour"].requires_grad
    total, parts = losses(terms, 10)
    assert total.item() == pytest.approx(4.3)
    assert losses.active(9) == ("colour", "eikonal")
    assert losses.ever_active == ("colour", "mask", "eikonal")


def test_weights_that_cannot_work():
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="mask="):
            WeightedLosses(colour=1.0, mask=bad)
    with pytest.raises(InputError, match="no loss"):
        WeightedLosses()
    with pytest.raises(InputError, match="step 0"):
        WeightedLosses(sparsity=Ramp(end=1.0, until=10))({}, 0)
    with pytest.raises(InputError, match="sdf"):
        WeightedLosses(sdf=1.0)({"colour": lambda: torch.zeros(())})
    with pytest.raises(TypeError):
        WeightedLosses(color=1.0)  # type: ignore[call-arg]
