"""Random planar outlines, flat (u, v) lists, for solids of revolution and extrusions (program units)."""

from __future__ import annotations

import math

import numpy as np

Flat = tuple[float, ...]


def flat(corners: np.ndarray) -> Flat:
    return tuple(float(x) for x in corners.reshape(-1))


def closed(corners: np.ndarray) -> Flat:
    """Repeat the first corner at the end."""
    return flat(np.concatenate([corners, corners[:1]]))


def cone(bottom: float, top: float, half_height: float) -> Flat:
    """Outline of a truncated cone about the v axis."""
    corners = [[0.0, -half_height], [bottom, -half_height], [top, half_height], [0.0, half_height]]
    return flat(np.array(corners))


def turned(generator: np.random.Generator, size: float) -> Flat:
    """Outline of a turned solid (baluster, bottle, pawn): from the axis to the axis."""
    count = int(generator.integers(4, 8))
    v = np.sort(generator.uniform(-1.0, 1.0, count))
    v[0], v[-1] = -1.0, 1.0
    v = size * (0.5 * v + 0.5 * np.linspace(-1.0, 1.0, count)) * generator.uniform(0.8, 1.3)
    u = size * generator.uniform(0.2, 0.8, count)
    ends = np.array([[0.0, v[0]]]), np.array([[0.0, v[-1]]])
    return flat(np.concatenate([ends[0], np.stack([u, v], axis=1), ends[1]]))


def vessel(generator: np.random.Generator, size: float, wall: float) -> Flat:
    """Outline of a bowl, cup, plate or vase that is open at the top, with walls about `wall` thick."""
    style = generator.choice(["bowl", "cup", "vase", "plate"], p=[0.35, 0.3, 0.25, 0.1])
    if style == "bowl":
        angles = np.linspace(0.0, generator.uniform(1.2, 1.7), 6)
        depth = generator.uniform(0.5, 1.0)
        outer = np.stack([np.sin(angles), depth * (1.0 - np.cos(angles))], axis=1) * size
    elif style == "cup":
        bottom, height = generator.uniform(0.35, 0.8), generator.uniform(0.8, 1.8)
        outer = np.array([[0.0, 0.0], [bottom, 0.0], [generator.uniform(0.45, 0.8), height]]) * size
    elif style == "plate":
        outer = np.array([[0.0, 0.0], [0.55, 0.0], [0.75, 0.12], [1.0, 0.2]]) * size
    else:
        height = generator.uniform(1.2, 2.0)
        radii = generator.uniform(0.25, 0.75, 4)
        outer = np.stack([[0.0, *radii], np.array([0.0, 0.0, 0.4, 0.75, 1.0]) * height], axis=1) * size
    outer[:, 1] -= outer[-1, 1] / 2.0
    # The inner side: each corner moved along the mean of its segments' normals (to the left: up and inwards).
    steps = np.diff(outer, axis=0)
    normals = np.stack([-steps[:, 1], steps[:, 0]], axis=1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    before, after = np.concatenate([normals[:1], normals]), np.concatenate([normals, normals[-1:]])
    mitre = before + after
    mitre /= np.maximum((mitre * before).sum(axis=1, keepdims=True), 0.6)
    inner = outer + wall * mitre
    inner[0] = [0.0, outer[0, 1] + wall]
    inner[:, 0] = np.maximum(inner[:, 0], 0.0)
    inner[-1] = outer[-1] - [wall, 0.0]
    return flat(np.concatenate([outer, inner[::-1]]))


def ring(generator: np.random.Generator, size: float) -> Flat:
    """Closed outline away from the axis: a washer, tyre or frame."""
    count = int(generator.integers(3, 6))
    angles = np.linspace(0.0, 2.0 * math.pi, count, endpoint=False) + generator.uniform(0.0, 2.0 * math.pi)
    tall = generator.uniform(0.6, 2.0)
    corners = np.stack([np.cos(angles), tall * np.sin(angles)], axis=1) * size * generator.uniform(0.08, 0.2)
    return closed(corners + np.array([size * generator.uniform(0.6, 0.8), 0.0]))


def polygon(generator: np.random.Generator, size: float) -> Flat:
    """Closed outline of a prism: regular polygon, star, cross, L, T or U profile, or random star-shaped."""
    style = generator.choice(["regular", "star", "profile", "random"], p=[0.25, 0.25, 0.3, 0.2])
    if style == "profile":
        a, b = generator.uniform(0.18, 0.4, 2)
        profiles = [
            [[-1, -1], [1, -1], [1, -1 + 2 * a], [-1 + 2 * b, -1 + 2 * a], [-1 + 2 * b, 1], [-1, 1]],
            [
                [-1, 1],
                [-1, 1 - 2 * a],
                [-b, 1 - 2 * a],
                [-b, -1],
                [b, -1],
                [b, 1 - 2 * a],
                [1, 1 - 2 * a],
                [1, 1],
            ],
            [
                [-1, 1],
                [-1, -1],
                [1, -1],
                [1, 1],
                [1 - 1.2 * a, 1],
                [1 - 1.2 * a, -1 + b],
                [-1 + 1.2 * a, -1 + b],
            ],
            [[-1, -1], [0.3, -1], [1, -0.2], [1, 1], [0.2, 1], [0.2, 0.1], [-1, 0.1]],
        ]
        corners = np.array(profiles[int(generator.integers(len(profiles)))], dtype=float)
        if len(corners) == 7 and corners[0, 1] == 1:
            corners = np.concatenate([corners, [[-1 + 1.2 * a, 1]]])
        return closed(corners * size * np.array([1.0, generator.uniform(0.6, 1.0)]))
    count = int(generator.integers(3, 8)) if style != "star" else 2 * int(generator.integers(3, 7))
    angles = np.linspace(0.0, 2.0 * math.pi, count, endpoint=False)
    if style == "star":
        radii = np.where(np.arange(count) % 2 == 0, 1.0, generator.uniform(0.4, 0.7))
    elif style == "random":
        radii = generator.uniform(0.45, 1.0, count)
    else:
        radii = np.ones(count)
    return closed(np.stack([np.cos(angles) * radii, np.sin(angles) * radii], axis=1) * size)
