"""Posed photographs as other projects lay them out, read into our world."""

from .draw import draw_cameras
from .folder import PosedFolder, read_posed
from .normalisation import Normalisation

__all__ = ["Normalisation", "PosedFolder", "draw_cameras", "read_posed"]
