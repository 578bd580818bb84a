"""The measuring stick does the arithmetic that the layer sizes ask for, no less and no more."""

import contestants
import counts
import pytest
import torch
from recipe.sparse import Sites, coarser, kernel_map
from scene import Sizes, scene
from timing import counted

SIZES = Sizes(views=3, pixels=48, volume=16, rays=16, lattice=16)
TENTH = 0.1


@pytest.fixture(scope="module")
def stick():
    return contestants.Stick(SIZES, scene(SIZES), "cpu")


def flops(call):
    return counted(call)[0]


def asked(stick, call):
    """How many points the distance network was given, call by call."""
    found = []
    handle = stick.net.sdf_net.register_forward_pre_hook(lambda _, args: found.append(len(args[0])))
    call()
    handle.remove()
    return found


def test_the_figures_of_the_specification():
    assert counts.grid(256) == pytest.approx(1404e9, rel=1e-3)
    assert counts.features(8, 256) == pytest.approx(9.0e9, rel=0.01)
    assert counts.features(32, 256) == pytest.approx(36.1e9, rel=0.01)
    assert pytest.approx(795e9, rel=0.01) == 2 * counts.DISTANCE * 256**3
    assert pytest.approx(24e9, rel=0.02) == counts.SURFACE * 2 * counts.DISTANCE * 256**3
    assert counts.network_dense(95) == pytest.approx(31.3e9, rel=0.02)
    assert counts.PER_POINT == 134 * 64


def test_features(stick):
    assert flops(stick.features()) == pytest.approx(counts.features(SIZES.views, SIZES.pixels), rel=0.01)


def test_lift(stick):
    expected = counts.lift(SIZES.views, SIZES.pixels, SIZES.volume**3, len(stick.rows[0]))
    assert flops(stick.lift()) == pytest.approx(expected, rel=TENTH)


def test_3d_network_as_dense(stick):
    dense = contestants.Stick(SIZES, stick.scene, "cpu", "dense")
    assert flops(dense.network()) == pytest.approx(counts.network_dense(SIZES.volume), rel=TENTH)


def test_3d_network_by_gathering(stick):
    levels = [Sites.of(stick.rows[1])]
    while len(levels) < 4:
        levels.append(coarser(levels[-1]))
    pairs = {
        (i, j): sum(len(rows) for rows, _ in kernel_map(levels[i], levels[j]))
        for i in range(4)
        for j in (i, i + 1)
        if j < 4
    }
    assert flops(stick.network()) == pytest.approx(counts.network_gather(pairs), rel=0.01)


def test_rays(stick):
    samples = 128 * SIZES.rays
    *sampling, held, again = asked(stick, stick.rays())
    assert held == again  # distance and gradient, each on its own
    expected = counts.rays(samples, SIZES.views, sum(sampling), held)
    assert flops(stick.rays()) == pytest.approx(expected, rel=0.03)


def test_rays_and_back(stick):
    samples = 128 * SIZES.rays
    *sampling, held, _, uniform = asked(stick, stick.backward())
    expected = counts.backward(samples, SIZES.views, sum(sampling), held, uniform)
    assert uniform == 1024
    assert flops(stick.backward()) == pytest.approx(expected, rel=TENTH)


def test_grid(stick):
    assert flops(stick.grid()) == pytest.approx(counts.grid(SIZES.lattice), rel=0.01)


def test_colours(stick):
    vertices = len(contestants.sphere_vertices(SIZES))
    assert flops(stick.colours()) == pytest.approx(counts.colours(vertices, SIZES.views), rel=TENTH)


def test_the_least_is_less_than_the_recipe_does(stick):
    for stage in ("features", "lift", "rays", "backward", "grid", "colours", "mesh"):
        assert counts.least(stage, SIZES) < 1.02 * flops(getattr(stick, stage)())
    whole = counts.least("mesh", SIZES)
    assert whole == counts.least("encode", SIZES) + counts.least("extraction", SIZES)


def test_flops_and_bytes_of_a_product():
    a, b = torch.rand(30, 40), torch.rand(40, 50)
    assert counted(lambda: (a @ b).T) == (2 * 30 * 40 * 50, 4 * (30 * 40 + 40 * 50 + 30 * 50))
