"""FLOPs of each stage from the layer sizes alone: what the published recipe does, and the least that its values take.

Matrix products and convolutions only, a multiplication and an addition counting two.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from scene import Sizes

VERTICES_256 = 76_776
SURFACE = 0.03
"""Of a lattice's nodes, the share that lies near a surface."""


def mlp(*widths: int) -> int:
    """Multiplications of one row through linear layers."""
    return sum(a * b for a, b in pairwise(widths))


def features(views: int, pixels: int) -> int:
    """The pyramid: 3x3 and 5x5 convolutions at full, half and quarter resolution, 1x1 laterals, 3x3 smoothing."""
    full = 9 * (3 * 8 + 8 * 8) + 8 * 32 + 9 * 32 * 8
    half = 25 * 8 * 16 + 2 * 9 * 16 * 16 + 16 * 32 + 9 * 32 * 16
    quarter = 25 * 16 * 32 + 2 * 9 * 32 * 32 + 32 * 32
    return 2 * views * (full * pixels**2 + half * (pixels // 2) ** 2 + quarter * (pixels // 4) ** 2)


def lift(views: int, pixels: int, voxels: int, active: int) -> int:
    """The 56 -> 16 convolution; all voxels projected, and the active ones again."""
    return 2 * views * (9 * 56 * 16 * pixels**2 + 12 * (voxels + active))


LAYERS = (
    ("conv0", 0, 0, 32, 16), ("conv1", 0, 1, 16, 16), ("conv2", 1, 1, 16, 16), ("conv3", 1, 2, 16, 32),
    ("conv4", 2, 2, 32, 32), ("conv5", 2, 3, 32, 64), ("conv6", 3, 3, 64, 64), ("up3", 2, 3, 64, 32),
    ("up2", 1, 2, 32, 16), ("up1", 0, 1, 16, 16),
)  # fmt: skip
"""Of the 3D network: name, finer level, coarser level, channels in and out."""


def network_dense(resolution: int) -> int:
    """27 taps at every position of the coarser of a layer's two levels, which have a site beyond the last voxel."""
    edges = [resolution + 1]
    while len(edges) < 4:
        edges.append((edges[-1] + 1) // 2)
    return sum(2 * 27 * a * b * edges[coarse] ** 3 for _, _, coarse, a, b in LAYERS)


def network_gather(pairs: dict[tuple[int, int], int]) -> int:
    """pairs: by (finer, coarser) level, how many pairs of sites the 27 taps connect."""
    return sum(2 * a * b * pairs[fine, coarse] for _, fine, coarse, a, b in LAYERS)


SDF = mlp(39, 128) + mlp(144, 128) + mlp(144, 128)
DISTANCE = mlp(39, 128) + mlp(144, 128) + mlp(144, 1)
BLEND = mlp(4, 16, 59) + mlp(193, 64, 32) + mlp(32, 32, 33) + mlp(32, 32, 1) + mlp(37, 16, 8, 1)
PER_POINT = (16 + 2 * 59) * 64
"""Of BLEND, what is the same for all views of a point."""


def blending(points: int, views: int) -> int:
    return 2 * points * views * (BLEND + 12)


def rays(samples: int, views: int, sampled: int, held: int) -> int:
    """samples: all of the rays, coloured. sampled: distances asked for while sampling. held: samples where the field
    holds: distance, and distance and derivative once more for the gradient."""
    return 2 * SDF * (sampled + 3 * held) + blending(samples, views)


def backward(samples: int, views: int, sampled: int, held: int, uniform: int) -> int:
    """`rays`, and back: twice a forward product each, those of the gradient's own pass included; uniform: points of the
    sparsity term."""
    return rays(samples, views, sampled, held) + 2 * (
        2 * SDF * 3 * held + blending(samples, views)
    ) + 3 * 2 * SDF * uniform  # fmt: skip


def grid(lattice: int) -> int:
    return 2 * SDF * lattice**3


def colours(vertices: int, views: int) -> int:
    """The normals by a pass there and back."""
    return 2 * vertices * 2 * SDF + blending(vertices, views)


def least(stage: str, sizes: Sizes) -> float:
    """FLOPs that the values of a stage of the published network take at least: no output that nobody reads, what does
    not depend on the view once per point, one pass for a distance with its gradient, and a lattice near the surface
    only. Two thirds of the samples of a ray lie where the field holds."""
    v, p, n, b = sizes.views, sizes.pixels, sizes.volume, sizes.batch
    samples = 128 * sizes.rays
    view = BLEND - PER_POINT
    coloured = 2 * (v * view + PER_POINT)
    there = 2 * (2 * DISTANCE * samples) + coloured * samples
    before = 2 * DISTANCE * (112 * sizes.rays)
    vertices = VERTICES_256 * (sizes.lattice / 256) ** 2
    parts: dict[str, float] = {
        "features": features(v, p),
        "lift": lift(v, p, n**3, 0),
        "network": network_dense(n),
        "rays": before + there,
        "backward": before + 3 * there,
        "grid": SURFACE * sizes.lattice**3 * 2 * DISTANCE,
        "colours": vertices * (2 * 2 * DISTANCE + coloured),
    }
    sums: dict[str, Sequence[str]] = {
        "encode": ("features", "lift", "network"),
        "extraction": ("grid", "colours"),
        "mesh": ("features", "lift", "network", "grid", "colours"),
    }
    if stage == "step":
        return b * (3 * (parts["features"] + parts["lift"] + parts["network"]) + parts["backward"])
    return sum(parts[name] for name in sums[stage]) if stage in sums else parts[stage]
