"""The network of the released One-2-3-45 code: for its weights, and as a baseline to train."""

from .network import SparseNeus
from .quirks import Quirks

__all__ = ["Quirks", "SparseNeus"]
