"""Lifting by compiled loops against the plain operations."""

import pytest
import torch
from torch.nn import functional as F

from one2345.geometry import Box, load_plan
from one2345.models import cost_volume, lift_loops


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("integer", "leaking", "signed", "fewest", "channels"),
    [
        (False, False, False, 1, 3),
        (True, True, True, 2, 16),
        (True, False, False, 2, 4),
        (False, True, True, 1, 2),
    ],
)
def test_loops_equal_the_plain_operations(
    integer: bool,
    leaking: bool,
    signed: bool,
    fewest: int,
    channels: int,
    threads: int,
    sides: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    cameras = load_plan("ring8").cameras(10.0, 32)[:5]
    rules = cost_volume.Lifting(integer_pixels=integer, leaking=leaking)
    points = (
        Box(half_edge=1.4, resolution=8).nodes().reshape(-1, 3)[:-5]
    )  # some behind the cameras, some beside
    table = torch.randn(5, 14, 12, channels)
    normals = None if sides == 1 else F.normalize(torch.randn_like(points), dim=-1)
    matrices = rules.matrices(cameras, (14, 12)).float()
    common = table, points, matrices, normals, cameras.centres.float()
    want, counts, totals = cost_volume.plain_lift(*common, integer, leaking, signed, fewest)
    got, counted, totalled = lift_loops.lift(*common, integer, leaking, signed, fewest)
    assert torch.equal(counts, counted)
    assert totals.shape == (len(points), sides)
    torch.testing.assert_close(totalled, totals, atol=1e-5, rtol=1e-5)
    assert 0 < (counts == 0).sum() < len(counts)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)
    upstream = torch.randn_like(want)
    wanted = cost_volume.plain_lift_backward(upstream, *common, integer, leaking)
    sent = lift_loops.lift_backward(upstream, *common, integer, leaking)
    assert wanted.abs().max() > 1
    torch.testing.assert_close(sent, wanted, atol=1e-4, rtol=1e-3)


def test_maps_of_one_pixel_and_no_points() -> None:
    cameras = load_plan("ring8").cameras(10.0, 32)[:2]
    table = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    matrices, centres = cost_volume.Lifting().matrices(cameras, (1, 1)).float(), cameras.centres.float()
    views = matrices, None, centres
    rows, counts, _ = lift_loops.lift(table, torch.zeros(1, 3), *views, False, False, False, 1)
    assert rows.tolist() == [[1.0, 2.0]] and counts.tolist() == [2]
    none = torch.zeros(0, 3)
    assert lift_loops.lift(table, none, *views, False, False, False, 1)[0].shape == (0, 2)
    assert not lift_loops.lift_backward(torch.zeros(0, 2), table, none, *views, False, False).any()
