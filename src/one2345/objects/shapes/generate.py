"""Random shapes, keyed by (seed, index): a family, a program, a turn; degenerate ones are drawn again."""

from __future__ import annotations

import math

import numpy as np

from one2345.objects.shapes.draft import Draft, about_z
from one2345.objects.shapes.families import FAMILIES
from one2345.objects.shapes.grid import components
from one2345.objects.shapes.placing import place
from one2345.objects.shapes.shape import AnalyticShape
from one2345.seeding import numpy_rng

MAX_PARTS = 12
ATTEMPTS = 64
# World units; the longest edge is 0.8.
MIN_VOLUME = 0.004
MIN_MIDDLE_EDGE = 0.12
MIN_SHORTEST_EDGE = 0.03
# Share of the volume that must hang together.
MIN_MAIN_SHARE = 0.999


def random_shape(seed: int, *, index: int) -> AnalyticShape:
    """Shape number `index` of the stream `seed`: the same on every machine, id `shape-{seed}-{index:06d}`.

    Draws that are empty, too small, too slim or in pieces are replaced by the next draw of the same key.
    """
    for attempt in range(ATTEMPTS):
        shape = _draw(seed, index, attempt)
        if shape is not None and _sound(shape):
            return shape
    raise RuntimeError(f"no sound shape in {ATTEMPTS} draws for seed {seed}, index {index}")


def _draw(seed: int, index: int, attempt: int) -> AnalyticShape | None:
    draft = Draft(numpy_rng("shape", seed, index, attempt))
    family = draft.pick(list(FAMILIES), list(FAMILIES.values()))
    parts = family(draft)[:MAX_PARTS]
    turn = about_z(draft.pick([0.0, 0.5, 1.0, 1.5]) * math.pi)
    style = draft.generator.random()
    if style < 0.12:
        turn = draft.rotation(upright=0.0)
    elif style < 0.5:
        turn = about_z(draft.uniform(0.0, 2.0 * math.pi))
    return place(parts, id=f"shape-{seed}-{index:06d}", rotation=turn)


def _sound(shape: AnalyticShape) -> bool:
    edges = sorted(2.0 * h for h in shape.half)
    if edges[1] < MIN_MIDDLE_EDGE or edges[0] < MIN_SHORTEST_EDGE:
        return False
    solid = shape.grid.values < 0.0
    count = int(solid.sum())
    if count * shape.grid.spacing**3 < MIN_VOLUME:
        return False
    pieces, number = components(solid, np.ones((3, 3, 3), dtype=bool))
    sizes = np.bincount(pieces.ravel(), minlength=number + 1)[1:]
    return bool(sizes.max() >= MIN_MAIN_SHARE * count)
