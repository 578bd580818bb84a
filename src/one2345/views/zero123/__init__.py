"""Zero123: the view-conditioned diffusion model, its weights and its sampling."""

from .codec import Codec, PixelCodec, VaeCodec
from .model import POSE, Condition, Zero123

__all__ = ["POSE", "Codec", "Condition", "PixelCodec", "VaeCodec", "Zero123"]
