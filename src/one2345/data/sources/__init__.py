"""Where objects come from: analytic shapes by index, or a folder of mesh files."""

from .base import LoadedObject, MeshSource, Rejected, Source
from .filters import Filters
from .folder import FolderSource, open_meshes
from .layouts import MESH_SUFFIXES, MeshFile, find_mesh_files
from .shapes import GENERATOR, ShapesSource

__all__ = [
    "GENERATOR",
    "MESH_SUFFIXES",
    "Filters",
    "FolderSource",
    "LoadedObject",
    "MeshFile",
    "MeshSource",
    "Rejected",
    "ShapesSource",
    "Source",
    "find_mesh_files",
    "open_meshes",
]
