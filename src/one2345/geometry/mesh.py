"""Triangle mesh value type: world frame, z up, counter-clockwise faces seen from outside."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .cameras import OBJECT_EDGE


@dataclass(frozen=True)
class Mesh:
    """vertices (n, 3) float64; faces (m, 3) int64; colours (n, 3) float32 sRGB in [0, 1] or None;
    uv (n, 2) float32, origin at the lower left, or None; texture (h, w, 3) uint8 sRGB or None.

    Raises ValueError on wrong shapes, non-finite vertices or face indices out of range.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    colours: NDArray[np.float32] | None = None
    uv: NDArray[np.float32] | None = None
    texture: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        for name, dtype in (
            ("vertices", np.float64),
            ("faces", np.int64),
            ("colours", np.float32),
            ("uv", np.float32),
        ):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, np.ascontiguousarray(value, dtype=dtype))
        count = len(self.vertices)
        if self.vertices.ndim != 2 or self.vertices.shape[1] != 3:
            raise ValueError(f"vertices must be (n, 3), not {self.vertices.shape}")
        if self.faces.ndim != 2 or self.faces.shape[1] != 3:
            raise ValueError(f"faces must be (m, 3), not {self.faces.shape}")
        if not np.isfinite(self.vertices).all():
            raise ValueError("vertices hold NaN or infinite coordinates")
        if self.faces.size and (self.faces.min() < 0 or self.faces.max() >= count):
            raise ValueError(
                f"face indices must lie in [0, {count}), found {self.faces.min()}..{self.faces.max()}"
            )
        if self.colours is not None and self.colours.shape != (count, 3):
            raise ValueError(f"colours must be ({count}, 3), not {self.colours.shape}")
        if self.uv is not None and self.uv.shape != (count, 2):
            raise ValueError(f"uv must be ({count}, 2), not {self.uv.shape}")

    @property
    def is_empty(self) -> bool:
        return len(self.faces) == 0

    @property
    def bounds(self) -> NDArray[np.float64]:
        """(2, 3) lower and upper corner of the bounding box of the vertices that faces use."""
        used = np.full(len(self.vertices), self.is_empty)
        used[self.faces.reshape(-1)] = True
        corners = self.vertices[used]
        return np.stack([corners.min(0), corners.max(0)])

    @property
    def triangles(self) -> NDArray[np.float64]:
        """(m, 3, 3) corner positions."""
        return self.vertices[self.faces]

    def cross_products(self) -> NDArray[np.float64]:
        """(m, 3) face normals times twice the face areas."""
        corners = self.triangles
        return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])

    def areas(self) -> NDArray[np.float64]:
        """(m,) face areas."""
        return 0.5 * np.linalg.norm(self.cross_products(), axis=-1)

    def face_normals(self) -> NDArray[np.float64]:
        """(m, 3) unit normals; zero for degenerate faces."""
        cross = self.cross_products()
        return cross / np.maximum(np.linalg.norm(cross, axis=-1, keepdims=True), 1e-300)

    def volume(self) -> float:
        """Signed volume by the divergence theorem; positive for a closed mesh that faces outwards."""
        corners = self.triangles
        return float(np.einsum("mi,mi->m", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6)

    def transformed(self, matrix: NDArray[np.float64]) -> Mesh:
        """The mesh under a (4, 4) affine map; a mirroring map also reverses the faces."""
        vertices = affine(self.vertices, matrix)
        faces = self.faces if np.linalg.det(matrix[:3, :3]) > 0 else self.faces[:, ::-1]
        return replace(self, vertices=vertices, faces=faces)


def affine(points: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (n, 3) under a (4, 4) affine map; equal points stay equal to the bit.

    A matrix product would not promise that: its rounding depends on where in the array a row stands, and the
    two sides of a texture seam would come apart.
    """
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    return np.stack([m[0] * x + m[1] * y + m[2] * z + m[3] for m in matrix[:3]], -1)


def normalise_transform(mesh: Mesh, edge: float = OBJECT_EDGE) -> NDArray[np.float64]:
    """(4, 4) similarity that puts the bounding box's centre at the origin and scales its longest edge to `edge`.

    Raises ValueError for a mesh without extent.
    """
    lower, upper = mesh.bounds
    longest = float((upper - lower).max())
    if not longest > 0:
        raise ValueError("the mesh has no extent")
    matrix = np.eye(4) * (edge / longest)
    matrix[:3, 3] = -(lower + upper) / 2 * (edge / longest)
    matrix[3, 3] = 1.0
    return matrix
