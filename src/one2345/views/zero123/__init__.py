"""Zero123: the view-conditioned diffusion model, its weights and its sampling."""

from .alpha import alpha_of
from .codec import Codec, PixelCodec, VaeCodec
from .loading import LoadedZero123, load_zero123
from .model import POSE, Condition, Zero123
from .published import SCHEDULE, Zero123Config, published_config
from .sampling import SCHEDULERS, Noise, denoise, make_scheduler, pose_vector
from .saving import save_zero123
from .scratch import new_zero123
from .synthesizer import Zero123Synthesizer

__all__ = [
    "POSE",
    "SCHEDULE",
    "SCHEDULERS",
    "Codec",
    "Condition",
    "LoadedZero123",
    "Noise",
    "PixelCodec",
    "VaeCodec",
    "Zero123",
    "Zero123Config",
    "Zero123Synthesizer",
    "alpha_of",
    "denoise",
    "load_zero123",
    "make_scheduler",
    "new_zero123",
    "pose_vector",
    "published_config",
    "save_zero123",
]
