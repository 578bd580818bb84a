"""Random analytic shapes: CSG programs with true distances, procedural textures and exact pictures."""

from one2345.objects.shapes.generate import random_shape
from one2345.objects.shapes.parts import Part
from one2345.objects.shapes.placing import place
from one2345.objects.shapes.shape import AnalyticShape, render_shapes
from one2345.objects.shapes.textures import Texture

__all__ = ["AnalyticShape", "Part", "Texture", "place", "random_shape", "render_shapes"]
