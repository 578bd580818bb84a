"""The distance bound: closed forms of the primitives, and that nothing done to them breaks the bound."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from one2345.objects.shapes import Part, random_shape
from one2345.objects.shapes.draft import FORWARD, SOLIDS, Draft, about_z
from one2345.objects.shapes.outlines import closed, cone
from one2345.objects.shapes.program import Placement, Programs
from one2345.seeding import numpy_rng, torch_rng


def evaluate(parts: list[Part], points: list[tuple[float, float, float]]) -> list[float]:
    return Programs([parts], [Placement()]).at(torch.tensor(points)).tolist()


SQUARE = closed(np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]))
CLOSED_FORMS = {
    "box": (Part("box", (1.0, 2.0, 3.0)), [((2, 0, 0), 1), ((0, 0, 0), -1), ((2, 3, 4), math.sqrt(3))]),
    "rounded": (
        Part("box", (0.5, 0.5, 0.5), rounding=0.5),
        [((2, 0, 0), 1), ((2, 2, 2), 1.5 * math.sqrt(3) - 0.5)],
    ),
    "sphere": (
        Part("ellipsoid", (0.5, 0.5, 0.5)),
        [((0.3, 0.4, 0), 0), ((0, 0, 2), 1.5), ((0, 0, 0.1), -0.4)],
    ),
    "superquadric": (Part("superquadric", (1, 1, 1, 2.0, 2.0)), [((0, 0, 1.7), 0.7), ((0.6, 0, 0.0), -0.4)]),
    "cylinder": (Part("cylinder", (1.0, 2.0)), [((3, 0, 0), 2), ((4, 0, 6), 5), ((0, 0, 1.8), -0.2)]),
    "cone": (
        Part("revolution", cone(1.0, 0.0, 1.0)),
        [((0, 0, 1), 0), ((0, 0, 2), 1), ((0, 0, -3), 2), ((0, 0.0, -0.9), -0.1), ((2, 0, -1), 1)],
    ),
    "torus": (Part("torus", (1.0, 0.25)), [((0, 1, 0), -0.25), ((0, 0, 0), 0.75), ((1, 0, 1), 0.75)]),
    "capsule": (Part("capsule", (0.5, 1.0)), [((0, 0, 2), 0.5), ((1, 0, 0.5), 0.5), ((0, 0, 0), -0.5)]),
    "ring": (
        Part("revolution", closed(np.array([[1.0, -1.0], [2.0, -1.0], [2.0, 1.0], [1.0, 1.0]]))),
        [((0, 0, 0), 1), ((0, 1.5, 0), -0.5), ((5, 0, 5), 5)],
    ),
    "extrusion": (
        Part("extrusion", (0.5, *SQUARE)),
        [((0, 0, 2), 1.5), ((4, 0, 4.5), 5), ((0.9, 0, 0), -0.1)],
    ),
    "shell": (
        Part("ellipsoid", (1, 1, 1), shell=0.1),
        [((0, 0, 0), 0.9), ((1, 0, 0), -0.1), ((2, 0, 0), 0.9)],
    ),
    "cut": (
        Part("box", (1, 1, 1), cut=(0.0, 0.0, 1.0, 0.25)),
        [((0, 0, 0.5), 0.25), ((0, 0, 0.125), -0.125), ((0, 0, -2), 1)],
    ),
    "pose": (
        Part("cylinder", (0.5, 2.0), rotation=FORWARD, position=(1, 0, 0)),
        [((1, 3, 0), 1), ((2, 0, 0), 0.5)],
    ),
    "fold": (
        Part("ellipsoid", (0.5, 0.5, 0.5), position=(1, 1, 0), fold=(True, True, False)),
        [((-1, -1, 1), 0.5), ((1, -1, 0), -0.5)],
    ),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_forms(name: str) -> None:
    part, cases = CLOSED_FORMS[name]
    found = evaluate([part], [point for point, _ in cases])
    assert found == pytest.approx([value for _, value in cases], abs=3e-5)


def test_operations() -> None:
    left, right = Part("box", (1, 1, 1)), Part("box", (1, 1, 1), position=(1.5, 0, 0))
    assert evaluate([left, right], [(3.0, 0, 0)]) == pytest.approx([0.5])
    cut = Part("box", (1, 1, 1), position=(1.5, 0, 0), operation="subtraction")
    assert evaluate([left, cut], [(0.75, 0, 0), (0.0, 0, 0)]) == pytest.approx([0.25, -0.5])
    smooth = Part("box", (1, 1, 1), position=(1.5, 0, 0), operation="smooth_union", blend=0.4)
    # In the middle both are 0.25 away from y = 1.25: the smooth minimum lies blend / 4 below.
    assert evaluate([left, smooth], [(0.75, 1.25, 0)]) == pytest.approx([0.25 - 0.1])


def test_placement_is_a_similarity() -> None:
    part = Part("box", (0.3, 0.2, 0.1), position=(0.5, 0.0, 0.0))
    turn = about_z(math.pi / 2)
    placed = Programs([[part]], [Placement(rotation=turn, centre=(0.0, 0.5, 0.0), scale=2.0)])
    points = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.6, 0.0]])
    assert placed.at(points).tolist() == pytest.approx([-0.2, 0.8, 1.0], abs=1e-6)


@pytest.mark.parametrize("kind", SOLIDS)
@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=6)
def test_every_part_is_one_lipschitz(kind: str, seed: int) -> None:
    """With all modifiers: no slope above 1 between near or far points, in and out of the part."""
    draft = Draft(numpy_rng("lipschitz", kind, seed))
    changes = draft.deformation(0.5) if kind != "torus" else {}
    if draft.chance(0.5):
        changes |= {"shell": 0.03, "cut": (0.6, 0.0, 0.8, 0.1)}
    part = draft.solid(
        0.5,
        kind=kind,
        rotation=draft.rotation(),
        fold=(True, False, draft.chance(0.5)),
        position=(0.2, 0, 0),
        **changes,
    )
    blended = draft.solid(0.3, position=(0.3, 0.1, 0.2), operation="smooth_union", blend=0.1)
    cutter = draft.solid(0.3, position=(-0.2, 0.1, 0.1), operation="subtraction")
    programs = Programs([[part, blended, cutter]], [Placement()])
    generator = torch_rng("lipschitz", seed)
    a = 2.4 * torch.rand(6000, 3, generator=generator) - 1.2
    reach = torch.tensor([1e-2, 0.1, 1.0]).repeat(2000)[:, None]
    b = a + reach * torch.randn(6000, 3, generator=generator)
    slope = (programs.at(a) - programs.at(b)).abs() / (a - b).norm(dim=-1)
    assert slope.max() < 1.0 + 1e-3


def test_batches_of_unlike_programs_equal_single_ones() -> None:
    shapes = [random_shape(3, index=i) for i in range(5)]
    together = Programs([s.parts for s in shapes], [s.placement for s in shapes])
    points = torch.rand(5, 3, 400, generator=torch_rng("batch")) - 0.5
    value, gradient = together.gradient(points)
    colour = together.colour(points)
    for i, shape in enumerate(shapes):
        alone, slope = shape.programs.gradient(points[i : i + 1])
        assert torch.allclose(value[i], alone[0], atol=1e-6)
        assert torch.allclose(gradient[i], slope[0], atol=1e-4)
        assert torch.allclose(colour[i], shape.programs.colour(points[i : i + 1])[0], atol=1e-4)


def test_owner_gives_the_colour() -> None:
    from one2345.objects.shapes import Texture

    red, blue = (Texture(colours=np.array([c] * 3, dtype=float)) for c in ([1, 0, 0], [0, 0, 1]))
    parts = [
        Part("box", (0.5, 0.5, 0.5), texture=red),
        Part("cylinder", (0.2, 1.0), operation="subtraction", texture=blue),
    ]
    programs = Programs([parts], [Placement()])
    colours = programs.colour_at(torch.tensor([[0.5, 0.0, 0.0], [0.2, 0.0, 0.1]]))
    assert colours.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "blob", "params": (1.0,)}, "blob"),
        ({"kind": "box", "params": (1.0, 1.0, 1.0), "operation": "xor"}, "xor"),
        ({"kind": "box", "params": (1.0, 1.0, 1.0), "operation": "smooth_union"}, "blend"),
        ({"kind": "box", "params": (1.0, 1.0, 1.0), "taper": 1.0}, "taper"),
    ],
)
def test_bad_parts_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Part(**arguments)  # type: ignore[arg-type]
