"""NeuS: the opacity of a ray section from the signed distance and slope at its middle.

The field along a section of length `delta` is taken as linear, so its values at the section's ends follow
from one evaluation in the middle, and opacity is the share by which the logistic CDF of the distance falls.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

ALPHA_EPS = 1e-5
TRANSMITTANCE_EPS = 1e-7


class Variance(nn.Module):
    """The single learned sharpness of all surfaces: inverse standard deviation exp(10 v), clipped.

    init: starting v (0.2 gives 7.39 per unit of distance). low, high: limits of the inverse deviation.
    """

    def __init__(self, *, init: float = 0.2, low: float = 1e-6, high: float = 1e6) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.tensor(float(init)))
        self.low, self.high = low, high

    def forward(self) -> Tensor:
        """Inverse standard deviation (), in 1 / distance."""
        return torch.exp(10.0 * self.v).clamp(self.low, self.high)


def section_slope(cosine: Tensor, anneal: float | Tensor = 1.0) -> Tensor:
    """Slope (...) <= 0 of the distance along the ray, from cosine = direction . gradient (...).

    anneal = 1: only sections that enter the surface count. anneal = 0: every section falls a little, which
    gives a random initial field gradients everywhere.
    """
    return -(relu(0.5 - 0.5 * cosine) * (1.0 - anneal) + relu(-cosine) * anneal)


def neus_alpha(
    sdf: Tensor, cosine: Tensor, deltas: Tensor, inv_s: float | Tensor, anneal: float | Tensor = 1.0
) -> Tensor:
    """Opacity (...) in [0, 1] of sections with mid-point distance sdf, cosine and length, all (...)."""
    half_drop = section_slope(cosine, anneal) * deltas * 0.5
    entry = torch.sigmoid((sdf - half_drop) * inv_s)
    exit_ = torch.sigmoid((sdf + half_drop) * inv_s)
    return ((entry - exit_ + ALPHA_EPS) / (entry + ALPHA_EPS)).clamp(0.0, 1.0)


def weights_from_alpha(alpha: Tensor) -> Tensor:
    """Share (..., s) of the light that ends in each section: alpha times the transmittance before it."""
    passed = torch.cumprod(1.0 - alpha + TRANSMITTANCE_EPS, -1)
    return alpha * torch.cat([torch.ones_like(alpha[..., :1]), passed[..., :-1]], -1)
