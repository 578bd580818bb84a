"""Analytic fields for extraction tests, each with its exact zero set."""

import torch
from torch import Tensor


def sphere(p: Tensor) -> Tensor:
    return p.norm(dim=-1) - 0.37


def torus(p: Tensor) -> Tensor:
    return torch.sqrt((p[:, :2].norm(dim=-1) - 0.3) ** 2 + p[:, 2] ** 2) - 0.04


def box(p: Tensor) -> Tensor:
    q = p.abs() - torch.tensor([0.4, 0.21, 0.03])
    return q.clamp_min(0).norm(dim=-1) + q.amax(-1).clamp_max(0)


def rough(p: Tensor) -> Tensor:
    """|grad| up to 1.8: no distance."""
    return p.norm(dim=-1) - 0.33 + 0.02 * torch.sin(40 * p).prod(-1)


def distorted(p: Tensor) -> Tensor:
    """Right near the surface, far from a distance elsewhere, and steep at a distance."""
    s = p.norm(dim=-1) - 0.3
    return s * (1 + 8 * s.abs()) * (1 + 0.5 * torch.sin(15 * p[:, 0]))


def tanh(p: Tensor) -> Tensor:
    """Saturates, as a truncated distance does."""
    return 0.05 * torch.tanh((p.norm(dim=-1) - 0.3) / 0.05)


def two(p: Tensor) -> Tensor:
    """A large and a small ball."""
    return torch.minimum(p.norm(dim=-1) - 0.3, (p - 0.4).norm(dim=-1) - 0.04)


def leaving(p: Tensor) -> Tensor:
    """A slab that passes through the box's wall."""
    return (p[:, 2] - 0.2 * p[:, 0]).abs() - 0.11


FIELDS = [sphere, torus, box, rough, distorted, tanh, two, leaving]
