"""Batch normalisation against torch's own in double precision, and what it must not do."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from one2345.models import norms
from one2345.models.norms import BatchNorm


def pair(channels: int = 5) -> tuple[BatchNorm, nn.BatchNorm2d, torch.Tensor]:
    torch.manual_seed(0)
    own, theirs = BatchNorm(channels).double(), nn.BatchNorm2d(channels).double()
    for part in (own, theirs):
        torch.manual_seed(1)
        nn.init.normal_(part.weight)
        nn.init.normal_(part.bias)
    return own, theirs, torch.randn(3, channels, 7, 6, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("entries", [1, 100, norms.CPU_ENTRIES])
def test_training_equals_torch_with_gradients_and_running_statistics(
    entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(norms, "CPU_ENTRIES", entries)
    own, theirs, x = pair()
    probe = torch.randn(x.shape, dtype=torch.float64)
    results = []
    for part in (own, theirs):
        y = part(x)
        gradients = torch.autograd.grad((y * probe).sum(), [x, part.weight, part.bias])
        results.append([y, *gradients, part.running_mean, part.running_var, part.num_batches_tracked])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-10)


def test_evaluation_uses_the_statistics_it_is_told_to() -> None:
    own, theirs, x = pair()
    own(x), theirs(x)
    own.eval(), theirs.eval()
    kept = own.running_mean.clone()
    torch.testing.assert_close(own(x), theirs(x))
    own.statistics = "batch"
    want = F.batch_norm(x, None, None, theirs.weight, theirs.bias, training=True)
    torch.testing.assert_close(own(x), want)
    assert torch.equal(own.running_mean, kept)


def test_absolute_gain_forgets_the_sign_of_the_weight() -> None:
    own, _, x = pair()
    own.absolute_gain = True
    want = F.batch_norm(x, None, None, own.weight.abs() + own.eps, own.bias, training=True)
    torch.testing.assert_close(own(x), want)
    (gradient,) = torch.autograd.grad(own(x).square().sum(), own.weight)
    (plain,) = torch.autograd.grad(
        F.batch_norm(x, None, None, own.weight.abs() + own.eps, own.bias, training=True).square().sum(),
        own.weight,
    )
    torch.testing.assert_close(gradient, plain)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_large_images_keep_their_digits(layout: torch.memory_format) -> None:
    """Means far from zero over 500,000 entries: one pass of float32 sums gives 4e-4 here."""
    torch.manual_seed(0)
    x = torch.randn(8, 4, 256, 256) * 0.1 + 1
    want = F.batch_norm(x.double(), None, None, training=True)
    got = BatchNorm(4)(x.contiguous(memory_format=layout))
    assert (got - want).abs().max() < 1e-5


@pytest.mark.parametrize("shape", [(300, 5), (1, 5, 7, 6, 4)])
def test_rows_and_volumes(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norms, "CPU_ENTRIES", 200)
    own, _, _ = pair()
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    probe = torch.randn(shape, dtype=torch.float64)
    results = []
    for y in (own(x), F.batch_norm(x, None, None, own.weight, own.bias, training=True)):
        results.append([y, *torch.autograd.grad((y * probe).sum(), [x, own.weight, own.bias])])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-10)
