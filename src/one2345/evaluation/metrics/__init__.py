"""What is measured: functional cores, and the same as torchmetrics that know objects by id."""

from one2345.hub import WeightsUnavailable

from .clip import CLIPEncoder, CLIPSimilarity, clip_similarity, load_clip
from .cloud import CloudDistances, chamfer, cloud_distances, fscore, normal_consistency
from .images import psnr, ssim
from .lpips import LPIPS, LPIPSNetwork, load_lpips, lpips_distance
from .modules import ChamferDistance, FScore, NormalConsistency, ObjectMean, ViewQuality, VolumeIoU
from .per_object import PerObjectMetric
from .volume import volume_iou

__all__ = [
    "LPIPS",
    "CLIPEncoder",
    "CLIPSimilarity",
    "ChamferDistance",
    "CloudDistances",
    "FScore",
    "LPIPSNetwork",
    "NormalConsistency",
    "ObjectMean",
    "PerObjectMetric",
    "ViewQuality",
    "VolumeIoU",
    "WeightsUnavailable",
    "chamfer",
    "clip_similarity",
    "cloud_distances",
    "fscore",
    "load_clip",
    "load_lpips",
    "lpips_distance",
    "normal_consistency",
    "psnr",
    "ssim",
    "volume_iou",
]
