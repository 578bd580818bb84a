"""What is measured: functional cores, and the same as torchmetrics that know objects by id."""

from .cloud import CloudDistances, chamfer, cloud_distances, fscore, normal_consistency
from .images import psnr, ssim
from .modules import ChamferDistance, FScore, NormalConsistency, ObjectMean, ViewQuality, VolumeIoU
from .per_object import PerObjectMetric
from .volume import volume_iou

__all__ = [
    "ChamferDistance",
    "CloudDistances",
    "FScore",
    "NormalConsistency",
    "ObjectMean",
    "PerObjectMetric",
    "ViewQuality",
    "VolumeIoU",
    "chamfer",
    "cloud_distances",
    "fscore",
    "normal_consistency",
    "psnr",
    "ssim",
    "volume_iou",
]
