"""A mesh that can be looked at and measured."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from one2345.errors import InputError
from one2345.geometry import Cameras, Mesh, camera_rays, normalise_transform
from one2345.geometry.area_sampling import faces_at, uniform_weights
from one2345.objects.base import Render, SurfaceSamples
from one2345.objects.cpu_backend import Backend, CpuBackend, Hits, point_weights
from one2345.objects.quality import MeshReport, MeshWarning, assess, solid
from one2345.objects.shading import shade
from one2345.objects.texture import sample_texture

# Colour of a mesh that has none.
PLAIN = 0.7
# Rays cast at a time: bounds the memory of a render to some 100 MB.
RAY_CHUNK = 1 << 18


class MeshObject:
    """A triangle mesh behind the interface of `Object3D`.

    mesh: in world axes (z up). normalise: move the bounding box's centre to the origin and scale its longest
    edge to 0.8. shading: strength of the Lambert shading of renders, 0 for albedo. antialias: rays per pixel
    edge for colour and mask (depth and normal always come from the pixel's centre). backend: "cpu" (Embree,
    libigl) or "warp" (CUDA).

    Faces are turned outwards and enclosed components dropped first (sealed cavities are inside); `report`
    tells what was done. Warns (MeshWarning) unless the labels are exact. repair: False takes the mesh as it
    stands, without a word on its quality: to be drawn. `to_world` is the (4, 4) map that was applied.
    Raises InputError for a mesh without faces or extent.
    """

    def __init__(
        self,
        mesh: Mesh,
        *,
        id: str,
        normalise: bool = True,
        shading: float = 0.0,
        antialias: int = 1,
        backend: Literal["cpu", "warp"] = "cpu",
        repair: bool = True,
    ) -> None:
        if mesh.is_empty:
            raise InputError(f"{id}: the mesh has no faces")
        if antialias < 1:
            raise ValueError(f"antialias is {antialias}, expected at least 1")
        kept, dropped, turned = solid(mesh) if repair else (mesh, 0, 0)
        if kept.is_empty or not np.ptp(kept.bounds, axis=0).max() > 0:
            raise InputError(f"{id}: the mesh has no extent")
        self.id = id
        self.to_world: NDArray[np.float64] = normalise_transform(kept) if normalise else np.eye(4)
        self.mesh = kept.transformed(self.to_world) if normalise else kept
        self.shading = shading
        self.antialias = antialias
        self.backend = make_backend(self.mesh, backend)
        self._repaired = (dropped, turned)
        self._normals = self.mesh.face_normals()
        if repair and self.report.label_quality != "exact":
            reasons = "; ".join(self.report.reasons)
            warnings.warn(
                f"{id}: signed distances are {self.report.label_quality}: {reasons}",
                MeshWarning,
                stacklevel=2,
            )

    @cached_property
    def report(self) -> MeshReport:
        """What is known of the mesh, and what was done to it."""
        dropped, turned = self._repaired
        return assess(self.mesh, dropped=dropped, turned=turned)

    def sdf(self, points: torch.Tensor) -> torch.Tensor:
        """Exact distance (...,) to the triangles, negative where the winding number exceeds 0.5; float32."""
        flat = _flat(points)
        distance = self.backend.closest(flat)[0]
        signed = np.where(self.backend.inside(flat), -distance, distance)
        return _like(signed.reshape(points.shape[:-1]), points)

    def colour(self, points: torch.Tensor) -> torch.Tensor:
        """Albedo (..., 3) of the closest surface points of points (..., 3)."""
        _, face, closest = self.backend.closest(_flat(points))
        weights = point_weights(self.mesh.vertices[self.mesh.faces[face]], closest)
        return _like(self._albedo(face, weights).reshape(points.shape), points)

    def occupancy(self, points: NDArray[np.floating]) -> NDArray[np.bool_]:
        """(p,) whether points (p, 3) are inside."""
        return self.backend.inside(np.asarray(points, dtype=np.float64))

    def sample_surface(self, n: int, *, seed: int) -> SurfaceSamples:
        """n points uniform by area, with the normals of their faces and their albedo."""
        random = np.random.default_rng(seed)
        total = np.cumsum(self.mesh.areas())
        face = faces_at(total, random.random(n))
        weights = uniform_weights(random, n)
        points = self._interpolate(face, weights)
        values = (points, self._normals[face], self._albedo(face, weights))
        return SurfaceSamples(*(torch.from_numpy(np.asarray(x, dtype=np.float32)) for x in values))

    def render(self, cameras: Cameras) -> Render:
        """Pictures from cameras (v,): colour over white, z-depth, alpha, normals that face the camera."""
        if self.antialias == 1:
            return self._render_centres(cameras)
        height, width = cameras.size
        views, fine_size = [], (height * self.antialias, width * self.antialias)
        for index in range(len(cameras)):
            one = cameras[index : index + 1]
            fine, centre = self._render_centres(one.resized(fine_size)), self._render_centres(one)
            rgb, mask = (torch.nn.functional.avg_pool2d(x, self.antialias) for x in (fine.rgb, fine.mask))
            views.append(Render(rgb=rgb, depth=centre.depth, mask=mask, normal=centre.normal))
        return Render(
            *(torch.cat([getattr(v, k) for v in views]) for k in ("rgb", "depth", "mask", "normal"))
        )

    def _render_centres(self, cameras: Cameras) -> Render:
        if len(cameras.shape) != 1:
            raise ValueError(f"cameras must be a batch (v,), not {tuple(cameras.shape)}")
        count, (height, width) = len(cameras), cameras.size
        world = camera_rays(cameras.to("cpu"))
        origins, directions = (x.reshape(-1, 3).double().numpy() for x in (world.origins, world.directions))
        axes = np.repeat(cameras.forward.cpu().double().numpy(), height * width, axis=0)
        rgb = np.ones((len(origins), 3), dtype=np.float32)
        normal = np.zeros((len(origins), 3), dtype=np.float32)
        depth = np.zeros(len(origins), dtype=np.float32)
        for start in range(0, len(origins), RAY_CHUNK):
            chunk = slice(start, start + RAY_CHUNK)
            hits = self.backend.cast(origins[chunk], directions[chunk])
            hit = np.flatnonzero(hits.face >= 0)
            rays, hits = hit + start, Hits(hits.face[hit], hits.weights[hit])
            points = self._interpolate(hits.face, hits.weights)
            depth[rays] = np.einsum("ri,ri->r", points - origins[rays], axes[rays])
            normals = self._normals[hits.face]
            away = np.einsum("ri,ri->r", normals, directions[rays]) > 0
            normal[rays] = np.where(away[:, None], -normals, normals)
            rgb[rays] = self._albedo(hits.face, hits.weights)
        mask = depth > 0
        if self.shading:
            shaded = shade(torch.from_numpy(rgb[mask]), torch.from_numpy(normal[mask]), self.shading)
            rgb[mask] = shaded.numpy()
        picture = (count, height, width)
        return Render(
            rgb=_device(rgb.reshape(*picture, 3).transpose(0, 3, 1, 2), cameras),
            depth=_device(depth.reshape(picture), cameras),
            mask=_device(mask.reshape(picture).astype(np.float32), cameras),
            normal=_device(normal.reshape(*picture, 3).transpose(0, 3, 1, 2), cameras),
        )

    def _interpolate(self, face: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.einsum("pk,pki->pi", weights, self.mesh.vertices[self.mesh.faces[face]])

    def _albedo(self, face: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float32]:
        """(p, 3) texture and vertex colours (their product where there are both) at points of faces (p,)."""
        corners = self.mesh.faces[face]
        colour = np.full((len(face), 3), PLAIN, dtype=np.float32)
        if self.mesh.texture is not None and self.mesh.uv is not None:
            uv = np.einsum("pk,pki->pi", weights, self.mesh.uv[corners].astype(np.float64))
            colour = sample_texture(self.mesh.texture, uv)
            if self.mesh.colours is not None:
                colour = colour * np.einsum("pk,pki->pi", weights, self.mesh.colours[corners])
        elif self.mesh.colours is not None:
            colour = np.einsum("pk,pki->pi", weights, self.mesh.colours[corners])
        return np.clip(colour, 0.0, 1.0).astype(np.float32)


def occupancy(mesh: Mesh, points: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(p,) whether points (p, 3) lie inside a mesh: winding number above 0.5, sealed cavities inside.

    The mesh is taken as it stands (not normalised); it may be open. Any mesh: a prediction as well as a
    truth.
    """
    kept = solid(mesh)[0]
    if kept.is_empty:
        return np.zeros(len(points), dtype=bool)
    return CpuBackend(kept.vertices, kept.faces).inside(np.asarray(points, dtype=np.float64))


def make_backend(mesh: Mesh, name: str) -> Backend:
    """The queries of a mesh on the CPU, or on CUDA where the `cuda` extra is installed."""
    if name == "cpu":
        return CpuBackend(mesh.vertices, mesh.faces)
    if name == "warp":
        try:
            from one2345.objects.warp_backend import WarpBackend
        except ImportError as error:
            raise InputError(
                "backend='warp' needs Warp: pip install 'one2345[cuda]', or use backend='cpu'"
            ) from error
        return WarpBackend(mesh.vertices, mesh.faces)
    raise InputError(f"backend={name!r}: use 'cpu' or 'warp'")


def _flat(points: torch.Tensor) -> NDArray[np.float64]:
    return np.ascontiguousarray(points.detach().reshape(-1, 3).cpu().double().numpy())


def _like(values: NDArray, points: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device=points.device, dtype=torch.float32)


def _device(values: NDArray, cameras: Cameras) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(cameras.device)
