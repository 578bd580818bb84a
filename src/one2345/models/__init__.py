"""Posed images to a signed distance and colour field."""

from .base import ReconstructionField, ReconstructionNetwork
from .blend_net import BlendNet
from .feature_net import FeatureNet
from .reconstructor import ReconstructedField, Reconstructor
from .sdf_net import SdfNet
from .sparseneus import SparseNeus
from .volume_lookup import FeatureVolume
from .volume_net import VolumeNet

__all__ = [
    "BlendNet",
    "FeatureNet",
    "FeatureVolume",
    "ReconstructedField",
    "ReconstructionField",
    "ReconstructionNetwork",
    "Reconstructor",
    "SdfNet",
    "SparseNeus",
    "VolumeNet",
]
