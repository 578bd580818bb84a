"""Programs of parts, packed for evaluation: the distance bound and colour of many shapes at many points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from one2345.objects.shapes import primitives, textures
from one2345.objects.shapes.parts import Part

# Points per evaluation where memory is to be bounded.
CHUNK = 1 << 17


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a program lies in the world: world = (rotation @ program - centre) * scale."""

    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class _Group:
    """Parts at one step of several programs that are alike: same primitive, modifiers and operation."""

    kind: str
    operation: str
    deformed: bool
    folded: bool
    cut: bool
    shapes: Tensor | None

    rotation: Tensor
    offset: Tensor
    params: Tensor
    fold: Tensor
    scalars: Tensor
    plane: Tensor

    def distance(self, points: Tensor) -> Tensor:
        """(m, 3, n) program coordinates -> (m, n) 1-Lipschitz distance of the parts."""
        if self.folded:
            points = torch.where(self.fold[:, :, None], points.abs(), points)
        local = torch.baddbmm(self.offset[:, :, None], self.rotation, points)
        rounding, shell = self.scalars[:, 0:1], self.scalars[:, 1:2]
        bounded = self.deformed or self.kind in ("superquadric", "ellipsoid")
        value = self._confined(local) if bounded else primitives.PRIMITIVES[self.kind](local, self.params)
        value = value - rounding
        value = torch.where(shell > 0.0, value.abs() - shell, value)
        if self.cut:
            plane = (local * self.plane[:, :3, None]).sum(dim=1) - self.plane[:, 3:4]
            value = torch.maximum(value, plane)
        return value

    def _confined(self, local: Tensor) -> Tensor:
        """Distance of an inexact primitive, sharpened outside of a ball that holds it.

        With c the nearest point of the ball, B = |p - c| and g >= 0 the bound at c, sqrt(B^2 + g^2) is a
        bound at p: the ball is convex, so |p - s|^2 >= |p - c|^2 + |c - s|^2 for each s in it. It is
        1-Lipschitz as well: grad B is radial, the gradient of g(c(p)) is tangential, and both are at most 1.
        So the Lipschitz constant that `Part.lipschitz` gives within the ball serves everywhere.
        """
        twist, taper, height = self.scalars[:, 2:3], self.scalars[:, 3:4], self.scalars[:, 4:5]
        lipschitz, ball = self.scalars[:, 5:6], self.scalars[:, 6:7]
        norm = primitives.length(*local.unbind(1))
        excess = (norm - ball).clamp_min(0.0)
        x, y, z = (local * (ball / torch.maximum(norm, ball))[:, None]).unbind(1)
        if self.deformed:
            cos, sin = torch.cos(twist * z), torch.sin(twist * z)
            section = 1.0 + taper * (z / height).clamp(-1.0, 1.0)
            x, y = (cos * x + sin * y) / section, (cos * y - sin * x) / section
        inner = primitives.PRIMITIVES[self.kind](torch.stack([x, y, z], dim=1), self.params) / lipschitz
        outer = (excess * excess + inner * inner + primitives.TINY).sqrt()
        return torch.where(excess > 0.0, outer, inner)

    def combine(self, before: Tensor, part: Tensor, blend: Tensor) -> Tensor:
        if self.operation == "subtraction":
            return torch.maximum(before, -part)
        nearest = torch.minimum(before, part)
        if self.operation == "union":
            return nearest
        overlap = (blend - (before - part).abs()).clamp_min(0.0)
        return nearest - overlap * overlap / (4.0 * blend)


class Programs:
    """b shapes, each up to k parts, ready to be evaluated together on one device.

    The value at a point is 1-Lipschitz because primitives are (see `primitives`, `_Group._confined`) and
    fold, rigid motion, min, max, negation, |.| - c and the quadratic smooth minimum (whose gradient is a
    convex combination of the two) keep it so. A 1-Lipschitz function is at most the distance to its zero set
    in size: the bound that sphere tracing needs, with the right sign.
    """

    def __init__(
        self,
        parts: Sequence[Sequence[Part]],
        placements: Sequence[Placement],
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        if not parts or not all(parts):
            raise ValueError("a program needs at least one part")
        if any(program[0].operation == "subtraction" for program in parts):
            raise ValueError("the first part of a program cannot be a subtraction")
        self.device = torch.device(device)
        self.count = len(parts)
        self.steps = max(len(program) for program in parts)
        self._scale = self._tensor([p.scale for p in placements])
        self._from_world = self._tensor([p.rotation.T / p.scale for p in placements])
        self._origin = self._tensor([p.rotation.T @ np.asarray(p.centre) for p in placements])
        self._groups = [self._group(parts, step) for step in range(self.steps)]
        self._table = self._owners(parts)

    def _tensor(self, values: object) -> Tensor:
        return torch.as_tensor(np.asarray(values, dtype=np.float32), device=self.device)

    def _group(self, programs: Sequence[Sequence[Part]], step: int) -> list[tuple[_Group, Tensor]]:
        alike: dict[tuple[object, ...], list[int]] = {}
        for shape, program in enumerate(programs):
            if step < len(program):
                part = program[step]
                key = (part.kind, len(part.params), part.operation if step else "union", part.deformed)
                alike.setdefault((*key, any(part.fold), part.cut is not None), []).append(shape)
        groups: list[tuple[_Group, Tensor]] = []
        for (kind, _, operation, deformed, folded, cut), shapes in alike.items():
            members = [programs[shape][step] for shape in shapes]
            inverse = [part.rotation.T for part in members]
            scalars = [
                (p.rounding, p.shell, p.twist, p.taper, p.taper_height, p.lipschitz, p.ball) for p in members
            ]
            group = _Group(
                kind=str(kind),
                operation=str(operation),
                deformed=bool(deformed),
                folded=bool(folded),
                cut=bool(cut),
                shapes=None if len(shapes) == self.count else torch.tensor(shapes, device=self.device),
                rotation=self._tensor(inverse),
                offset=self._tensor(
                    [-m @ np.asarray(p.position) for m, p in zip(inverse, members, strict=True)]
                ),
                params=self._tensor([p.params for p in members]),
                fold=torch.tensor([p.fold for p in members], device=self.device),
                scalars=self._tensor(scalars),
                plane=self._tensor([p.cut or (0.0, 0.0, 0.0, 0.0) for p in members]),
            )
            groups.append((group, self._tensor([[max(p.blend, 1e-6)] for p in members])))
        return groups

    def _owners(self, programs: Sequence[Sequence[Part]]) -> Tensor:
        """(b * k, 15 + ROW): rotation, offset, fold and texture of every part."""
        table = np.zeros((self.count, self.steps, 15 + textures.ROW), dtype=np.float32)
        for shape, program in enumerate(programs):
            for step, part in enumerate(program):
                inverse = part.rotation.T
                pose = [*inverse.reshape(-1), *(-inverse @ np.asarray(part.position)), *part.fold]
                table[shape, step] = np.concatenate([pose, part.texture.packed()])
        return self._tensor(table.reshape(self.count * self.steps, -1))

    def distance(self, points_world: Tensor) -> Tensor:
        """(b, 3, n) world -> (b, n) bound of the signed distance in world units."""
        return self._evaluate(points_world, owners=False)[0]

    def gradient(self, points_world: Tensor) -> tuple[Tensor, Tensor]:
        """(b, 3, n) world -> bound (b, n) and its gradient (b, 3, n)."""
        with torch.enable_grad():
            points = points_world.detach().requires_grad_(True)
            value = self.distance(points)
            (gradient,) = torch.autograd.grad(value.sum(), points)
        return value.detach(), gradient

    def at(self, points_world: Tensor) -> Tensor:
        """`distance` of the only shape at (n, 3) world points, (n,), in bounded memory."""
        with torch.no_grad():
            return torch.cat(
                [self.distance(c.T.contiguous()[None])[0] for c in points_world.float().split(CHUNK)]
            )

    def gradient_at(self, points_world: Tensor) -> tuple[Tensor, Tensor]:
        """`gradient` of the only shape at (n, 3) world points: (n,) and (n, 3), in bounded memory."""
        pairs = [self.gradient(chunk.T.contiguous()[None]) for chunk in points_world.split(CHUNK)]
        return torch.cat([value[0] for value, _ in pairs]), torch.cat(
            [gradient[0].T for _, gradient in pairs]
        )

    def colour_at(self, points_world: Tensor) -> Tensor:
        """`colour` of the only shape at (n, 3) world points, (n, 3), in bounded memory."""
        with torch.no_grad():
            return torch.cat(
                [self.colour(c.T.contiguous()[None])[0] for c in points_world.float().split(CHUNK)]
            )

    def colour(self, points_world: Tensor) -> Tensor:
        """(b, 3, n) world -> albedo (b, n, 3) of the parts that own the points."""
        b, _, n = points_world.shape
        _, owner = self._evaluate(points_world, owners=True)
        assert owner is not None
        rows = self._table[(owner + self.steps * torch.arange(b, device=self.device)[:, None]).reshape(-1)]
        points = self._to_program(points_world).transpose(1, 2).reshape(b * n, 3)
        points = torch.where(rows[:, 12:15] > 0.5, points.abs(), points)
        local = (rows[:, :9].reshape(-1, 3, 3) * points[:, None, :]).sum(dim=-1) + rows[:, 9:12]
        return textures.albedo(rows[:, 15:], local).reshape(b, n, 3)

    def _to_program(self, points_world: Tensor) -> Tensor:
        return torch.baddbmm(self._origin[:, :, None], self._from_world, points_world)

    def _evaluate(self, points_world: Tensor, *, owners: bool) -> tuple[Tensor, Tensor | None]:
        points = self._to_program(points_world)
        total = points.new_zeros(points.shape[0], points.shape[2])
        owner = torch.zeros_like(total, dtype=torch.long) if owners else None
        for step, groups in enumerate(self._groups):
            for group, blend in groups:
                some = group.shapes
                part = group.distance(points if some is None else points[some])
                if step == 0:
                    value = part
                else:
                    before = total if some is None else total[some]
                    value = group.combine(before, part, blend)
                    if owner is not None:
                        mine = -part > before if group.operation == "subtraction" else part < before
                        if some is None:
                            owner = torch.where(mine, step, owner)
                        else:
                            owner = owner.index_put((some,), torch.where(mine, step, owner[some]))
                total = value if some is None else total.index_put((some,), value)
        return total * self._scale[:, None], owner
