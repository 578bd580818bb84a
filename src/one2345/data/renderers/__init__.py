"""What makes the pictures: ray casting (the default) or Blender, behind one interface."""

from .base import Renderer
from .blender import BlenderRenderer, blender_version
from .raycast import RaycastRenderer

__all__ = ["BlenderRenderer", "RaycastRenderer", "Renderer", "blender_version"]
