"""What can be looked at and measured: analytic shapes and meshes, behind one interface.

Names are imported on first use, so that `import one2345.objects` pulls in neither Embree nor libigl.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from one2345.objects.base import Object3D, Render, SurfaceSamples
from one2345.objects.shading import shade

if TYPE_CHECKING:
    from one2345.objects.mesh_io import load_mesh
    from one2345.objects.mesh_object import MeshObject, occupancy
    from one2345.objects.painted import Painted
    from one2345.objects.quality import MeshReport, MeshWarning, report
    from one2345.objects.shapes import AnalyticShape, random_shape

_LAZY = {
    "AnalyticShape": "one2345.objects.shapes",
    "random_shape": "one2345.objects.shapes",
    "MeshObject": "one2345.objects.mesh_object",
    "MeshReport": "one2345.objects.quality",
    "MeshWarning": "one2345.objects.quality",
    "Painted": "one2345.objects.painted",
    "load_mesh": "one2345.objects.mesh_io",
    "occupancy": "one2345.objects.mesh_object",
    "report": "one2345.objects.quality",
}

__all__ = [
    "AnalyticShape",
    "MeshObject",
    "MeshReport",
    "MeshWarning",
    "Object3D",
    "Painted",
    "Render",
    "SurfaceSamples",
    "load_mesh",
    "occupancy",
    "random_shape",
    "report",
    "shade",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
