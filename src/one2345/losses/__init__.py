"""Every training term as a pure function, and their weighted, scheduled sum.

Each term is averaged per object and then over the objects of the batch, so that objects count equally
whatever the size of their masks, and N ranks with a part of the batch each give the gradient of the whole.
An object without a valid entry contributes 0 (and a zero gradient) and still counts as an object.
"""

from .mesh import mesh_regularisation, nearest, surface_points, vertex_distance
from .reduce import per_object_mean
from .terms import (
    Inside,
    colour_l1,
    depth_l1,
    eikonal,
    mask_l1,
    sdf_l1,
    sparsity,
    texture_consistency,
    view_consistency,
)
from .weighted import Ramp, WeightedLosses

__all__ = [
    "Inside",
    "Ramp",
    "WeightedLosses",
    "colour_l1",
    "depth_l1",
    "eikonal",
    "mask_l1",
    "mesh_regularisation",
    "nearest",
    "per_object_mean",
    "sdf_l1",
    "sparsity",
    "surface_points",
    "texture_consistency",
    "vertex_distance",
    "view_consistency",
]
