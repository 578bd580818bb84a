"""A stand-in for kaolin 0.18 with its names, signatures, conventions and refusals, computing in plain torch.

Written from kaolin's documentation: squared sided distances, Chamfer as a weighted sum, pinhole cameras with
OpenGL axes and an offset principal point, FlexiCubes on a grid of cubes whose corners run along x first.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor

VERSION = "0.18.0"


def install(
    monkeypatch: pytest.MonkeyPatch, *, cuda_only: bool = False, flexicubes: str | None = "ops.conversions"
) -> ModuleType:
    """Put the fake into sys.modules until the test ends.

    cuda_only: point metrics refuse CPU tensors, as the real ones do. flexicubes: the module that has it
    (`non_commercial` up to 0.17), None for a release before 0.15.
    """
    names = ["metrics", "metrics.pointcloud", "metrics.voxelgrid", "ops", "ops.mesh", "ops.conversions"]
    names += ["render", "render.camera", *(["non_commercial"] if flexicubes == "non_commercial" else [])]
    root = ModuleType("kaolin")
    root.__version__ = VERSION
    modules = {"": root}
    monkeypatch.setitem(sys.modules, "kaolin", root)
    for name in names:
        modules[name] = ModuleType(f"kaolin.{name}")
        setattr(modules[name.rpartition(".")[0]], name.rpartition(".")[2], modules[name])
        monkeypatch.setitem(sys.modules, f"kaolin.{name}", modules[name])

    def sided(p1: Tensor, p2: Tensor) -> tuple[Tensor, Tensor]:
        if cuda_only and not p1.is_cuda:
            raise RuntimeError("Expected tensor for argument #1 'p1' to be on GPU, but it is on CPU")
        return sided_distance(p1, p2)

    points = modules["metrics.pointcloud"]
    points.sided_distance = sided
    points.chamfer_distance = lambda p1, p2, w1=1.0, w2=1.0, squared=True: _chamfer(
        sided, p1, p2, w1, w2, squared
    )
    points.f_score = lambda gt_points, pred_points, radius=0.01, eps=1e-8: _f_score(
        sided, gt_points, pred_points, radius, eps
    )
    modules["metrics.voxelgrid"].iou = iou
    modules["ops.mesh"].check_sign = check_sign
    for item in (Camera, CameraExtrinsics, PinholeIntrinsics):
        setattr(modules["render.camera"], item.__name__, item)
    if flexicubes is not None:
        modules[flexicubes].FlexiCubes = FlexiCubes
    return root


def sided_distance(p1: Tensor, p2: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distance (b, n) to, and index (b, n) of, the nearest of p2 (b, m, 3) for each of p1 (b, n, 3)."""
    assert p1.dtype == p2.dtype and p1.shape[-1] == p2.shape[-1] == 3 and len(p1) == len(p2)
    best = [(part[:, :, None] - p2[:, None]).square().sum(-1).min(-1) for part in p1.split(256, 1)]
    return torch.cat([b.values for b in best], 1), torch.cat([b.indices for b in best], 1)


def _chamfer(sided, p1, p2, w1, w2, squared) -> Tensor:
    forth, back = sided(p1, p2)[0], sided(p2, p1)[0]
    if not squared:
        forth, back = forth.sqrt(), back.sqrt()
    return w1 * forth.mean(-1) + w2 * back.mean(-1)


def _f_score(sided, gt_points, pred_points, radius, eps) -> Tensor:
    recall = (sided(gt_points, pred_points)[0].sqrt() <= radius).float().mean(1)
    precision = (sided(pred_points, gt_points)[0].sqrt() <= radius).float().mean(1)
    return 2 * precision * recall / (precision + recall + eps)


def iou(pred: Tensor, gt: Tensor) -> Tensor:
    """Of voxel grids (b, x, y, z); 0 / 0 when both are empty."""
    if pred.shape != gt.shape:
        raise ValueError(f"Expected the same shape, but got {pred.shape} and {gt.shape}.")
    both = (pred.bool() & gt.bool()).sum((1, 2, 3)).float()
    return both / (pred.bool() | gt.bool()).sum((1, 2, 3)).float()


def check_sign(verts: Tensor, faces: Tensor, points: Tensor, hash_resolution: int = 512) -> Tensor:
    """Parity of the hits of a ray from each point (b, p, 3): Möller and Trumbore 1997, a direction no edge lies in."""
    if faces.dtype != torch.int64:
        raise TypeError(f"Expected faces entries to be torch.int64 but got {faces.dtype}.")
    for name, value, ndim in (("verts", verts, 3), ("faces", faces, 2), ("points", points, 3)):
        if value.ndim != ndim:
            raise ValueError(f"Expected {name} to have {ndim} dimensions but got {value.ndim} dimensions.")
    direction = verts.new_tensor([0.5377, 0.2931, 0.7905])
    answers = []
    for vertices, queries in zip(verts, points, strict=True):
        a, b, c = vertices[faces].unbind(1)
        cross = torch.linalg.cross(direction.expand_as(a), c - a)
        determinant = ((b - a) * cross).sum(-1)
        parts = []
        for part in queries.split(512):
            away = part[:, None] - a
            u = (away * cross).sum(-1) / determinant
            other = torch.linalg.cross(away, (b - a).expand_as(away))
            v = other @ direction / determinant
            t = (other * (c - a)).sum(-1) / determinant
            parts.append(((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)).sum(-1) % 2 == 1)
        answers.append(torch.cat(parts))
    return torch.stack(answers)


class CameraExtrinsics:
    def __init__(self, matrix: Tensor) -> None:
        self._matrix = matrix

    @classmethod
    def from_view_matrix(
        cls, view_matrix, dtype=torch.float32, device=None, requires_grad=False, backend_name=None
    ):
        matrix = torch.as_tensor(view_matrix).to(dtype=dtype, device=device)
        return cls(matrix[None] if matrix.ndim == 2 else matrix)

    def view_matrix(self) -> Tensor:
        return self._matrix

    def transform(self, vectors: Tensor) -> Tensor:
        """World (p, 3) to camera (c, p, 3): x right, y up, looking along -z."""
        assert vectors.dtype == self._matrix.dtype
        return vectors @ self._matrix[:, :3, :3].mT + self._matrix[:, None, :3, 3]

    def __len__(self) -> int:
        return len(self._matrix)


class PinholeIntrinsics:
    lens_type = "pinhole"

    def __init__(self, width: int, height: int, params: Tensor, near: float = 1e-2, far: float = 1e2) -> None:
        assert isinstance(width, int) and isinstance(height, int)
        self.width, self.height, self.near, self.far = width, height, float(near), float(far)
        self.params = params[None] if params.ndim == 1 else params  # x0, y0, focal_x, focal_y

    x0 = property(lambda self: self.params[:, 0])
    y0 = property(lambda self: self.params[:, 1])
    focal_x = property(lambda self: self.params[:, 2])
    focal_y = property(lambda self: self.params[:, 3])

    def transform(self, vectors: Tensor) -> Tensor:
        """Camera (c, p, 3) to normalised device coordinates (c, p, 3): x right, y up, depth inwards, in [-1, 1]."""
        x, y, z = vectors.unbind(-1)
        n, f = self.near, self.far
        u, v = (p[:, None] for p in (self.focal_x, self.focal_y))
        right = 2 / self.width * (u * x - self.x0[:, None] * z) / -z
        up = 2 / self.height * (v * y - self.y0[:, None] * z) / -z
        return torch.stack([right, up, (2 * n * f / (f - n)) / z + (f + n) / (f - n)], -1)

    def __len__(self) -> int:
        return len(self.params)


class Camera:
    def __init__(self, extrinsics: CameraExtrinsics, intrinsics: PinholeIntrinsics) -> None:
        assert len(extrinsics) == len(intrinsics)
        self.extrinsics, self.intrinsics = extrinsics, intrinsics

    lens_type = property(lambda self: self.intrinsics.lens_type)

    def transform(self, vectors: Tensor) -> Tensor:
        """World (p, 3) to normalised device coordinates (c, p, 3), or (p, 3) of a single camera."""
        moved = self.intrinsics.transform(self.extrinsics.transform(vectors))
        return moved.reshape(vectors.shape) if len(self) == 1 else moved

    def __len__(self) -> int:
        return len(self.extrinsics)


def orthographic() -> SimpleNamespace:
    """A camera of the other kind."""
    return SimpleNamespace(lens_type="ortho")


class FlexiCubes:
    """One dual vertex per cube, the mean of the crossings on its edges; a quad for each crossed edge that four
    cubes share. (The real one splits a vertex where two sheets pass through a cube.)"""

    def __init__(self, device: str | torch.device = "cuda") -> None:
        self.device = device
        corners = [[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)]
        self.cube_corners = torch.tensor(corners, dtype=torch.float, device=device)

    def construct_voxel_grid(self, resolution) -> tuple[Tensor, Tensor]:
        """Corners (n, 3) of the cubes in [-0.5, 0.5], and each cube's eight indices into them."""
        size = [resolution] * 3 if isinstance(resolution, int) else list(resolution)
        cells = torch.ones(size).nonzero().float()
        corners = (cells[:, None] + self.cube_corners) / torch.tensor(size)
        unique, index = torch.unique((corners.reshape(-1, 3) * 1e5).round() / 1e5, dim=0, return_inverse=True)
        return unique - 0.5, index.reshape(-1, 8)

    def __call__(
        self, voxelgrid_vertices, scalar_field, cube_idx, resolution, qef_reg_scale=1e-3, weight_scale=0.99,
        beta=None, alpha=None, gamma_f=None, training=False, output_tetmesh=False, grad_func=None,
        voxelgrid_features=None,
    ):  # fmt: skip
        assert voxelgrid_vertices.ndim == 2 and voxelgrid_vertices.shape[1] == 3
        assert scalar_field.shape == (len(voxelgrid_vertices),)
        assert cube_idx.ndim == 2 and cube_idx.shape[1] == 8
        assert voxelgrid_vertices.dtype == scalar_field.dtype == torch.float32
        x, y, z = resolution if isinstance(resolution, list | tuple) else (resolution,) * 3
        assert len(cube_idx) == x * y * z
        pairs = [
            (0, 1),
            (4, 5),
            (2, 3),
            (6, 7),
            (0, 2),
            (4, 6),
            (1, 3),
            (5, 7),
            (0, 4),
            (1, 5),
            (2, 6),
            (3, 7),
        ]
        ends = torch.stack([cube_idx[:, list(pair)] for pair in pairs], 1)
        value = scalar_field[ends]
        crossed = (value[..., 0] < 0) != (value[..., 1] < 0)
        surface = crossed.any(1)
        if not surface.any():
            empty = torch.zeros((0, 3), device=self.device)
            return empty, empty.long(), torch.zeros(0, device=self.device)
        crossed, value = crossed[surface][..., None], value[surface]
        gap = torch.where(crossed[..., 0], value[..., 1] - value[..., 0], 1.0)
        share = (-value[..., 0] / gap)[..., None]
        position = voxelgrid_vertices[ends[surface]]
        points = position[..., 0, :] * (1 - share) + position[..., 1, :] * share
        vertices = torch.where(crossed, points, 0.0).sum(1) / crossed.sum(1)

        number = torch.full((len(cube_idx),), -1, device=self.device)
        number[surface] = torch.arange(len(vertices), device=self.device)
        number, corner = number.reshape(x, y, z), scalar_field[cube_idx[:, 0]].reshape(x, y, z) < 0
        far = {0: 1, 1: 2, 2: 4}
        faces = []
        for axis in range(3):
            other = scalar_field[cube_idx[:, far[axis]]].reshape(x, y, z) < 0
            second, third = (axis + 1) % 3, (axis + 2) % 3
            cube = (corner != other).nonzero()
            cube = cube[(cube[:, second] > 0) & (cube[:, third] > 0)]
            around = []
            for back in ((0, 0), (1, 0), (1, 1), (0, 1)):
                moved = cube.clone()
                moved[:, second] -= back[0]
                moved[:, third] -= back[1]
                around.append(number[tuple(moved.T)])
            quad = torch.stack(around, 1)
            rising = corner[tuple(cube.T)]
            quad = torch.where(rising[:, None], quad, quad.flip(1))
            faces += [quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]]
        return vertices, torch.cat(faces), torch.zeros(len(vertices), device=self.device)
