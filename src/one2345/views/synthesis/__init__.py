"""Synthesisers of views: what makes pictures of an object from other sides."""

from .base import Report, Synthesised, ViewRequest, ViewSynthesizer
from .oracle import Oracle, open_oracle
from .replay import Replay
from .simulated import Simulated, open_simulated

__all__ = [
    "Oracle",
    "Replay",
    "Report",
    "Simulated",
    "Synthesised",
    "ViewRequest",
    "ViewSynthesizer",
    "open_oracle",
    "open_simulated",
]
