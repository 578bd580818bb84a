"""True distances, cavities, bounding boxes and samples of whole shapes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from one2345.geometry import Box, evaluation_box
from one2345.objects import Object3D
from one2345.objects.shapes import AnalyticShape, Part, place, random_shape
from one2345.objects.shapes.draft import towards
from one2345.seeding import torch_rng


def placed(*parts: Part, **options: object) -> AnalyticShape:
    shape = place(parts, id="test", **options)  # type: ignore[arg-type]
    assert shape is not None
    return shape


def box_distance(points: torch.Tensor, half: torch.Tensor) -> torch.Tensor:
    d = points.abs() - half
    return d.clamp_min(0.0).norm(dim=-1) + d.amax(dim=-1).clamp_max(0.0)


def directions(count: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(count, 3, generator=torch_rng("directions")), dim=-1)


def near_surface(shape: AnalyticShape, count: int, seed: int) -> torch.Tensor:
    generator = torch_rng("near", seed)
    offsets = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    return (
        shape.sample_surface(count, seed=seed).points
        + 0.05 * torch.rand(count, 1, generator=generator) * offsets
    )


@pytest.mark.parametrize("index", range(8))
def test_labels_against_witnesses(index: int) -> None:
    """A ball of the label's radius less 1e-3 holds no point of the other side; one of 1e-3 more does.

    Only signs of the program are used, so this knows nothing of the samples that labels are made from.
    """
    shape = random_shape(21, index=index)
    points = near_surface(shape, 60, index)
    label = shape.sdf(points)
    close = label.abs() < 0.05
    points, label = points[close], label[close]
    rays, inside, radius = directions(6000), (label < 0)[:, None], label.abs()[:, None, None]
    assert torch.equal(shape.occupancy(points), label < 0)
    within = shape.occupancy(points[:, None] + rays * (radius - 1e-3).clamp_min(0.0)) != inside
    beyond = shape.occupancy(points[:, None] + rays * (radius + 1e-3)) != inside
    assert not within[radius[:, 0, 0] > 1.2e-3].any()
    # Of a corner's small solid angle the rays may miss all; of the rest none.
    assert beyond.any(dim=1).float().mean() > 0.98
    assert (shape.bound(points).abs() <= label.abs() + 1e-4).all()


@pytest.mark.parametrize("index", range(8))
def test_bound_is_below_the_distance_to_dense_samples(index: int) -> None:
    """Everywhere in the volume, on both sides: the bound never exceeds the distance to a surface point."""
    shape = random_shape(22, index=index)
    points = 1.6 * torch.rand(1500, 3, generator=torch_rng("volume", index)) - 0.8
    surface = shape.sample_surface(20000, seed=1).points
    assert shape.bound(surface).abs().max() < 1e-4
    nearest = torch.cdist(points, surface).amin(dim=1)
    assert (shape.bound(points).abs() <= nearest + 1e-4).all()
    label = shape.sdf(points)
    assert (label.abs() <= nearest + 1e-3).all()
    assert (label.abs() >= nearest - 0.02).all()
    assert torch.equal(shape.bound(points) < 0, label < 0)


def test_box_and_sphere_labels_are_exact() -> None:
    points = 1.2 * torch.rand(3000, 3, generator=torch_rng("exact")) - 0.6
    box = placed(Part("box", (0.4, 0.3, 0.1)))
    assert (box.sdf(points) - box_distance(points, torch.tensor([0.4, 0.3, 0.1]))).abs().max() < 3e-4
    sphere = placed(Part("superquadric", (2.0, 2.0, 2.0, 2.0, 2.0)))
    assert (sphere.sdf(points) - (points.norm(dim=-1) - 0.4)).abs().max() < 3e-4


def test_labels_where_the_bound_is_far_from_exact() -> None:
    """Within a union and outside of an intersection-like cut, where min and max are only bounds."""
    box = placed(*[Part("box", (0.2, 0.2, 0.2), position=(x, 0, 0)) for x in (-0.2, 0.0, 0.2)])
    points = 0.39 * (2.0 * torch.rand(2000, 3, generator=torch_rng("union")) - 1.0)
    points[:, 1:] /= 2.0
    exact = box_distance(points, torch.tensor([0.4, 0.2, 0.2]))
    assert (box.bound(points) - exact).abs().max() > 0.05
    assert (box.sdf(points) - exact).abs()[exact.abs() < 0.05].max() < 1e-3
    ellipsoid = placed(Part("ellipsoid", (0.4, 0.2, 0.1)))
    point = torch.tensor([[0.0, 0.0, 0.14], [0.43, 0.0, 0.0], [0.0, 0.24, 0.0]])
    assert ellipsoid.sdf(point).tolist() == pytest.approx([0.04, 0.03, 0.04], abs=3e-4)


def ball(radius: float, **changes: object) -> Part:
    return Part("superquadric", (radius, radius, radius, 2.0, 2.0), **changes)  # type: ignore[arg-type]


def test_sealed_cavity_counts_as_inside() -> None:
    hollow = placed(ball(0.4), ball(0.3, operation="subtraction"), ball(0.15))
    points = 0.9 * torch.rand(3000, 3, generator=torch_rng("cavity")) - 0.45
    exact = points.norm(dim=-1) - 0.4
    assert (hollow.sdf(points) - exact).abs().max() < 2e-3
    assert torch.equal(hollow.occupancy(points), exact < 0)
    assert (hollow.bound(points).abs() <= exact.abs() + 1e-4).all()
    grid = evaluation_box(64)
    assert torch.equal(hollow.occupancy_grid(grid), grid.nodes().norm(dim=-1) < 0.4)
    for mesh in (hollow.mesh(64),):
        assert np.linalg.norm(mesh.vertices, axis=1).min() > 0.39
    assert hollow.sample_surface(500, seed=0).points.norm(dim=-1).min() > 0.39


def test_open_cavity_stays_open() -> None:
    chimney = Part("cylinder", (0.06, 0.3), position=(0, 0, 0.3), operation="subtraction")
    bowl = placed(ball(0.4), ball(0.3, operation="subtraction"), chimney)
    points = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.37], [0.35, 0.0, 0.0]])
    assert bowl.occupancy(points).tolist() == [False, False, True]
    assert bowl.sdf(points)[0].item() == pytest.approx(0.3, abs=3e-3)
    assert bowl.grid.cavity is None


def test_thin_sealed_shell_is_filled_and_grooves_are_not() -> None:
    shell = placed(Part("box", (0.4, 0.3, 0.3), shell=0.01))
    assert shell.occupancy(torch.zeros(1, 3)).all()
    tent = [Part("box", (0.3, 0.4, 0.02), towards(np.array([s, 0.0, 3.0]) / 10**0.5)) for s in (1.0, -1.0)]
    wedge = placed(*tent)
    assert wedge.grid.cavity is None


@pytest.mark.parametrize("index", range(6))
def test_bounding_box_is_tight_and_centred(index: int) -> None:
    shape = random_shape(23, index=index)
    assert 2.0 * max(shape.half) == pytest.approx(0.8, abs=1e-6)
    samples = shape.sample_surface(40000, seed=0).points
    half = torch.tensor(shape.half)
    assert (samples.abs() <= half + 1e-3).all()
    mesh = shape.mesh(160).bounds
    assert np.abs(mesh - np.array([-half.numpy(), half.numpy()])).max() < 4e-3


def test_bounding_box_of_a_cube_on_its_corner() -> None:
    shape = placed(Part("box", (1.0, 1.0, 1.0)), rotation=towards(np.ones(3) / 3**0.5).T)
    assert shape.half[2] == pytest.approx(0.4, abs=1e-4)
    assert shape.placement.scale * 2.0 * 3**0.5 == pytest.approx(0.8, abs=2e-4)


def test_surface_samples_are_uniform_by_area() -> None:
    shape = placed(Part("box", (0.4, 0.2, 0.1)))
    samples = shape.sample_surface(20000, seed=3)
    assert shape.sdf(samples.points).abs().max() < 1e-5
    share = samples.normals.abs().argmax(dim=1).bincount(minlength=3) / 20000
    area = torch.tensor([0.2 * 0.1, 0.4 * 0.1, 0.4 * 0.2])
    assert torch.allclose(share, area / area.sum(), atol=0.015)
    top = samples.points[samples.normals[:, 2] > 0.99]
    assert (top[:, 2] - 0.1).abs().max() < 1e-5
    counts = torch.histogram(top[:, 0], bins=8, range=(-0.4, 0.4)).hist / len(top)
    assert (counts - 1 / 8).abs().max() < 0.015


def test_occupancy_grid_equals_points() -> None:
    shape = random_shape(24, index=0)
    box = evaluation_box(32)
    assert torch.equal(shape.occupancy_grid(box), shape.occupancy(box.nodes()))
    turned = Box(half_edge=0.5, resolution=32, pose=torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0])))
    with pytest.raises(ValueError, match="axis-aligned"):
        shape.occupancy_grid(turned)


def test_random_shapes_are_keyed_and_varied() -> None:
    first, again, other = random_shape(25, index=7), random_shape(25, index=7), random_shape(25, index=8)
    assert isinstance(first, Object3D)
    assert first.id == "shape-25-000007"
    points = torch.rand(500, 3, generator=torch_rng("keyed")) - 0.5
    assert torch.equal(first.sdf(points), again.sdf(points))
    assert torch.equal(first.colour(points), again.colour(points))
    assert torch.equal(first.sample_surface(50, seed=1).points, again.sample_surface(50, seed=1).points)
    assert not torch.equal(first.sdf(points), other.sdf(points))
    shapes = [random_shape(26, index=i) for i in range(24)]
    counts = [len(s.parts) for s in shapes]
    assert min(counts) <= 2
    assert 5 <= max(counts) <= 12
    assert len({p.kind for s in shapes for p in s.parts}) >= 7
    assert {p.operation for s in shapes for p in s.parts} == {"union", "smooth_union", "subtraction"}
    assert len({p.texture.pattern for s in shapes for p in s.parts}) == 5


def test_colours_off_the_surface_come_from_it() -> None:
    shape = random_shape(27, index=0)
    samples = shape.sample_surface(300, seed=0)
    assert torch.allclose(shape.colour(samples.points), samples.colours, atol=1e-5)
    outside = shape.colour(torch.full((1, 3), 0.9))
    assert ((outside >= 0) & (outside <= 1)).all()
