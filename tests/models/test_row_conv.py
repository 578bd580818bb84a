"""The convolution of a volume that is constant but for some voxels, against the dense one and autograd."""

import pytest
import torch
from torch.nn import functional as F

from one2345.models import row_conv
from one2345.models.row_conv import Voxels


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_it_is_the_dense_convolution_and_its_gradients(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_conv, "GATHERED", 27 * 4 * 10)  # many pieces
    draw = torch.Generator().manual_seed(0)
    n, c, k = 6, 5, 4
    at = torch.randperm(n**3, generator=draw)[: int(share * n**3)].sort().values
    rows = torch.randn(len(at), c, generator=draw, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(k, c, 3, 3, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    rest = torch.tensor([0.0, 0.0, 1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(1, k, n, n, n, generator=draw, dtype=torch.float64)

    dense = rest.repeat(n**3, 1).index_copy(0, at, rows).view(1, n, n, n, c).permute(0, 4, 1, 2, 3)
    expected = F.conv3d(dense, weight, padding=1)
    wanted = torch.autograd.grad(expected, [rows, weight, rest], upstream)
    voxels = Voxels(rows=[rows], at=[at], rest=rest, edge=n)
    found = voxels.convolved(weight)
    torch.testing.assert_close(voxels.dense(), dense)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(torch.autograd.grad(found, [rows, weight, rest], upstream), wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_half_precision_sends_float_gradients_back() -> None:
    rows, at = torch.randn(9, 3, requires_grad=True), torch.arange(9)
    weight = torch.randn(2, 3, 3, 3, 3, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = Voxels(rows=[rows], at=[at], rest=torch.zeros(3), edge=4).convolved(weight)
    assert found.dtype == torch.bfloat16
    found.float().sum().backward()
    dense = torch.zeros(64, 3).index_copy(0, at, rows.detach()).view(1, 4, 4, 4, 3).permute(0, 4, 1, 2, 3)
    exact = weight.detach().requires_grad_()
    F.conv3d(dense, exact, padding=1).sum().backward()
    assert weight.grad is not None and exact.grad is not None
    torch.testing.assert_close(weight.grad, exact.grad, atol=0.02, rtol=0.02)
