"""Lifting, held against one voxel by hand and against autograd."""

import pytest
import torch

from one2345.geometry import Box, Cameras, load_plan, orbit_cameras, project
from one2345.models import cost_volume
from one2345.models.cost_volume import Lifting, lift, lift_rows


def test_one_voxel_by_hand() -> None:
    """The origin projects to the image centre: the mean of the four middle pixels of each view."""
    cameras = orbit_cameras([0.0, 90.0], [0.0, 0.0], size=4)
    features = torch.arange(2 * 1 * 4 * 4, dtype=torch.float32).reshape(2, 1, 4, 4)
    mean, variance, count = lift(features, torch.zeros(1, 3), cameras)
    a, b = (5 + 6 + 9 + 10) / 4, (21 + 22 + 25 + 26) / 4
    assert torch.allclose(mean, torch.tensor([[(a + b) / 2]]))
    assert torch.allclose(variance, torch.tensor([[((a - b) / 2) ** 2]]))
    assert count.tolist() == [2]


def test_views_before_and_behind_by_hand() -> None:
    """At the origin, with normal -y: a view from the front, two at 60 degrees of it on either side, one from behind."""
    cameras = orbit_cameras([0.0, 60.0, 300.0, 180.0], [0.0] * 4, size=8)
    values = [2.0, 5.0, 7.0, 11.0]
    features = torch.stack([torch.full((1, 8, 8), value) for value in values])
    normals = torch.tensor([[0.0, -1.0, 0.0], [0.0, 1.0, 0.0]])
    rows, count = lift_rows(features, torch.zeros(2, 3), cameras, Lifting(), normals=normals)
    mean = (2 + 0.5 * 5 + 0.5 * 7) / 2
    variance = (4 + 0.5 * 25 + 0.5 * 49) / 2 - mean**2
    expected = torch.tensor([[variance, mean, 0, 11], [0, 11, variance, mean]])
    torch.testing.assert_close(rows, expected, atol=1e-4, rtol=1e-5)
    assert count.tolist() == [4, 4]


def test_a_side_without_views_is_zero() -> None:
    cameras = orbit_cameras([0.0, 20.0], [0.0, 0.0], size=8)
    features = torch.full((2, 3, 8, 8), 4.0).requires_grad_()
    normals = torch.tensor([[0.0, -1.0, 0.0], [0.0, 0.0, 0.0]])
    rows, _ = lift_rows(features, torch.zeros(2, 3), cameras, Lifting(), normals=normals)
    assert torch.allclose(
        rows, torch.tensor([[0.0, 4, 0, 0], [0, 0, 0, 0]]).repeat_interleave(3, 1), atol=1e-6
    )
    (gradient,) = torch.autograd.grad(rows.sum(), features)
    assert gradient.isfinite().all()
    assert gradient.sum() == pytest.approx(3, abs=1e-4)  # that of a mean, in 3 channels


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gradient_of_views_before_and_behind(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    cameras = load_plan("ring8").cameras(20.0, 16)
    cameras = Cameras(K=cameras.K.to(dtype), c2w=cameras.c2w.to(dtype), size=cameras.size)
    points = 0.6 * torch.rand(20, 3, dtype=dtype) - 0.3
    normals = torch.nn.functional.normalize(torch.randn(20, 3, dtype=dtype), dim=-1)
    features = torch.randn(8, 2, 9, 9, dtype=dtype, requires_grad=True)
    weights = torch.randn(20, 8, dtype=dtype)

    def value(maps: torch.Tensor) -> torch.Tensor:
        return (weights * lift_rows(maps, points, cameras, Lifting(), normals=normals)[0]).sum()

    (gradient,) = torch.autograd.grad(value(features), features)
    step = 1e-3 if dtype == torch.float32 else 1e-6
    for _ in range(4):
        direction = torch.randn_like(features)
        slope = (value(features + step * direction) - value(features - step * direction)) / (2 * step)
        exact = (gradient * direction).sum()
        torch.testing.assert_close(
            slope,
            exact,
            rtol=2e-2 if dtype == torch.float32 else 1e-6,
            atol=2e-2 if dtype == torch.float32 else 1e-6,
        )


def test_views_that_do_not_see_a_point_contribute_nothing() -> None:
    cameras = orbit_cameras([0.0, 180.0], [0.0, 0.0], size=8)
    features = torch.stack([torch.full((1, 8, 8), 3.0), torch.full((1, 8, 8), 7.0)])
    points = torch.tensor([[0.0, -1.5, 0.0], [0.0, 1.5, 0.0], [50.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    mean, variance, count = lift(
        features, points, cameras
    )  # behind the first, behind the second, beside both
    assert count.tolist() == [1, 1, 0, 2]
    assert torch.allclose(mean[0], torch.tensor([7.0, 3.0, 0.0, 5.0]))
    assert torch.allclose(variance[0], torch.tensor([0.0, 0.0, 0.0, 4.0]))


def _reference(
    features: torch.Tensor, points: torch.Tensor, cameras: Cameras
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same in plain loops over views and points."""
    size = cameras.size
    scale = torch.tensor([features.shape[-1] / size[1], features.shape[-2] / size[0]]).to(features)
    means, variances = [], []
    pixels, depth = project(points.expand(len(cameras), -1, -1), cameras)
    for p in range(len(points)):
        seen = []
        for v in range(len(cameras)):
            u, w = pixels[v, p]
            if depth[v, p] > 0 and 0 <= u <= size[1] and 0 <= w <= size[0]:
                x, y = (pixels[v, p] * scale - 0.5).unbind()
                x, y = x.clamp(0, features.shape[-1] - 1), y.clamp(0, features.shape[-2] - 1)
                i, j = (
                    int(y.floor().clamp(max=features.shape[-2] - 2)),
                    int(x.floor().clamp(max=features.shape[-1] - 2)),
                )
                fy, fx = y - i, x - j
                m = features[v]
                seen.append(
                    m[:, i, j] * (1 - fy) * (1 - fx) + m[:, i, j + 1] * (1 - fy) * fx
                    + m[:, i + 1, j] * fy * (1 - fx) + m[:, i + 1, j + 1] * fy * fx
                )  # fmt: skip
        stacked = torch.stack(seen) if seen else features.new_zeros(1, features.shape[1])
        means.append(stacked.mean(0))
        variances.append(stacked.var(0, unbiased=False))
    return torch.stack(means, 1), torch.stack(variances, 1)


def test_values_and_gradients_equal_the_plain_loops() -> None:
    generator = torch.Generator().manual_seed(2)
    cameras = load_plan("ring8").cameras(10.0, 32)
    cameras = Cameras(K=cameras.K.double(), c2w=cameras.c2w.double(), size=(32, 32))
    features = torch.randn(8, 3, 16, 16, generator=generator, dtype=torch.float64, requires_grad=True)
    points = (torch.rand(60, 3, generator=generator, dtype=torch.float64) - 0.5) * 1.6
    mean, variance, _ = lift(features, points, cameras)
    expected_mean, expected_variance = _reference(features, points, cameras)
    assert torch.allclose(mean, expected_mean, atol=1e-10)
    assert torch.allclose(variance, expected_variance, atol=1e-10)
    weights = torch.randn(2, *mean.shape, generator=generator, dtype=torch.float64)
    (found,) = torch.autograd.grad((mean * weights[0] + variance * weights[1]).sum(), features)
    (wanted,) = torch.autograd.grad(
        (expected_mean * weights[0] + expected_variance * weights[1]).sum(), features
    )
    assert torch.allclose(found, wanted, atol=1e-9)


def test_the_order_of_the_views_does_not_matter() -> None:
    cameras = load_plan("ring8").cameras(10.0, 32)
    features = torch.randn(8, 2, 16, 16)
    points = Box(half_edge=0.5, resolution=4).nodes().reshape(-1, 3)
    order = torch.randperm(8)
    for a, b in zip(
        lift(features, points, cameras), lift(features[order], points, cameras[order]), strict=True
    ):
        assert torch.allclose(a, b, atol=1e-5)


def test_pieces_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and gradients when voxels come in many pieces, some of which no view sees."""
    torch.manual_seed(0)
    cameras = load_plan("ring8").cameras(10.0, 32)
    features = torch.randn(8, 2, 16, 16, requires_grad=True)
    points = torch.cat([Box(half_edge=0.5, resolution=6).nodes().reshape(-1, 3), torch.full((64, 3), 30.0)])
    found = []
    for pairs in (cost_volume.PAIRS, 64):
        monkeypatch.setattr(cost_volume, "PAIRS", pairs)
        mean, variance, _ = lift(features, points, cameras)
        found.append([mean, variance, *torch.autograd.grad((mean * variance).sum(), features)])
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_lifting_in_half_precision_is_done_in_single() -> None:
    torch.manual_seed(0)
    cameras = load_plan("ring8").cameras(10.0, 32)
    points = Box(half_edge=0.5, resolution=4).nodes().reshape(-1, 3)
    features = torch.randn(8, 2, 16, 16).bfloat16().requires_grad_()
    for got, want in zip(
        lift(features, points, cameras), lift(features.float(), points, cameras), strict=True
    ):
        assert got.dtype == want.dtype and torch.equal(got, want)
    (gradient,) = torch.autograd.grad(lift(features, points, cameras)[1].sum(), features)
    assert gradient.dtype == torch.bfloat16 and gradient.abs().max() > 0


def test_lifting_is_one_graph_for_the_compiler() -> None:
    torch.manual_seed(0)
    cameras = load_plan("ring8").cameras(10.0, 32)
    points = Box(half_edge=0.5, resolution=4).nodes().reshape(-1, 3)
    features = torch.randn(8, 2, 16, 16, requires_grad=True)

    def loss(maps: torch.Tensor) -> torch.Tensor:
        mean, variance, count = lift(maps, points, cameras)
        return (mean + variance * count).sum()

    compiled = torch.compile(loss, backend="eager", fullgraph=True)(features)
    assert torch.allclose(compiled, loss(features))
    (a,), (b,) = (torch.autograd.grad(x, features) for x in (compiled, loss(features)))
    assert torch.allclose(a, b)
