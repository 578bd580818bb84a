"""Textures: a surface repaired, decimated, unwrapped, and its colours baked into a picture."""

from .bake import Baked, bake
from .decimate import decimate
from .dilate import dilate
from .normals import smooth_normals
from .pictures import OwnPixels, Pictures, own_pixels
from .rasterise import Texels, rasterise
from .repair import Repairs, repair, weld
from .smooth import smooth
from .texturer import Textured, Texturer, texture_size
from .unwrap import UnwrapFailed, Unwrapped, unwrap

__all__ = [
    "Baked",
    "OwnPixels",
    "Pictures",
    "Repairs",
    "Texels",
    "Textured",
    "Texturer",
    "UnwrapFailed",
    "Unwrapped",
    "bake",
    "decimate",
    "dilate",
    "own_pixels",
    "rasterise",
    "repair",
    "smooth",
    "smooth_normals",
    "texture_size",
    "unwrap",
    "weld",
]
