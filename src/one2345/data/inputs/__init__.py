"""Source views as a network sees them: exact, simulated (as a diffusion model errs), predicted (by one), raised (posed
wrongly), mixed."""

from one2345.views.simulation import SimulatedInputs

from .base import ExactInputs, Inputs
from .mixed import MixedInputs
from .predicted import PredictedInputs
from .raised import RaisedInputs

__all__ = ["ExactInputs", "Inputs", "MixedInputs", "PredictedInputs", "RaisedInputs", "SimulatedInputs"]
