"""Checkpoints as flat double tensors, and the two batch normalisations of the published network."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

Weights = dict[str, Tensor]
NETWORKS = (
    "sdf_network_lod0",
    "rendering_network_lod0",
    "variance_network_lod0",
    "pyramid_feature_network",
)
EPS = 1e-5
MOMENTUM = 0.1


def double(checkpoint: Mapping[str, Any]) -> Weights:
    """The four networks of a released checkpoint under "network.name", floating tensors in float64."""
    flat = {f"{net}.{name}": value for net in NETWORKS for name, value in checkpoint[net].items()}
    return {name: value.double() if value.is_floating_point() else value for name, value in flat.items()}


def normalise(
    x: Tensor, weights: Weights, name: str, *, batch: bool, updates: Weights | None = None
) -> tuple[Tensor, Tensor]:
    """Centre x (n, c) and return it with 1/sqrt(var + eps), of the n rows (`batch`) or of the running statistics.

    updates: receives what the running statistics become after this pass (momentum 0.1, unbiased variance).
    """
    if not batch:
        mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    else:
        mean, variance = x.mean(dim=0), x.var(dim=0, unbiased=False)
        if updates is not None:
            new = {"running_mean": mean, "running_var": x.var(dim=0, unbiased=True)}
            for key, value in new.items():
                old = weights[f"{name}.{key}"]
                updates[f"{name}.{key}"] = (1 - MOMENTUM) * old + MOMENTUM * value.detach()
    return x - mean, 1 / torch.sqrt(variance + EPS)


def abn(x: Tensor, weights: Weights, name: str, *, batch: bool, updates: Weights | None = None) -> Tensor:
    """In-place ABN of maps (b, c, h, w): the scale is |gamma| + eps, then a leaky ReLU of slope 0.01."""
    rows = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
    centred, inverse_sd = normalise(rows, weights, name, batch=batch, updates=updates)
    gamma, beta = weights[f"{name}.weight"], weights[f"{name}.bias"]
    rows = centred * inverse_sd * (gamma.abs() + EPS) + beta
    rows = torch.where(rows > 0, rows, 0.01 * rows)
    return rows.reshape(x.shape[0], *x.shape[2:], x.shape[1]).permute(0, 3, 1, 2)


def bn(x: Tensor, weights: Weights, name: str, *, batch: bool, updates: Weights | None = None) -> Tensor:
    """Ordinary batch normalisation of site values (n, c), gamma with its sign, then ReLU."""
    centred, inverse_sd = normalise(x, weights, name, batch=batch, updates=updates)
    return torch.relu(centred * inverse_sd * weights[f"{name}.weight"] + weights[f"{name}.bias"])
