"""Procedural albedo: solid, striped, checkered, noise and gradient, evaluated for many parts at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch

PATTERNS = ("solid", "stripes", "checker", "noise", "gradient")
WAVES = 6
DETAILS = 4


@dataclass(frozen=True, eq=False)
class Texture:
    """Pattern of a part, in the part's local frame and program units.

    colours: (3, 3) palette in [0, 1]. waves: (6, 3) wave vectors in periods per unit, phases (6,) in periods.
    contrast: how sharply noise switches colours. detail: amplitude of a fine variation of brightness with
    detail_waves (4, 3) and detail_phases (4,).
    """

    pattern: str = "solid"
    colours: np.ndarray = field(default_factory=lambda: np.full((3, 3), 0.6))
    waves: np.ndarray = field(default_factory=lambda: np.zeros((WAVES, 3)))
    phases: np.ndarray = field(default_factory=lambda: np.zeros(WAVES))
    contrast: float = 1.0
    detail: float = 0.0
    detail_waves: np.ndarray = field(default_factory=lambda: np.zeros((DETAILS, 3)))
    detail_phases: np.ndarray = field(default_factory=lambda: np.zeros(DETAILS))

    def __post_init__(self) -> None:
        if self.pattern not in PATTERNS:
            raise ValueError(f"texture pattern is {self.pattern!r}, expected one of {', '.join(PATTERNS)}")

    def packed(self) -> np.ndarray:
        """One float row of `ROW` numbers."""
        waves = np.concatenate([self.waves, self.detail_waves]).reshape(-1)
        phases = np.concatenate([self.phases, self.detail_phases])
        head = [float(PATTERNS.index(self.pattern)), self.contrast, self.detail]
        return np.concatenate([head, self.colours.reshape(-1), waves, phases]).astype(np.float32)


ROW = 3 + 9 + 4 * (WAVES + DETAILS)


def albedo(rows: torch.Tensor, local: torch.Tensor) -> torch.Tensor:
    """Colours (n, 3) in [0, 1] at local points (n, 3), each with its own texture row (n, ROW)."""
    pattern, contrast, detail = rows[:, 0], rows[:, 1], rows[:, 2]
    first, second, third = rows[:, 3:12].reshape(-1, 3, 3).unbind(1)
    count = WAVES + DETAILS
    waves, phases = rows[:, 12 : 12 + 3 * count].reshape(-1, count, 3), rows[:, 12 + 3 * count :]
    turns = (waves * local[:, None, :]).sum(dim=-1) + phases
    sines = torch.sin(turns * (2.0 * math.pi))
    smooth = sines[:, :WAVES].sum(dim=1) / math.sqrt(WAVES / 2.0)
    values = torch.stack(
        [
            torch.zeros_like(smooth),
            torch.floor(2.0 * turns[:, 0]).remainder(3.0) / 2.0,
            torch.floor(2.0 * turns[:, :3]).sum(dim=1).remainder(2.0),
            (0.5 + 0.5 * contrast * smooth).clamp(0.0, 1.0),
            turns[:, 0].clamp(0.0, 1.0),
        ],
        dim=1,
    )
    value = values.gather(1, pattern.long()[:, None])
    low, high = (2.0 * value).clamp_max(1.0), (2.0 * value - 1.0).clamp_min(0.0)
    colour = first + low * (second - first)
    colour = colour + high * (third - colour)
    brightness = 1.0 + detail * sines[:, WAVES:].mean(dim=1)
    return (colour * brightness[:, None]).clamp(0.0, 1.0)


def random_texture(generator: np.random.Generator, *, size: float) -> Texture:
    """A vivid pattern for a part whose largest radius is `size` (program units)."""
    pattern = str(generator.choice(PATTERNS, p=[0.14, 0.24, 0.2, 0.26, 0.16]))
    colours = np.stack([_random_colour(generator) for _ in range(3)])
    if pattern == "checker":
        colours[1] = colours[2]
    directions = generator.normal(size=(WAVES, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True) + 1e-9
    if pattern == "noise":
        waves = directions * (generator.uniform(0.8, 2.6, size=(WAVES, 1)) / size)
    elif pattern == "gradient":
        waves = directions * (0.5 / size)
    elif pattern == "checker":
        waves = np.zeros((WAVES, 3))
        waves[:3] = np.linalg.qr(generator.normal(size=(3, 3)))[0] if generator.random() < 0.3 else np.eye(3)
        waves *= generator.uniform(0.7, 1.8) / size
    else:
        if generator.random() < 0.6:
            directions = np.eye(3)[generator.integers(3)][None].repeat(WAVES, axis=0)
        waves = directions * (generator.uniform(0.8, 3.0) / size)
    phases = generator.random(WAVES)
    if pattern == "gradient":
        phases[0] = 0.5
    details = generator.normal(size=(DETAILS, 3)) * (generator.uniform(1.0, 2.5) / size)
    return Texture(
        pattern=pattern,
        colours=colours,
        waves=waves,
        phases=phases,
        contrast=float(generator.choice([1.0, 2.5, 8.0])),
        detail=float(generator.uniform(0.05, 0.3)),
        detail_waves=details,
        detail_phases=generator.random(DETAILS),
    )


def _random_colour(generator: np.random.Generator) -> np.ndarray:
    """RGB: mostly saturated, now and then near black, white or grey."""
    if generator.random() < 0.22:
        return np.full(3, generator.uniform(0.08, 0.9)) + generator.uniform(-0.04, 0.04, size=3)
    hue, saturation, value = generator.random(), generator.uniform(0.35, 0.95), generator.uniform(0.3, 0.95)
    ramp = np.abs((hue * 6.0 + np.array([0.0, 4.0, 2.0])) % 6.0 - 3.0) - 1.0
    return value * (1.0 - saturation * (1.0 - np.clip(ramp, 0.0, 1.0)))
