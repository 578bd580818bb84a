"""Signed distance fields to clean, coloured meshes in files."""

from one2345.objects.texture import srgb_to_linear

from .clean import Floaters, components, remove_floaters
from .colour import colour_vertices, vertex_normals
from .export import FORMATS, write_mesh
from .extract import extract, extract_with_stats
from .extractor import Extraction, Extractor
from .flexicubes import FlexiCubesExtractor, surface_vertices
from .lattice import LatticeStats

__all__ = [
    "FORMATS",
    "Extraction",
    "Extractor",
    "FlexiCubesExtractor",
    "Floaters",
    "LatticeStats",
    "colour_vertices",
    "components",
    "extract",
    "extract_with_stats",
    "remove_floaters",
    "srgb_to_linear",
    "surface_vertices",
    "vertex_normals",
    "write_mesh",
]
