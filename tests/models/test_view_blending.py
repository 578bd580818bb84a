"""Blending in passes against blending written out: values, gradients, memory, and what may not matter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.models.plain_blending import plain_blend
from torch import Tensor
from torch.nn import functional as F

from one2345.geometry import load_plan
from one2345.models import view_blending
from one2345.models.blend_net import BlendNet
from one2345.models.map_sampling import Sampling, table_of
from one2345.models.view_blending import Sight, blend

SAMPLINGS = [Sampling("border", False), Sampling("zeros", True)]


def unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1)


def scene(*, b: int = 2, v: int = 5, p: int = 23, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """Points of which the first is seen by none, the second by one view and the third by all."""
    torch.manual_seed(0)
    net = BlendNet(geometry_channels=4, feature_channels=6, hidden=16, width=8).to(dtype)
    sights = []
    for _ in range(b):
        visible = torch.rand(v, p) > 0.4
        visible[:, 0], visible[:, 1], visible[:, 2] = False, False, True
        visible[v - 1, 1] = True
        positions = torch.rand(v, p, 2, dtype=dtype) * 2.4 - 1.2
        positions[:, 3] = torch.tensor([1.0, -1.0])  # a corner of the image
        sights.append(
            Sight(
                points=unit(p, 3).to(dtype), directions=unit(p, 3).to(dtype), centres=3 * unit(v, 3).to(dtype),
                positions=positions, visible=visible,
            )
        )  # fmt: skip
    return {
        "net": net,
        "geometry": torch.randn(b, p, 4, dtype=dtype, requires_grad=True),
        "maps": torch.randn(b, v, 9, 6, 7, dtype=dtype, requires_grad=True),
        "sights": sights,
    }


def gradients(colour: Tensor, made: dict[str, Any], counted: Tensor | float = 1.0) -> list[Tensor]:
    probe = torch.sin(torch.arange(colour.numel()).view_as(colour)).to(colour) * counted
    inputs = [made["geometry"], made["maps"], *made["net"].parameters()]
    return list(torch.autograd.grad((colour * probe).sum(), inputs))


def weighed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """How many points and views per point the network sees from here on, pass by pass."""
    found: list[tuple[int, int]] = []
    original = BlendNet.logits

    def logits(net: BlendNet, geometry: Tensor, samples: Tensor, *rest: Tensor) -> Tensor:
        found.append((samples.shape[0], samples.shape[1]))
        return original(net, geometry, samples, *rest)

    monkeypatch.setattr(BlendNet, "logits", logits)
    return found


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("hidden_count", [False, True])
@pytest.mark.parametrize("pairs", [7, 40, 10_000])
def test_equals_what_is_written_out(
    sampling: Sampling, hidden_count: bool, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_blending, "CPU_PAIRS", pairs)
    made = scene()
    made["net"].count_hidden_views = hidden_count
    got, want = blend(**made, sampling=sampling), plain_blend(**made, sampling=sampling)
    torch.testing.assert_close(got, want, atol=1e-12, rtol=0)
    for x, y in zip(gradients(got, made), gradients(want, made), strict=True):
        torch.testing.assert_close(x, y, atol=1e-11, rtol=1e-9)


def test_points_that_pass_nothing_back_are_left_out_and_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = scene()
    counted = (torch.arange(23) % 3 == 0).double()[:, None]
    want = gradients(plain_blend(**made, sampling=SAMPLINGS[0]), made, counted)
    got = blend(**made, sampling=SAMPLINGS[0])
    passes = weighed(monkeypatch)
    for x, y in zip(gradients(got, made, counted), want, strict=True):
        torch.testing.assert_close(x, y, atol=1e-11, rtol=1e-9)
    assert sum(points for points, _ in passes) == 2 * int(counted.sum())


def test_only_views_that_see_a_point_are_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scene(b=1, p=200)
    monkeypatch.setattr(view_blending, "CPU_PAIRS", 40)
    passes = weighed(monkeypatch)
    blend(**made, sampling=SAMPLINGS[0])
    counts = made["sights"][0].visible.sum(0)
    least = int(torch.where(counts == 0, 5, counts).sum())
    sizes = [points * views for points, views in passes]
    assert least <= sum(sizes) < 1.1 * least < 0.75 * 5 * 200
    assert max(sizes) <= 40


def test_nearest_views_are_those_that_see_a_point_from_closest_to_the_viewer() -> None:
    sight = scene(b=1, v=7, p=40)["sights"][0]
    near = sight.nearest(3)
    assert sight.nearest(7) is sight
    for point in range(40):
        seen = sight.visible[:, point].nonzero()[:, 0].tolist()
        towards = F.normalize(sight.centres - sight.points[point], dim=1)
        angles = torch.arccos(towards @ sight.directions[point])
        expected = sorted(seen, key=lambda view, angles=angles: float(angles[view]))[:3]
        assert near.visible[:, point].nonzero()[:, 0].tolist() == sorted(expected)


def test_single_precision_and_the_same_number_every_time() -> None:
    made, exact = scene(dtype=torch.float32), scene()
    first, second = (blend(**made, sampling=SAMPLINGS[1]) for _ in range(2))
    assert torch.equal(first, second)
    for x, y in zip(gradients(first, made), gradients(second, made), strict=True):
        assert torch.equal(x, y)
    assert (plain_blend(**made, sampling=SAMPLINGS[1]) - first).abs().max() < 1e-5
    assert first.dtype == torch.float32 and blend(**exact, sampling=SAMPLINGS[1]).dtype == torch.float64


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("views", [1, 5, 40])
@pytest.mark.parametrize("hidden_count", [False, True])
@pytest.mark.parametrize("sampling", [*SAMPLINGS, Sampling("zeros", False)])
def test_loops_equal_what_is_written_out(
    sampling: Sampling, hidden_count: bool, views: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In single precision on a CPU; layers of several widths, more pairs than go through them at once."""
    made = scene(b=2, v=views, p=400, dtype=torch.float32)
    torch.manual_seed(1)
    made["net"] = BlendNet(
        geometry_channels=4, feature_channels=6, hidden=13, width=6, direction_hidden=7, logit_hidden=(5, 3),
        count_hidden_views=hidden_count,
    )  # fmt: skip
    for parameter in made["net"].parameters():
        torch.nn.init.normal_(parameter, std=0.5)  # exponents to both sides, biases included
    before, passes = torch.get_num_threads(), weighed(monkeypatch)
    try:
        torch.set_num_threads(threads)
        got = blend(**made, sampling=sampling)
    finally:
        torch.set_num_threads(before)
    assert not passes, "none by plain operations"
    double = {**made, "net": made["net"].double(), "geometry": made["geometry"].double()}
    double["maps"] = made["maps"].double()
    double["sights"] = [
        Sight(*(part.double() if part.is_floating_point() else part for part in vars(s).values()))
        for s in made["sights"]
    ]
    want = plain_blend(**double, sampling=sampling)
    assert (got - want).abs().max() < 1e-5
    hidden = ~made["sights"][0].visible.any(0)
    assert hidden.any()


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_place_that_is_no_number_is_read_nowhere_beside_the_maps(sampling: Sampling) -> None:
    made = scene(b=1, dtype=torch.float32)
    made["sights"][0].positions[:, 5] = torch.nan
    made["sights"][0].positions[:, 6] = torch.inf
    assert blend(**made, sampling=sampling)[0, :5].isfinite().all()


@pytest.mark.parametrize("what", ["weight", "feature"])
def test_what_is_no_number_shows_in_the_colours(what: str) -> None:
    made = scene(dtype=torch.float32)
    with torch.no_grad():
        (made["net"].base[0].weight if what == "weight" else made["maps"][:, :, 5]).fill_(torch.nan)
    lost = [way(**made, sampling=SAMPLINGS[0]).isnan() for way in (blend, plain_blend)]
    # What no view sees has the mean of the colours.
    assert torch.equal(*lost) and lost[0].float().mean() > 0.5


def narrower(made: dict[str, Any], what: str) -> None:
    sight = made["sights"][0]
    if what == "views":
        made["maps"] = made["maps"][:, :3]
    elif what == "places":
        made["sights"][0] = replace(sight, positions=sight.positions[:, :9])
    elif what == "centres":
        made["sights"][0] = replace(sight, centres=sight.centres[:2])
    else:
        made["geometry" if what == "geometry" else "maps"] = {
            "geometry": made["geometry"][..., :3], "fewer": made["maps"][:, :, :7],
            "more": torch.cat([made["maps"], made["maps"]], 2),
        }[what]  # fmt: skip


@pytest.mark.parametrize("what", ["geometry", "fewer", "more", "views", "places", "centres"])
def test_sizes_that_do_not_fit_are_refused(what: str) -> None:
    made = scene(dtype=torch.float32)
    narrower(made, what)
    with pytest.raises(ValueError, match=r"the blend net takes|views of 23 points need"):
        blend(**made, sampling=SAMPLINGS[0])


@pytest.mark.parametrize("count", [3, 8, 32, 50])
def test_loops_see_what_is_seen_by_plain_operations(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cameras = load_plan("published32").cameras(20.0, (48, 64))
    torch.manual_seed(0)
    points, directions = 1.6 * (torch.rand(700, 3) - 0.5), F.normalize(torch.randn(700, 3), dim=-1)
    points[0] = cameras.centres[0]
    points[1] = 3 * cameras.centres[1]  # behind a camera
    points[2] = torch.nan
    points[3], directions[3] = 0, cameras.centres.new_tensor([0.0, 0.0, 1.0])  # a ring of views equally close
    directions[4] = torch.nan
    with monkeypatch.context() as patch:
        patch.setattr(view_blending, "sampling_grid", None)
        got, seen = Sight.of(points, directions, cameras, count)
    monkeypatch.setattr(view_blending, "looped", lambda _: False)
    want, expected = Sight.of(points, directions, cameras, count)
    torch.testing.assert_close(got.positions, want.positions, atol=2e-6, rtol=1e-5)
    assert torch.equal(seen, expected) and seen[2] == 0 and 0 < seen.float().mean() < 32
    unequal = [0, *range(5, 700)]
    assert torch.equal(got.visible[:, unequal], want.visible[:, unequal])
    assert torch.equal(got.visible.sum(0), want.visible.sum(0)), (
        "of views equally close, no more than asked for"
    )


def test_autocast_holds_in_the_backward_pass_too() -> None:
    made = scene(dtype=torch.float32)
    made["net"].requires_grad_()
    exact = gradients(blend(**made, sampling=SAMPLINGS[0]), made)
    with torch.autocast("cpu", torch.bfloat16):
        colour = blend(**made, sampling=SAMPLINGS[0])
        plain = plain_blend(**made, sampling=SAMPLINGS[0])
    assert colour.dtype == torch.float32
    assert (colour - plain).abs().max() < 2e-2
    rough = gradients(colour, made)
    assert all(x.dtype == y.dtype for x, y in zip(rough, exact, strict=True))
    distances = [float((x - y).norm() / y.norm()) for x, y in zip(rough[:3], exact[:3], strict=True)]
    assert all(1e-6 < d < 0.1 for d in distances), distances  # single precision would differ by 1e-7


def test_gradients_stop_where_nothing_is_trained() -> None:
    made = scene()
    made["maps"].requires_grad_(False)
    made["net"].requires_grad_(False)
    made["net"].sharpness.requires_grad_()
    colour = blend(**made, sampling=SAMPLINGS[0])
    got = torch.autograd.grad(colour.sum(), [made["geometry"], made["net"].sharpness])
    want = torch.autograd.grad(
        plain_blend(**made, sampling=SAMPLINGS[0]).sum(), [made["geometry"], made["net"].sharpness]
    )
    for x, y in zip(got, want, strict=True):
        torch.testing.assert_close(x, y, atol=1e-12, rtol=1e-9)


@pytest.mark.slow  # the compiler takes its time
def test_compiles_to_one_graph_of_the_same_values() -> None:
    made = scene()
    compiled = torch.compile(
        lambda: blend(**made, sampling=SAMPLINGS[0]), backend="aot_eager", fullgraph=True
    )
    got, want = compiled(), blend(**made, sampling=SAMPLINGS[0])
    torch.testing.assert_close(got, want, atol=1e-12, rtol=0)
    for x, y in zip(gradients(got, made), gradients(want, made), strict=True):
        torch.testing.assert_close(x, y, atol=1e-11, rtol=1e-9)


def test_nothing_but_the_inputs_is_kept() -> None:
    made = scene()
    kept: list[int] = []
    sizes = {
        made["geometry"].data_ptr(),
        made["maps"].data_ptr(),
        *(p.data_ptr() for p in made["net"].parameters()),
    }
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.data_ptr()) or x, lambda x: x):
        blend(**made, sampling=SAMPLINGS[0])
    assert kept and set(kept) <= sizes


def test_no_point_has_no_colour() -> None:
    made = scene(p=4)
    none = [
        Sight(
            points=s.points[:0], directions=s.directions[:0], centres=s.centres, positions=s.positions[:, :0],
            visible=s.visible[:, :0],
        )
        for s in made["sights"]
    ]  # fmt: skip
    empty = blend(made["net"], made["geometry"][:, :0], made["maps"], none, SAMPLINGS[0])
    assert empty.shape == (2, 0, 3)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_corners_equal_grid_sample_and_its_gradient(sampling: Sampling) -> None:
    torch.manual_seed(1)
    maps = torch.randn(3, 5, 6, 4, dtype=torch.float64, requires_grad=True)
    edges = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [-1.2, 0.3], [0.1, 1.3], [4.0, -9.0], [1.0, -1.0]])
    positions = torch.cat([torch.rand(3, 40, 2) * 2.6 - 1.3, edges.expand(3, -1, -1)], 1).double()
    want = F.grid_sample(
        maps, positions[:, None], padding_mode=sampling.padding, align_corners=sampling.align_corners
    )[:, :, 0].transpose(1, 2)
    corners = sampling.corners(positions, torch.arange(3)[:, None], (6, 4))
    got = corners.read(table_of(maps))
    torch.testing.assert_close(got, want, atol=1e-12, rtol=0)
    probe = torch.randn_like(want)
    (gradient,) = torch.autograd.grad((want * probe).sum(), maps)
    found = torch.zeros_like(table_of(maps))
    corners.add(found, probe)
    torch.testing.assert_close(found, table_of(gradient), atol=1e-12, rtol=0)
    last = torch.channels_last
    assert table_of(maps.detach().contiguous(memory_format=last)).is_contiguous()
