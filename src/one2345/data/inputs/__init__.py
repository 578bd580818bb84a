"""Source views as a network sees them: exact, simulated (as a diffusion model errs), predicted (by one)."""

from .base import ExactInputs, Inputs
from .predicted import PredictedInputs
from .simulated import SimulatedInputs

__all__ = ["ExactInputs", "Inputs", "PredictedInputs", "SimulatedInputs"]
