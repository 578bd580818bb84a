"""Pictures, posed views or text to meshes: the stages put together."""

from .elevation_stage import InputElevation
from .field_stage import field_mesh
from .image_to_3d import DEFAULT_VIEWS, ImageTo3D, Reconstruction, Weights
from .mesh import ReconstructedMesh
from .outputs import report, save

__all__ = [
    "DEFAULT_VIEWS",
    "ImageTo3D",
    "InputElevation",
    "ReconstructedMesh",
    "Reconstruction",
    "Weights",
    "field_mesh",
    "report",
    "save",
]
