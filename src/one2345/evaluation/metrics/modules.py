"""The metrics as torchmetrics: `update(object_id, predicted, true)`, `compute()` gives means over objects.

The functional cores beside this file do the work; these classes add the state. Clouds are (n, 3) tensors or
arrays in world units; `edge` is the true object's longest bounding-box edge, in whose units distances are
reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike
from torch import Tensor

from one2345.geometry import OBJECT_EDGE

from .cloud import chamfer, cloud_distances, fscore, normal_consistency
from .images import psnr, ssim
from .per_object import PerObjectMetric
from .volume import volume_iou


class ObjectMean(PerObjectMetric):
    """Mean over objects of numbers computed elsewhere: `update(object_id, *values)`, one per column."""

    def update(self, object_id: str, *values: float) -> None:
        self.add(object_id, values)


class ChamferDistance(PerObjectMetric):
    """`chamfer`: (mean a→b + mean b→a) / 2; `chamfer_squared`: the same of squared distances. In edges."""

    higher_is_better = False

    def __init__(self, *, edge: float = OBJECT_EDGE, **kwargs: Any) -> None:
        super().__init__(("chamfer", "chamfer_squared"), **kwargs)
        self.edge = edge

    def update(self, object_id: str, predicted: ArrayLike, true: ArrayLike) -> None:
        self.add(object_id, chamfer(cloud_distances(predicted, true, unit=self.edge)))


class FScore(PerObjectMetric):
    """`f_<threshold>` for thresholds that are fractions of the true object's longest edge."""

    higher_is_better = True

    def __init__(
        self, *, thresholds: Sequence[float] = (0.01, 0.02, 0.05), edge: float = OBJECT_EDGE, **kwargs: Any
    ) -> None:
        super().__init__([f_name(t) for t in thresholds], **kwargs)
        self.thresholds, self.edge = tuple(thresholds), edge

    def update(self, object_id: str, predicted: ArrayLike, true: ArrayLike) -> None:
        self.add(object_id, fscore(cloud_distances(predicted, true, unit=self.edge), self.thresholds))


class NormalConsistency(PerObjectMetric):
    """`normal_consistency`: mean |cosine| of the normals of nearest neighbours, both directions."""

    higher_is_better = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(("normal_consistency",), **kwargs)

    def update(
        self,
        object_id: str,
        predicted: ArrayLike,
        true: ArrayLike,
        predicted_normals: ArrayLike,
        true_normals: ArrayLike,
    ) -> None:
        distances = cloud_distances(predicted, true, predicted_normals, true_normals)
        self.add(object_id, [normal_consistency(distances)])


class VolumeIoU(PerObjectMetric):
    """`iou`, or `iou_<resolution>`: of boolean grids (r, r, r)."""

    higher_is_better = True

    def __init__(self, *, resolution: int | None = None, **kwargs: Any) -> None:
        super().__init__(("iou" if resolution is None else f"iou_{resolution}",), **kwargs)

    def update(self, object_id: str, predicted: ArrayLike, true: ArrayLike) -> None:
        self.add(object_id, [volume_iou(predicted, true)])


class ViewQuality(PerObjectMetric):
    """`psnr` (dB) and `ssim` of pictures (v, 3, h, w) in [0, 1], mean over views, then over objects."""

    higher_is_better = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(("psnr", "ssim"), **kwargs)

    def update(self, object_id: str, predicted: Tensor, true: Tensor) -> None:
        self.add(object_id, [psnr(predicted, true), ssim(predicted, true)])


def f_name(threshold: float) -> str:
    """Column of an F-score: `f_0.05`."""
    return f"f_{threshold:g}"
