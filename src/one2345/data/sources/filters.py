"""Which objects are left out of a training set, each with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from one2345.errors import InputError
from one2345.geometry import Mesh

from .base import Rejected

# Faces below this share of the squared diagonal have no area.
NO_AREA = 1e-12


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What an object must be; null switches a filter off. Every refusal is a `Rejected` that names it.

    min_faces, max_faces: triangles, all instances counted. flat: least thickness of the object along its
    thinnest axis, as a share of its longest; below it lies a scan plane, a picture or a wall. degenerate:
    largest share of triangles without area. transparent: largest share of the surface whose material lets
    light through: alphaMode BLEND with an opacity below `opacity`, or glass (KHR_materials_transmission); the
    alpha of textures is not looked at. animated: take objects with animations or skins, in their rest pose.
    Points, lines and nothing at all are never taken.
    """

    min_faces: int | None = 50
    max_faces: int | None = 2_000_000
    flat: float | None = 0.01
    degenerate: float | None = 0.5
    transparent: float | None = 0.5
    opacity: float = 0.3
    animated: bool = False

    def __post_init__(self) -> None:
        for name in ("flat", "degenerate", "transparent", "opacity"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"filters.{name}={value}: is a share, from 0 to 1")
        if self.min_faces is not None and self.max_faces is not None and self.min_faces > self.max_faces:
            raise InputError(f"filters.min_faces={self.min_faces} is more than max_faces={self.max_faces}")

    def check_stated(self, *, faces: int | None, animations: int | None) -> None:
        """By what an index says of an object, before it is downloaded. None: it doesn't say."""
        if faces is not None:
            self._check_most(faces)
        if animations and not self.animated:
            raise Rejected(f"animated: {animations} animations (filters.animated=true takes it)")

    def check_file(self, file: Path) -> None:
        """By the header of a glTF file; other types pass. InputError where it can't be read."""
        from one2345.objects import gltf
        from one2345.objects.gltf_checks import check_graph, count_instances

        if file.suffix.lower() not in (".glb", ".gltf"):
            return
        try:
            data = file.read_bytes()
            header = gltf.read_header(data)
            check_graph(header)
            faces, vertices = count_instances(header)
            self._check_header(header, faces, vertices)
            share = self._see_through(header, gltf.binary_chunk(data))
        except Rejected:
            raise
        except InputError as error:
            raise InputError(f"{file}: {error}") from error
        except (AttributeError, KeyError, TypeError, IndexError, ValueError, RecursionError) as error:
            raise InputError(f"{file}: malformed glTF header: {type(error).__name__}: {error}") from error
        if self.transparent is not None and share > self.transparent:
            raise Rejected(
                f"nearly transparent: {share:.0%} of its surface, more than filters.transparent={self.transparent:g}"
            )

    def check_mesh(self, mesh: Mesh) -> None:
        """By the triangles themselves."""
        count = len(mesh.faces)
        if count == 0:
            raise Rejected("empty: no faces")
        if self.min_faces is not None and count < self.min_faces:
            raise Rejected(f"too few faces: {count}, fewer than filters.min_faces={self.min_faces}")
        self._check_most(count)
        corners = mesh.vertices[mesh.faces]
        areas = (
            np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1)
            / 2
        )
        diagonal = float(np.linalg.norm(np.ptp(corners.reshape(-1, 3), axis=0)))
        share = float((areas <= NO_AREA * diagonal**2).mean())
        if share == 1 or (self.degenerate is not None and share > self.degenerate):
            raise Rejected(
                f"degenerate: {share:.0%} of its faces have no area, more than filters.degenerate={self.degenerate}"
            )
        if self.flat is not None and (thickness := _thickness(corners, areas)) < self.flat:
            raise Rejected(
                f"flat: {thickness:.2%} as thick as long, less than filters.flat={self.flat:g}; a plane, no object"
            )

    def _check_most(self, faces: int) -> None:
        if self.max_faces is not None and faces > self.max_faces:
            raise Rejected(f"too many faces: {faces}, more than filters.max_faces={self.max_faces}")

    def _check_header(self, header: dict[str, Any], faces: int, vertices: int) -> None:
        if not any(mesh.get("primitives") for mesh in header.get("meshes", [])):
            raise Rejected("empty: the file holds no mesh")
        if faces == 0:
            what = f"{vertices} points or lines and no faces" if vertices else "no faces"
            raise Rejected(f"a point cloud or empty: {what}")
        self._check_most(faces)
        if not self.animated and header.get("animations"):
            raise Rejected(
                f"animated: {len(header['animations'])} animations (filters.animated=true takes it)"
            )
        if not self.animated and header.get("skins"):
            raise Rejected("animated: it has a skeleton (filters.animated=true takes it in its rest pose)")

    def _see_through(self, header: dict[str, Any], blob: bytes) -> float:
        """Share of the surface that lets light through."""
        from one2345.objects.gltf_surface import material_areas, opacity_of

        clear = {
            index
            for index, material in enumerate(header.get("materials", []))
            if opacity_of(material) < self.opacity
        }
        if not clear or self.transparent is None:
            return 0.0
        areas = material_areas(header, blob)
        whole = sum(areas.values())
        return sum(area for index, area in areas.items() if index in clear) / whole if whole else 0.0


def _thickness(corners: np.ndarray, areas: np.ndarray) -> float:
    """Extent along the thinnest principal axis of the surface (m, 3 corners, 3), as a share of the longest."""
    centres = corners.mean(axis=1)
    weights = areas / areas.sum()
    offsets = centres - weights @ centres
    _, axes = np.linalg.eigh((offsets * weights[:, None]).T @ offsets)
    extents = np.ptp(corners.reshape(-1, 3) @ axes, axis=0)
    return float(extents.min() / extents.max())
