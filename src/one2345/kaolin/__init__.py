"""NVIDIA's kaolin as an optional back end: what it computes for us, in our own conventions.

Nothing here is needed: every function has its counterpart on the default path, and the tests hold the two
together. The library is imported on first use and only in this room.

On CUDA: `nearest`, `chamfer_and_fscore`. On CPU and CUDA: `voxel_iou`, `check_sign`, cameras, `flexicubes`.
"""

from .cameras import from_kaolin_camera, to_kaolin_camera
from .isosurface import flexicubes
from .library import Status, available, install_advice, require, status
from .measures import PointScores, chamfer_and_fscore, check_sign, nearest, voxel_iou

__all__ = [
    "PointScores",
    "Status",
    "available",
    "chamfer_and_fscore",
    "check_sign",
    "flexicubes",
    "from_kaolin_camera",
    "install_advice",
    "nearest",
    "require",
    "status",
    "to_kaolin_camera",
    "voxel_iou",
]
