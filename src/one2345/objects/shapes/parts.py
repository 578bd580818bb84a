"""A part of a shape: a primitive, what is done to it, how it joins the parts before it, and its texture."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from one2345.objects.shapes import primitives
from one2345.objects.shapes.textures import Texture

OPERATIONS = ("union", "smooth_union", "subtraction")


@dataclass(frozen=True, eq=False)
class Part:
    """One step of a CSG program. Lengths are in program units; order of application: fold, pose, twist,
    taper, primitive, rounding, shell, cut; then the operation with everything before.

    kind, params: see `primitives`. rotation (3, 3), position (3,): local frame to program frame.
    fold: mirror at the planes x = 0, y = 0, z = 0 of the program frame (one leg makes two or four).
    twist: radians per unit along local z. taper: relative change of the cross-section over `taper_height`
    (half) from the middle; the section scales by 1 + taper * clamp(z / taper_height, -1, 1).
    rounding: inflation. shell: half wall thickness of the hollow solid, 0 for solid.
    cut: (nx, ny, nz, c) keeps local n.x < c; None keeps all. blend: radius of a smooth union.
    """

    kind: str
    params: tuple[float, ...]
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    operation: str = "union"
    blend: float = 0.0
    fold: tuple[bool, bool, bool] = (False, False, False)
    twist: float = 0.0
    taper: float = 0.0
    taper_height: float = 1.0
    rounding: float = 0.0
    shell: float = 0.0
    cut: tuple[float, float, float, float] | None = None
    texture: Texture = field(default_factory=Texture)

    def __post_init__(self) -> None:
        if self.kind not in primitives.PRIMITIVES:
            raise ValueError(
                f"part kind is {self.kind!r}, expected one of {', '.join(primitives.PRIMITIVES)}"
            )
        if self.operation not in OPERATIONS:
            raise ValueError(f"operation is {self.operation!r}, expected one of {', '.join(OPERATIONS)}")
        if self.operation == "smooth_union" and self.blend <= 0.0:
            raise ValueError(f"smooth_union has blend {self.blend}, expected a positive radius")
        if not -0.95 < self.taper < 0.95:
            raise ValueError(f"taper is {self.taper}, expected a number between -0.95 and 0.95")

    @property
    def deformed(self) -> bool:
        return self.twist != 0.0 or self.taper != 0.0

    @property
    def ball(self) -> float:
        """Radius about the local origin that holds the deformed primitive (before rounding and shell)."""
        return primitives.radius(self.kind, self.params) * (1.0 + abs(self.taper)) * 1.00001

    @property
    def reach(self) -> float:
        """Radius about `position` that holds the whole part."""
        return self.ball + self.rounding + self.shell

    @property
    def lipschitz(self) -> float:
        """Bound on how much twist and taper stretch distances within the ball of radius `ball`.

        Untwisting has the Jacobian R (I + k r e_t e_z^T): a rotation times a shear by k r, whose largest
        singular value is (k r + sqrt(k^2 r^2 + 4)) / 2. Untapering divides x and y by s(z): in the plane of
        axis and point its Jacobian is [[1/s, -r s'/s^2], [0, 1]], across it 1/s; the norm of a matrix grows
        with the size of its entries (here: nonnegative after a sign change of z), so taking the smallest s
        and r = ball bounds it.
        """
        shear = abs(self.twist) * self.ball
        twist = (shear + math.sqrt(shear * shear + 4.0)) / 2.0
        a = 1.0 / (1.0 - abs(self.taper))
        t = self.ball * abs(self.taper) / self.taper_height * a * a
        total = a * a + t * t + 1.0
        taper = (
            math.sqrt((total + math.sqrt(total * total - 4.0 * a * a)) / 2.0) if self.taper != 0.0 else 1.0
        )
        return twist * taper
