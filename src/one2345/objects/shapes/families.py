"""Families of random programs: what kinds of objects the shapes imitate. Extents are about 1."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from one2345.objects.shapes import outlines
from one2345.objects.shapes.draft import FORWARD, SIDEWAYS, Draft, about_z, towards
from one2345.objects.shapes.parts import Part

# Half thickness of thin plates, walls and rods: about 0.015 to 0.035 in the world.
THIN = (0.03, 0.06)


def _at(vector: np.ndarray) -> tuple[float, float, float]:
    return (float(vector[0]), float(vector[1]), float(vector[2]))


def cluster(draft: Draft) -> list[Part]:
    """Parts stuck to or cut out of each other at random."""
    parts = [draft.solid(draft.uniform(0.4, 0.6), rotation=draft.rotation())]
    anchors = [(np.zeros(3), 0.5)]
    for _ in range(int(draft.generator.integers(1, 8))):
        centre, radius = draft.pick(anchors)
        size = draft.uniform(0.16, 0.42)
        place = centre + draft.direction() * radius * draft.uniform(0.5, 1.0)
        joined = draft.joined(subtract=0.22)
        if joined["operation"] != "subtraction":
            anchors.append((place, size))
        fold = (draft.chance(0.25), draft.chance(0.12), False)
        parts.append(draft.solid(size, rotation=draft.rotation(), position=_at(place), fold=fold, **joined))
    return parts


def carved(draft: Draft) -> list[Part]:
    """A large solid with holes, slots and dents."""
    kind = draft.pick(["box", "rounded_box", "superquadric", "cylinder", "extrusion", "ellipsoid"])
    parts = [draft.solid(0.6, kind=kind, rotation=draft.rotation(upright=0.8))]
    if draft.chance(0.4):
        at = _at(draft.direction() * 0.4)
        parts.append(draft.solid(0.35, position=at, rotation=draft.rotation(), **draft.joined()))
    for _ in range(int(draft.generator.integers(1, 5))):
        turn = draft.rotation(upright=0.85)
        texture = draft.texture(0.3)
        if draft.chance(0.6):
            across = np.array([draft.uniform(-0.25, 0.25), draft.uniform(-0.25, 0.25), 0.0])
            hole = draft.uniform(0.08, 0.26)
            kind, params = draft.pick(
                [
                    ("cylinder", (hole, 1.2)),
                    ("box", (hole, draft.uniform(0.08, 0.26), 1.2)),
                    ("extrusion", (1.2, *outlines.polygon(draft.generator, 1.2 * hole))),
                ],
                [0.5, 0.3, 0.2],
            )
            fold = (draft.chance(0.3), draft.chance(0.3), False)
            cutter = Part(kind, params, turn, _at(turn @ across), "subtraction", fold=fold, texture=texture)
        else:
            size = draft.uniform(0.2, 0.45)
            at = _at(draft.direction() * draft.uniform(0.35, 0.7))
            dent = draft.pick(["ellipsoid", "superquadric", "rounded_box", "torus"], [4, 2, 2, 1])
            cutter = draft.solid(size, kind=dent, position=at, rotation=turn, operation="subtraction")
        parts.append(cutter)
    return parts


def vessel(draft: Draft) -> list[Part]:
    """Bowl, cup, plate or vase, with handles, foot, lid or something in it."""
    size, wall = draft.uniform(0.4, 0.6), 2.0 * draft.uniform(*THIN)
    outline = outlines.vessel(draft.generator, size, wall)
    height = float(np.ptp(outline[1::2])) / 2.0
    width = max(outline[::2])
    parts = [Part("revolution", outline, rounding=0.006, texture=draft.texture(size))]
    if draft.chance(0.45):
        minor = draft.uniform(0.025, 0.05)
        at = (width + 0.05, 0.0, draft.uniform(-0.1, 0.25) * height)
        ring = (max(0.45 * height, 0.12), minor)
        handle = Part(
            "torus", ring, FORWARD, at, texture=draft.texture(0.3), fold=(draft.chance(0.5), False, False)
        )
        inner = Part(
            "cylinder", (width - 1.2 * wall, height), np.eye(3), (0.0, 0.0, wall * 1.5), "subtraction"
        )
        parts += [handle, inner] if draft.chance(0.3) and outline[2] > 0.6 * width else [handle]
    if draft.chance(0.4):
        foot = outlines.cone(width * draft.uniform(0.4, 0.8), width * draft.uniform(0.15, 0.4), 0.12)
        at = (0.0, 0.0, -height - 0.09)
        parts.append(Part("revolution", foot, np.eye(3), at, **draft.joined(), texture=draft.texture(0.4)))
    for _ in range(int(draft.generator.integers(0, 3))):
        thing = draft.uniform(0.12, 0.28) * width / 0.5
        radius, angle = draft.uniform(0.0, 0.4) * width, draft.uniform(0.0, 2.0 * math.pi)
        at = (radius * math.cos(angle), radius * math.sin(angle), -height + wall + 0.7 * thing)
        parts.append(draft.solid(thing, position=at, rotation=draft.rotation()))
    return parts


def shell(draft: Draft) -> list[Part]:
    """A hollow solid that is cut open, perhaps with windows and things attached."""
    wall = draft.uniform(*THIN)
    kind = draft.pick(
        ["box", "ellipsoid", "cylinder", "superquadric", "capsule", "extrusion"], [3, 3, 3, 2, 1, 1]
    )
    normal = draft.pick([np.array([0.0, 0.0, 1.0]), draft.direction()], [0.6, 0.4])
    normal = normal * (1.0 if normal[2] > 0 else -1.0)
    cut = (float(normal[0]), float(normal[1]), float(normal[2]), draft.uniform(-0.1, 0.2))
    parts = [
        draft.solid(0.55, kind=kind, shell=wall, cut=cut, rotation=draft.rotation(upright=0.8), twist=0.0)
    ]
    for _ in range(int(draft.generator.integers(0, 4))):
        place = draft.direction() * 0.45
        if draft.chance(0.4):
            turn = towards(place / np.linalg.norm(place))
            window = (draft.uniform(0.08, 0.2), 0.35)
            parts.append(
                Part("cylinder", window, turn, _at(place), "subtraction", texture=draft.texture(0.2))
            )
        else:
            size = draft.uniform(0.12, 0.3)
            parts.append(draft.solid(size, position=_at(place), rotation=draft.rotation(), **draft.joined()))
    return parts


def furniture(draft: Draft) -> list[Part]:
    """Table, chair, bench or shelf: a plate on mirrored legs."""
    x, y = draft.uniform(0.3, 0.6), draft.uniform(0.25, 0.5)
    height, plate = draft.uniform(0.25, 0.6), draft.uniform(*THIN)
    wood, other = draft.texture(0.5), draft.texture(0.4)
    round_top = draft.chance(0.3)
    top = ("cylinder", (min(x, y), plate)) if round_top else ("box", (x, y, plate))
    parts = [Part(*top, position=(0.0, 0.0, height), texture=wood, rounding=draft.pick([0.0, 0.012]))]
    if round_top:
        x = y = min(x, y) * 0.7
    leg = draft.uniform(0.025, 0.06)
    style = draft.pick(["box", "cylinder", "turned", "pedestal", "panels"], [3, 3, 2, 1.5, 1.5])
    inset = np.array([x - leg - 0.02, y - leg - 0.02, 0.0])
    four = (True, True, False)
    if style == "box":
        legs = Part("box", (leg, leg, height), position=_at(inset), fold=four, texture=other)
        if draft.chance(0.4):
            legs = replace(legs, taper=draft.uniform(-0.4, 0.0), taper_height=height)
        parts.append(legs)
    elif style == "cylinder":
        slope = np.array([draft.uniform(-0.2, 0.1), draft.uniform(-0.2, 0.1), 1.0])
        turn = towards(slope / np.linalg.norm(slope))
        parts.append(Part("cylinder", (leg, height), turn, _at(inset), fold=four, texture=other))
    elif style == "turned":
        outline = outlines.turned(draft.generator, 1.0)
        u = np.array(outline[::2]) * leg * 2.0
        v = np.array(outline[1::2])
        v = v / np.abs(v).max() * height
        params = outlines.flat(np.stack([u, v], axis=1))
        parts.append(Part("revolution", params, position=_at(inset), fold=four, rounding=0.01, texture=other))
    elif style == "pedestal":
        parts.append(Part("cylinder", (leg * 1.4, height), texture=other))
        foot = outlines.cone(0.7 * min(x, y), leg, 0.06)
        parts.append(Part("revolution", foot, position=(0.0, 0.0, -height), texture=other))
    else:
        parts.append(
            Part("box", (plate, y, height), position=(x - plate, 0.0, 0.0), fold=four, texture=other)
        )
    if style != "pedestal" and draft.chance(0.45):
        size = (x, y, plate) if style == "panels" else (x - leg, max(y - 2 * leg, 0.05), plate)
        parts.append(Part("box", size, position=(0.0, 0.0, draft.uniform(-0.6, 0.4) * height), texture=wood))
    if draft.chance(0.5):
        back, tall = draft.uniform(0.02, 0.05), draft.uniform(0.2, 0.45)
        where = (0.0, y - back, height + tall)
        parts.append(Part("box", (x, back, tall), position=where, texture=draft.texture(0.4), rounding=0.01))
        if draft.chance(0.5):
            window = (
                ("cylinder", (0.5 * min(x, tall), 0.2))
                if draft.chance(0.5)
                else ("box", (0.12, 0.5 * tall, 0.2))
            )
            at = (0.0 if draft.chance(0.5) else 0.5 * x, where[1], where[2])
            fold = (True, False, False)
            parts.append(
                Part(*window, rotation=FORWARD, position=at, operation="subtraction", fold=fold, texture=wood)
            )
    for _ in range(int(draft.generator.integers(0, 3))):
        size = draft.uniform(0.08, 0.2)
        at = (draft.uniform(-0.5, 0.5) * x, draft.uniform(-0.5, 0.5) * y, height + 0.6 * size)
        parts.append(draft.solid(size, position=at, rotation=about_z(draft.uniform(0.0, 3.0))))
    return parts


def creature(draft: Draft) -> list[Part]:
    """A mirrored body with limbs: animal, doll, plane or car."""
    body = draft.pick(["ellipsoid", "superquadric", "capsule", "rounded_box", "revolution"])
    parts = [
        draft.solid(draft.uniform(0.4, 0.55), kind=body, rotation=draft.pick([np.eye(3), FORWARD]), twist=0.0)
    ]
    blend = draft.uniform(0.05, 0.15)
    head = draft.uniform(0.15, 0.28)
    at = (0.0, -draft.uniform(0.2, 0.5), draft.uniform(0.2, 0.5))
    parts.append(draft.solid(head, position=at, operation="smooth_union", blend=blend))
    for _ in range(int(draft.generator.integers(1, 5))):
        place = np.abs(draft.direction()) * draft.uniform(0.3, 0.5)
        place[1:] *= [draft.pick([-1.0, 1.0]), draft.pick([-1.0, 1.0])]
        axis = draft.direction() + 1.5 * place / np.linalg.norm(place)
        turn = towards(axis / np.linalg.norm(axis))
        style = draft.pick(["limb", "wing", "wheel", "any"], [4, 2, 1.5, 2])
        fold = (True, draft.chance(0.4), False)
        joined: dict[str, Any] = {"operation": "union"}  # fields of Part
        if draft.chance(0.6):
            joined = {"operation": "smooth_union", "blend": blend}
        texture = draft.texture(0.25)
        if style == "limb":
            params = (draft.uniform(0.04, 0.1), draft.uniform(0.15, 0.32))
            at = _at(place + turn[:, 2] * params[1] * 0.6)
            parts.append(Part("capsule", params, turn, at, fold=fold, texture=texture, **joined))
        elif style == "wing":
            params = (draft.uniform(0.02, 0.04), *outlines.polygon(draft.generator, draft.uniform(0.2, 0.35)))
            side = about_z(draft.uniform(0.0, 3.0))
            parts.append(
                Part("extrusion", params, side, _at(place), fold=fold, texture=texture, rounding=0.008)
            )
        elif style == "wheel":
            params = (draft.uniform(0.12, 0.2), draft.uniform(0.04, 0.08))
            at = (abs(place[0]) + 0.1, abs(place[1]), -abs(place[2]))
            wheel = draft.pick(["cylinder", "torus"])
            parts.append(Part(wheel, params, SIDEWAYS, at, fold=(True, True, False), texture=texture))
        else:
            parts.append(
                draft.solid(
                    draft.uniform(0.12, 0.25), position=_at(place), rotation=turn, fold=fold, **joined
                )
            )
    return parts


def frame(draft: Draft) -> list[Part]:
    """Thin plates, rods and rings that cross each other."""
    parts: list[Part] = []
    for i in range(int(draft.generator.integers(2, 7))):
        thin = draft.uniform(*THIN)
        turn = draft.rotation(upright=0.75)
        place = draft.generator.uniform(-0.25, 0.25, 3) * (i > 0)
        texture = draft.texture(0.4)
        style = draft.pick(["plate", "rod", "ring", "sheet", "disc"], [3, 3, 2, 2, 1])
        fold = (draft.chance(0.2), draft.chance(0.2), False)
        wide = draft.uniform(0.3, 0.6)
        if style == "plate":
            kind, params = "box", (wide, draft.uniform(0.15, 0.5), thin)
        elif style == "rod":
            kind, params = draft.pick(["cylinder", "capsule"]), (1.3 * thin, wide)
        elif style == "ring":
            kind, params = "torus", (0.8 * wide, 1.3 * thin)
        elif style == "sheet":
            kind, params = "extrusion", (thin, *outlines.polygon(draft.generator, 0.8 * wide))
        else:
            kind, params = "cylinder", (0.8 * wide, thin)
        twist = draft.uniform(-1.5, 1.5) if kind in ("box", "extrusion") and draft.chance(0.2) else 0.0
        parts.append(Part(kind, params, turn, _at(place), fold=fold, texture=texture, twist=twist))
    return parts


def single(draft: Draft) -> list[Part]:
    """One primitive, large."""
    return [draft.solid(0.6, rotation=draft.rotation())]


FAMILIES: dict[Callable[[Draft], list[Part]], float] = {
    cluster: 0.32,
    carved: 0.2,
    vessel: 0.08,
    shell: 0.06,
    furniture: 0.1,
    creature: 0.16,
    frame: 0.03,
    single: 0.05,
}
