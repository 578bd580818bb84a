"""extractor=flexicubes and the mesh term on its vertices: fake kaolin always, the real one where installed."""

from __future__ import annotations

import sys
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from tests import fake_kaolin
from tests.meshing.fields import leaving, sphere, torus, two
from tests.training.scenes import sphere_batch, tiny_model

from one2345 import kaolin
from one2345.build import build
from one2345.cli.compose import compose, to_plain
from one2345.errors import EmptySurfaceError, InputError
from one2345.geometry import Box, orbit
from one2345.losses import WeightedLosses, vertex_distance
from one2345.meshing import Extractor, FlexiCubesExtractor, extract, surface_vertices
from one2345.training import AdamCosine, ReconstructionModule, TermSettings
from one2345.training.terms import StepTerms


@pytest.fixture(params=["fake", "real"])
def _library(request, monkeypatch):
    kaolin.status.cache_clear()
    if request.param == "fake":
        fake_kaolin.install(monkeypatch)
    elif not kaolin.status().usable:
        pytest.skip(str(kaolin.status().problem).partition(":")[0])
    yield
    kaolin.status.cache_clear()


@pytest.fixture
def _absent(monkeypatch):
    kaolin.status.cache_clear()
    monkeypatch.setitem(sys.modules, "kaolin", None)
    yield
    kaolin.status.cache_clear()


with_kaolin = pytest.mark.usefixtures("_library")


def is_closed(mesh):
    edges = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
    return (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


@with_kaolin
@pytest.mark.parametrize("align_corners", [False, True])
def test_sphere_is_where_it_should_be_and_faces_outwards(align_corners):
    mesh = FlexiCubesExtractor(resolution=64)(sphere, Box(align_corners=align_corners))
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.37).max() < 2e-3
    assert mesh.volume() == pytest.approx(4 / 3 * np.pi * 0.37**3, rel=5e-3)
    assert is_closed(mesh)


@with_kaolin
def test_the_window_follows_the_surface_in_a_turned_box():
    """A small ball near a corner: the grid that FlexiCubes is given is a part of the lattice, not all of it."""
    centre = torch.tensor([0.21, -0.13, 0.17])
    mesh = FlexiCubesExtractor(resolution=64)(
        lambda p: (p - centre).norm(dim=-1) - 0.1, Box(half_edge=0.6, pose=orbit(33.0, 21.0, 0.05))
    )
    assert np.abs(np.linalg.norm(mesh.vertices - centre.double().numpy(), axis=1) - 0.1).max() < 2e-3
    assert mesh.volume() > 0 and is_closed(mesh)


@with_kaolin
def test_the_same_surface_as_marching_cubes():
    ours, theirs = Extractor(resolution=64)(torus, Box()), FlexiCubesExtractor(resolution=64)(torus, Box())
    assert theirs.volume() == pytest.approx(ours.volume(), rel=0.03)
    gap = np.abs(torus(torch.from_numpy(theirs.vertices).float()).numpy())
    assert gap.max() < 0.5 / 64


@with_kaolin
def test_closed_at_the_wall():
    mesh = FlexiCubesExtractor(resolution=32, dense=True)(leaving, Box())
    assert is_closed(mesh)
    assert mesh.bounds[:, 0] == pytest.approx([-0.5, 0.5], abs=1e-6)
    assert mesh.volume() == pytest.approx(0.22, rel=0.05)


@with_kaolin
def test_extractor_does_all_of_it():
    extractor = FlexiCubesExtractor(resolution=64)
    result = extractor.run(two, Box(), lambda p, n: torch.ones_like(p) * 0.25)
    assert result.floaters.removed == 1
    assert (result.mesh.colours == 0.25).all()
    assert result.stats.evaluations < result.stats.nodes == 64**3
    for shift in (1.0, -3.0):
        with pytest.raises(EmptySurfaceError, match=r"values lie in \["):
            extractor(lambda p, shift=shift: p.norm(dim=-1) + shift, Box())


@with_kaolin
def test_the_configuration_builds_it():
    node = to_plain(compose("train", ["extractor=flexicubes"]).config["extractor"])
    built = build(node, allow_any=True)
    assert isinstance(built, FlexiCubesExtractor) and isinstance(built, Extractor)
    assert {f.name for f in fields(built)} == set(node) - {"_target_"}


@pytest.mark.usefixtures("_absent")
def test_without_kaolin_one_clear_error():
    for made in (FlexiCubesExtractor, lambda: TermSettings(mesh_points="flexicubes")):
        with pytest.raises(InputError, match=r"kaolin is not installed \(it is optional\)"):
            made()
    assert TermSettings().mesh_points == "projected"
    with pytest.raises(InputError, match=r"mesh_points=corners, expected projected or flexicubes"):
        TermSettings(mesh_points="corners")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="mesh_resolution=1"):
        TermSettings(mesh_resolution=1)


@with_kaolin
def test_vertices_move_with_the_field():
    """d|x|/dr = 1 at every vertex of a sphere of radius r, whatever the grid; few nodes are evaluated twice."""
    radius = torch.tensor(0.3, requires_grad=True)
    asked = []

    def ball(p):
        asked.append((len(p), torch.is_grad_enabled()))
        return p.norm(dim=-1) - radius

    vertices = surface_vertices(ball, Box(), resolution=24)
    assert (vertices.norm(dim=-1) - 0.3).abs().max() < 3e-3
    (gradient,) = torch.autograd.grad(vertices.norm(dim=-1).mean(), radius)
    assert float(gradient) == pytest.approx(1.0, abs=0.02)
    assert sum(n for n, graded in asked if not graded) == 24**3
    assert 0 < sum(n for n, graded in asked if graded) < 0.3 * 24**3


@with_kaolin
def test_the_shell_gives_the_gradient_of_the_whole_grid():
    box = Box(resolution=12, pose=orbit(20.0, 10.0, 0.02), align_corners=True)
    nodes = box.nodes().reshape(-1, 3)
    weight = torch.tensor([1.0, 0.7, 1.3], requires_grad=True)

    def ellipsoid(p):
        return (p * weight).norm(dim=-1) - 0.3

    index, _ = kaolin.flexicubes(ellipsoid(nodes).reshape(12, 12, 12))
    whole = box.to_world(index * (2 / 11) - 1)
    shell = surface_vertices(ellipsoid, box, resolution=12, chunk=100)
    assert torch.allclose(whole, shell, atol=1e-6)
    (expected,), (got,) = (torch.autograd.grad(v.square().sum(), weight) for v in (whole, shell))
    assert torch.allclose(got, expected, rtol=1e-4)


@with_kaolin
def test_no_surface_no_vertices():
    assert surface_vertices(lambda p: p.norm(dim=-1) + 1, Box(), resolution=8).shape == (0, 3)
    with pytest.raises(InputError, match="NaN at 512 of 512"):
        surface_vertices(lambda p: p[:, 0] * torch.nan, Box(), resolution=8)


def _terms(objects=2, **settings):
    model, batch = tiny_model(), sphere_batch(objects=objects)
    field = model(batch.images, batch.masks, batch.cameras)
    return StepTerms(
        field, batch, inv_s=model.variance(), anneal=1.0, settings=TermSettings(**settings)
    ), model  # fmt: skip


@with_kaolin
def test_the_mesh_term_compares_the_vertices_of_each_object():
    terms, _ = _terms(mesh_points="flexicubes", mesh_resolution=20)
    value = terms.functions()["mesh_regularisation"]()
    expected = []
    for index in range(2):
        one = terms.field.only(index)
        mesh_points = surface_vertices(lambda p, one=one: one.sdf(p[None])[0], terms.field.box, resolution=20)
        true = terms.batch.surface_points[index]
        squared = torch.cdist(mesh_points, true).square()
        expected.append(0.5 * float((squared.amin(1).mean() + squared.amin(0).mean()).detach()))
    assert float(value.detach()) == pytest.approx(sum(expected) / 2, rel=1e-4)
    assert expected[0] != expected[1]


def test_the_default_term_is_what_it_was():
    terms, _ = _terms()
    projected = terms.functions()["mesh_regularisation"]()
    vertices = terms.batch.surface_points
    noise = torch.special.ndtri(terms._random("mesh", vertices.shape[1], 3).clamp(1e-4, 1 - 1e-4))
    points = vertices + 0.02 * noise
    sdf, gradient = terms.field.sdf_and_gradient(points)
    stepped = points - sdf[..., None] * gradient / gradient.square().sum(-1, keepdim=True).clamp_min(0.01)
    squared = torch.cdist(stepped, vertices).square()
    expected = 0.5 * (squared.amin(2).mean() + squared.amin(1).mean())
    assert projected.item() == pytest.approx(expected.item(), rel=1e-4)


def _module(**settings):
    return ReconstructionModule(
        model=tiny_model(),
        loss=WeightedLosses(mesh_regularisation=1.0),
        optim=AdamCosine(lr=5e-3),
        terms=TermSettings(mesh_points="flexicubes", **settings),
    )


@with_kaolin
def test_the_gradient_reaches_the_network_and_brings_the_surface_nearer():
    module, batch = _module(mesh_resolution=16), sphere_batch()
    optimizer, _ = module.optim(module.model.parameters(), 30)
    values = []
    for step in range(31):
        total, _ = module.losses(batch, step=0)
        values.append(float(total.detach()))
        optimizer.zero_grad()
        total.backward()
        if step == 0:
            for name in ("feature_net", "volume_net", "sdf_net"):
                gradients = [p.grad for p in getattr(module.model, name).parameters() if p.grad is not None]
                assert max(float(g.abs().max()) for g in gradients) > 0, name
        torch.nn.utils.clip_grad_norm_(module.model.parameters(), 1.0)
        optimizer.step()
    assert min(values[-5:]) < 0.5 * values[0], f"{values[0]:.4g} -> {values[-1]:.4g}"


@with_kaolin
@pytest.mark.parametrize("empty", [(0, 1), (1,)], ids=["all", "one"])
def test_an_object_without_a_surface_counts_as_nothing_but_stays_in_the_graph(empty):
    terms, model = _terms(mesh_points="flexicubes", mesh_resolution=12)
    volume = terms.field.volume
    silhouettes = volume.prior.silhouettes.clone()
    silhouettes[list(empty)] = 1e3  # pixels from the outline: nothing is inside
    prior = replace(volume.prior, silhouettes=silhouettes)
    terms.field = replace(terms.field, volume=replace(volume, prior=prior))
    value = terms.functions()["mesh_regularisation"]()
    value.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.sdf_net.parameters())
    assert (value.item() == 0) == (len(empty) == 2)


def test_vertex_distance_by_hand():
    predicted = torch.tensor([[[0.0, 5, 0], [9.0, 9, 9]], [[1.0, 0, 0], [3.0, 0, 0]]], requires_grad=True)
    true = torch.tensor([[[0.0, 2, 0]], [[1.0, 0, 0]]])
    mask = torch.tensor([[True, False], [True, True]])
    # first object: 9 forth and 9 back, whatever its padding; second: (0 + 4) / 2 forth, 0 back
    value = vertex_distance(predicted, true, mask)
    assert value.item() == pytest.approx(0.5 * ((9 + 2) / 2 + (9 + 0) / 2))
    value.backward()
    assert (predicted.grad[0, 1] == 0).all() and predicted.grad[0, 0, 1] > 0


def test_marching_cubes_still_does_not_need_kaolin(monkeypatch):
    monkeypatch.setitem(sys.modules, "kaolin", None)
    assert extract(sphere, Box(), resolution=24).volume() > 0
