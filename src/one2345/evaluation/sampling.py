"""Points on a mesh: the same for the same mesh, seed and object."""

from __future__ import annotations

import numpy as np

from one2345.errors import EmptySurfaceError
from one2345.geometry import OBJECT_EDGE, Mesh
from one2345.geometry.area_sampling import faces_at, uniform_weights
from one2345.objects.mesh_object import MeshObject
from one2345.seeding import numpy_rng

from .cameras import VisibleSurface
from .surface import SurfaceCloud


def sample_surface(mesh: Mesh, count: int, *, seed: int, object_id: str, of: str = "surface") -> SurfaceCloud:
    """`count` points uniform by area (stratified) with the unit normals of their faces.

    of: names the stream of random numbers, so that truth and prediction draw different ones. Raises
    EmptySurfaceError for a mesh without area.
    """
    if mesh.is_empty:
        raise EmptySurfaceError("the mesh has no faces")
    rng = numpy_rng(seed, object_id, of)
    cross = mesh.cross_products()
    length = np.linalg.norm(cross, axis=-1)
    total = np.cumsum(0.5 * length)
    if not total[-1] > 0:
        raise EmptySurfaceError("the mesh has no area")
    face = faces_at(total, (np.arange(count) + rng.random(count)) / count)
    weights = uniform_weights(rng, count)
    points = np.einsum("pk,pki->pi", weights, mesh.vertices[mesh.faces[face]])
    return SurfaceCloud(points, cross[face] / np.maximum(length[face], 1e-300)[:, None], mesh.bounds)


def visible_surface(item: MeshObject, rule: VisibleSurface, *, quantised: bool) -> SurfaceCloud:
    """Points that the cameras of `rule` see of a mesh in the world frame (longest edge 0.8), in world units.

    Raises EmptySurfaceError when they see nothing of it.
    """
    cameras = rule.cameras.cameras(OBJECT_EDGE)
    points, normals = rule.points(item.render(cameras), cameras, edge=OBJECT_EDGE, quantised=quantised)
    if not len(points):
        raise EmptySurfaceError("the protocol's cameras see nothing of the mesh")
    return SurfaceCloud(points, normals, item.mesh.bounds)


def as_it_stands(mesh: Mesh, id: str) -> MeshObject:
    """`mesh` to be drawn where it is."""
    return MeshObject(mesh, id=id, normalise=False, repair=False)


def in_units(cloud: SurfaceCloud, factor: float) -> SurfaceCloud:
    """The cloud with all lengths times `factor`."""
    return SurfaceCloud(cloud.points * factor, cloud.normals, cloud.bounds * factor)
