"""Views that err as those of a view-conditioned diffusion model, made from true ones."""

from .simulated import SimulatedInputs

__all__ = ["SimulatedInputs"]
