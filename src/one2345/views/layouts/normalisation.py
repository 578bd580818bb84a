"""Another world to ours: upright, the object centred at the origin, its longest edge 0.8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from one2345.errors import InputError
from one2345.geometry import OBJECT_EDGE, Box, Cameras, hull_sdf, mask_distance

AXES = {"x": (1, 0, 0), "-x": (-1, 0, 0), "y": (0, 1, 0), "-y": (0, -1, 0), "z": (0, 0, 1), "-z": (0, 0, -1)}
_RESOLUTIONS = (48, 64, 96)
_TOLERANCES = (0.05, 0.25)
_CHUNK = 65536


@dataclass(frozen=True)
class Normalisation:
    """matrix: (4, 4) float64 similarity from the layout's world to ours. words: what it does, for people."""

    matrix: NDArray[np.float64]
    words: str

    @property
    def scale(self) -> float:
        return float(np.linalg.norm(self.matrix[:3, 0]))

    def cameras(self, c2w: NDArray[np.float64]) -> NDArray[np.float64]:
        """Poses (v, 4, 4) of the layout's world in ours: rotations turned, centres moved and scaled."""
        result = c2w.copy()
        result[:, :3, :3] = self.matrix[:3, :3] / self.scale @ c2w[:, :3, :3]
        result[:, :3, 3] = c2w[:, :3, 3] @ self.matrix[:3, :3].T + self.matrix[:3, 3]
        return result


def up_of_cameras(c2w: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vector (3) that is up for photographs c2w (v, 4, 4) held upright.

    The direction nearest to perpendicular to all image rows (the cameras' x axes), which is exact for cameras
    without roll wherever they stand; the mean of the cameras' up axes where that one is undetermined (all
    cameras side by side, or some photographs held sideways).
    """
    mean = -c2w[:, :3, 1].mean(0)
    length = float(np.linalg.norm(mean))
    if length < 0.05:
        raise InputError(
            "the cameras' up directions cancel out; say which way is up (up=z, up=-y, up=[0,0,1])"
        )
    mean /= length
    values, vectors = np.linalg.eigh(c2w[:, :3, 0].T @ c2w[:, :3, 0] / len(c2w))
    level = vectors[:, 0] * np.sign(vectors[:, 0] @ mean)
    determined = values[1] > 0.02 and values[0] < 0.25 * values[1]
    return level if determined and level @ mean > 0.2 else mean


def parse_up(up: str | Sequence[float]) -> NDArray[np.float64]:
    """Unit vector (3) of an axis name (x, -x, y, ...) or three numbers. Raises InputError."""
    if isinstance(up, str):
        if up.removeprefix("+") not in AXES:
            raise InputError(f"up={up!r}: give one of {', '.join(AXES)}, or three numbers")
        return np.array(AXES[up.removeprefix("+")], dtype=np.float64)
    vector = np.array(list(up), dtype=np.float64)
    length = float(np.linalg.norm(vector)) if vector.shape == (3,) else 0.0
    if not np.isfinite(length) or length < 1e-9:
        raise InputError(f"up={list(up)!r}: three finite numbers that are not all 0 are needed")
    return vector / length


def upright(up: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest rotation (3, 3) that turns the unit vector `up` to +z; y to z turns about x."""
    z = np.array([0.0, 0.0, 1.0])
    axis, cosine = np.cross(up, z), float(up @ z)
    if cosine < -1 + 1e-9:
        return np.diag([1.0, -1.0, -1.0])
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1 + cosine)


def nearest_point(origins: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """The point (3) nearest, in the least squares, to lines through origins (v, 3) along unit directions (v, 3).

    Raises InputError where the lines are as good as parallel.
    """
    across = np.eye(3) - directions[:, :, None] * directions[:, None]
    total = across.sum(0)
    if np.linalg.eigvalsh(total)[0] < 1e-4 * len(origins):
        raise InputError("all cameras look the same way, so that nothing says how far the object is")
    return np.linalg.solve(total, (across @ origins[:, :, None]).sum(0)[:, 0])


def normalise(
    K: NDArray[np.float64],
    c2w: NDArray[np.float64],
    masks: Sequence[torch.Tensor],
    boxes: Sequence[tuple[int, int, int, int]],
    rotation: NDArray[np.float64],
) -> tuple[Normalisation, float]:
    """The similarity that puts the visual hull of masks [(h, w)] upright, centred, longest edge 0.8; and the share
    of views that it had to overrule.

    K: (v, 3, 3). c2w: (v, 4, 4) in the layout's world. boxes: of the masks in pixels. rotation: (3, 3) to z up.
    The first guess is where the rays through the boxes' middles meet; three grids then narrow the hull down.
    Raises InputError where cameras look away from each other or the masks have no common volume.
    """
    middles = np.array([[(b[0] + b[2]) / 2, (b[1] + b[3]) / 2, 1.0] for b in boxes])
    rays = (c2w[:, :3, :3] @ np.linalg.solve(K, middles[:, :, None]))[:, :, 0]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    centre = nearest_point(c2w[:, :3, 3], rays)
    depth = ((centre - c2w[:, :3, 3]) * c2w[:, :3, 2]).sum(1)
    if (depth <= 0).any():
        raise InputError(
            f"{int((depth <= 0).sum())} of {len(depth)} cameras look away from where the others look: the poses or "
            "their axes are not what the layout says"
        )
    extents = [max(b[2] - b[0], b[3] - b[1]) * z / k[0, 0] for b, z, k in zip(boxes, depth, K)]
    half = float(np.median(extents))
    distances = [mask_distance(mask[None]) for mask in masks]
    for tolerance in _TOLERANCES:
        box = _hull_box(K, c2w, distances, rotation, centre, half, tolerance)
        if box is not None:
            break
    else:
        raise InputError(
            "no point lies inside most of the masks: the masks, or the cameras' poses, don't belong together"
        )
    low, high = box
    scale = OBJECT_EDGE / float((high - low).max())
    middle = rotation.T @ ((low + high) / 2)
    matrix = np.eye(4)
    matrix[:3, :3] = scale * rotation
    matrix[:3, 3] = -scale * rotation @ middle
    turn = np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)))
    moved = ", ".join(f"{x:.4g}" for x in -middle)
    words = f"moved by ({moved}), " + (f"turned by {turn:.1f} degrees to z up, " if turn > 0.05 else "")
    return Normalisation(matrix=matrix, words=f"{words}scaled by {scale:.4g}"), tolerance


def _hull_box(
    K: NDArray[np.float64],
    c2w: NDArray[np.float64],
    distances: Sequence[torch.Tensor],
    rotation: NDArray[np.float64],
    centre: NDArray[np.float64],
    half: float,
    tolerance: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Lowest and highest corner (3), in the upright world, of the hull; None where it is empty."""
    # In single precision only near the origin and in units of the object's size, whatever the layout's are.
    turned = c2w.copy()
    turned[:, :3, :3] = rotation @ c2w[:, :3, :3]
    turned[:, :3, 3] = (c2w[:, :3, 3] - centre) @ rotation.T / half
    cameras = [
        Cameras(
            K=torch.from_numpy(k).float()[None],
            c2w=torch.from_numpy(pose).float()[None],
            size=(d.shape[-2], d.shape[-1]),
        )
        for k, pose, d in zip(K, turned, distances)
    ]
    low, high = np.full(3, -1.0), np.full(3, 1.0)
    for resolution in _RESOLUTIONS:
        edge = float((high - low).max()) * 1.1
        grid = Box(half_edge=edge / 2, resolution=resolution).nodes().reshape(-1, 3)
        points = grid + torch.from_numpy((low + high) / 2).float()
        field = torch.cat([_field(chunk, distances, cameras, tolerance) for chunk in points.split(_CHUNK)])
        inner = field < 0
        if not inner.any():
            return None
        # The surface is as far beyond the outermost node as the field says, at most a voxel.
        reach = (-field[inner]).clamp_max(edge / resolution)[:, None]
        low = (points[inner] - reach).amin(0).double().numpy()
        high = (points[inner] + reach).amax(0).double().numpy()
    offset = rotation @ centre
    return low * half + offset, high * half + offset


def _field(
    points: torch.Tensor, distances: Sequence[torch.Tensor], cameras: Sequence[Cameras], tolerance: float
) -> torch.Tensor:
    """Signed distance (p) to the soft hull of views of different sizes: the cones one by one, then the vote."""
    cones = torch.stack([hull_sdf(points, d, c) for d, c in zip(distances, cameras)])
    ignored = min(int(tolerance * len(cones)), len(cones) - 1)
    return torch.topk(cones, ignored + 1, dim=0).values[-1]
