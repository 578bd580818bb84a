"""The measuring stick computes what the network computes, from the same weights."""

import contestants
import numpy as np
import pytest
import torch
from scene import Sizes, recipe, scene, sparseneus

from one2345.rendering import ray_interval, render_rays
from one2345.training.terms import StepTerms

SIZES = Sizes(views=4, pixels=40, volume=16, rays=24, lattice=24)


@pytest.fixture(scope="module")
def made():
    return scene(SIZES)


@pytest.fixture(scope="module")
def product(made):
    return contestants.Sparse(SIZES, made, "cpu")


@pytest.fixture(scope="module")
def stick(made):
    return contestants.Stick(SIZES, made, "cpu")


def assert_close(found, expected, tolerance):
    assert (found - expected).abs().max() <= tolerance * max(1.0, float(expected.abs().max()))


def test_features(stick, product):
    assert_close(stick.features()(), product.features()(), 1e-5)


def test_cost_volume(stick, product):
    rows, at = stick.lift()()
    volume, active = product.lift()()
    assert len(at) == active.sum() > 500
    assert_close(rows, volume.permute(1, 2, 3, 0)[active], 1e-4)
    assert_close(stick.rows[0], rows, 1e-6)


@pytest.mark.parametrize("way", ["gather", "dense"])
def test_3d_network(stick, product, way):
    rows, at = stick.rows
    volume, active = product.lift()()
    with torch.no_grad():
        found = stick.net.regularise(rows, at, way)
        expected = product.net.volume_net(volume, active)
    assert (found.active == active).all()
    assert_close(found.values, expected, 1e-4)


def test_rays(stick, product, made):
    found = stick.rays()()
    local, rays = product._local(product.placed)
    targets = made.targets()
    with torch.no_grad():
        expected = render_rays(
            local, rays.origins, rays.directions, targets.near[None], targets.far[None],
            inv_s=product.model.variance(), settings=product.settings.render, noise=made.noise[None],
        )  # fmt: skip
    assert_close(found.distance, expected.sdf[0], 1e-4)
    assert_close(found.gradient, expected.gradient[0], 1e-3)
    assert_close(found.colour, expected.rgb[0], 1e-4)
    assert_close(found.opacity, expected.weights_sum[0], 1e-4)
    assert (found.held == expected.inside[0]).all()
    assert (found.valid == expected.valid[0]).all()
    assert found.held.float().mean() > 0.3
    assert found.opacity.max() > 0.5


def test_a_training_step(made, product, monkeypatch):
    """Loss to 1e-4, the gradient of every parameter to 1e-3."""
    draws = {"sparsity": made.uniform[None], "rays": made.noise[None]}
    monkeypatch.setattr(StepTerms, "_random", lambda self, stream, *shape: draws[stream])
    net = sparseneus(SIZES)
    theirs = recipe(SIZES, net.state_dict())
    ours = contestants.Sparse(SIZES, made, "cpu")
    ours.model.load_state_dict(net.state_dict())
    batch = ours.batch()
    field = ours.training_field(batch)
    near, far, _ = ray_interval(field.local, field.local.box, ours._local(field)[1])
    targets = made.targets()
    torch.testing.assert_close(near[0], targets.near)
    torch.testing.assert_close(far[0], targets.far)
    expected = ours.losses(field, batch)
    found = theirs.step_loss(made.sources(), made.reference_image, targets)
    assert abs(found - expected) < 1e-4 * expected
    expected.backward()
    found.backward()
    reference = dict(ours.model.named_parameters())
    assert len(reference) == 100
    for name, parameter in theirs.named_parameters():
        given, wanted = parameter.grad, reference[name].grad
        assert (given - wanted).norm() <= 1e-3 * wanted.norm() + 1e-6, name


def test_both_ways_of_the_3d_network_have_one_gradient(stick):
    rows, at = stick.rows
    found = {}
    for way in ("gather", "dense"):
        leaf = rows.clone().requires_grad_()
        stick.net.regularise(leaf, at, way).values.square().sum().backward()
        found[way] = leaf.grad
    assert_close(found["gather"], found["dense"], 1e-3)


def test_mesh_and_colours(stick, product):
    vertices, faces, colours = stick.mesh()()
    mesh = product.extraction()()
    assert (len(vertices), len(faces)) == (len(mesh.vertices), len(mesh.faces))
    world = product.placed.frame.points_to_world(torch.from_numpy(vertices).float()[None])[0].numpy()
    apart = np.linalg.norm(world[:, None] - mesh.vertices[None], axis=-1)
    nearest = apart.argmin(1)
    assert apart.min(1).max() < 1e-4
    assert (
        np.abs(colours - mesh.colours[nearest]).max() < 1e-2
    )  # vertices that differ by rounding, normals that do
    assert np.abs(colours - mesh.colours[nearest]).mean() < 1e-4
    on_sphere = stick.colours()()
    assert_close(on_sphere, product.colours()(), 1e-4)


def test_193_channels_are_blended_for_every_point_and_view(stick):
    seen = []
    handle = stick.net.blend_net.base[0].register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    stick.rays()()
    handle.remove()
    assert seen == [(SIZES.rays * 128, SIZES.views, 193)]
