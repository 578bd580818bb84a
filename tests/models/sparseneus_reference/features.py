"""The 2D pyramid and the compressing layer."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from tests.models.sparseneus_reference.weights import Weights, abn
from torch import Tensor

FPN = "pyramid_feature_network"


@dataclass(frozen=True)
class Pyramid:
    """coarse (v, 32, h/4, w/4), middle (v, 16, h/2, w/2), fine (v, 8, h, w), fused = all three at (v, 56, h, w)."""

    coarse: Tensor
    middle: Tensor
    fine: Tensor
    fused: Tensor


def enlarge(x: Tensor, factor: int) -> Tensor:
    """Bilinear, corners on corners."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=True)


def pyramid(pictures: Tensor, weights: Weights, *, batch: bool, updates: Weights | None = None) -> Pyramid:
    """Features of pictures (v, 3, h, w) in [0, 1]; with `batch`, statistics over all these views and pixels."""

    def unit(x: Tensor, name: str, *, stride: int = 1) -> Tensor:
        kernel = weights[f"{FPN}.{name}.conv.weight"]
        y = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        return abn(y, weights, f"{FPN}.{name}.bn", batch=batch, updates=updates)

    def plain(x: Tensor, name: str) -> Tensor:
        kernel = weights[f"{FPN}.{name}.weight"]
        return F.conv2d(x, kernel, weights[f"{FPN}.{name}.bias"], padding=kernel.shape[-1] // 2)

    c0 = unit(unit(pictures, "conv0.0"), "conv0.1")
    c1 = unit(unit(unit(c0, "conv1.0", stride=2), "conv1.1"), "conv1.2")
    c2 = unit(unit(unit(c1, "conv2.0", stride=2), "conv2.1"), "conv2.2")
    coarse = plain(c2, "toplayer")
    sum1 = enlarge(coarse, 2) + plain(c1, "lat1")
    sum0 = enlarge(sum1, 2) + plain(c0, "lat0")
    middle, fine = plain(sum1, "smooth1"), plain(sum0, "smooth0")
    fused = torch.cat([enlarge(coarse, 4), enlarge(middle, 2), fine], dim=1)
    return Pyramid(coarse, middle, fine, fused)


def compress(fused: Tensor, weights: Weights, *, batch: bool, updates: Weights | None = None) -> Tensor:
    """The 16 channels (v, 16, h, w) that the volume is built from; statistics over the views given."""
    name = "sdf_network_lod0.compress_layer"
    y = F.conv2d(fused, weights[f"{name}.conv.weight"], padding=1)
    return abn(y, weights, f"{name}.bn", batch=batch, updates=updates)
