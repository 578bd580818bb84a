"""The source views as a network sees them: exact, simulated (as a diffusion model errs) or predicted (by one)."""

from .base import ExactInputs, Inputs
from .predicted import PredictedInputs
from .simulated import SimulatedInputs

__all__ = ["ExactInputs", "Inputs", "PredictedInputs", "SimulatedInputs"]
