"""From surface to textured mesh with one set of settings: what conf/texture builds."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import torch

from one2345.errors import InputError
from one2345.geometry import RADIUS, Mesh

from ..colour import ColourFn, colour_vertices
from .bake import bake
from .decimate import decimate
from .pictures import OVERLAP, Pictures
from .repair import repair
from .smooth import smooth
from .unwrap import UnwrapFailed, unwrap

log = logging.getLogger(__name__)

OwnPixelsOf = Literal["given", "all", "none"]
PACKED = 0.75
"""Share of a texture that charts cover, about."""
SIZES = (256, 4096)
DENSITY = 400.0


@dataclass(frozen=True)
class Textured:
    """mesh: with a texture, or with vertex colours where it could not be unwrapped. facts: plain values. warnings:
    sentences. fell_back: whether there is no texture."""

    mesh: Mesh
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    fell_back: bool = False


@dataclass(frozen=True, kw_only=True)
class Texturer:
    """Surface → repaired, smoothed, decimated → unwrapped → its colours baked.

    faces: most that the mesh keeps; None keeps all. size: edge of the texture in texels; None: the power of two from
    256 to 2048 that gives a texel to a pixel of the finest given picture. field_size: texels at which the network's
    own colours are baked at most, see `bake`. smooth: steps that keep the volume, see `smooth`. seconds: for
    unwrapping; a mesh that takes longer gets vertex colours, and so does one of more than `charts` charts. padding:
    texels between charts. own_pixels: pictures that win over the network's colours where they see the surface: those
    that were `given` (the input picture, posed photographs), `all` (those that were made from it too), `none`. chunk:
    points per call of the colour field.
    """

    faces: int | None = 20_000
    size: int | None = None
    field_size: int | None = 512
    smooth: int = 0
    seconds: float = 30.0
    charts: int | None = 5000
    padding: int = 4
    own_pixels: OwnPixelsOf = "given"
    chunk: int = 16384

    def __post_init__(self) -> None:
        if self.faces is not None and self.faces < 4:
            raise InputError(f"texture.faces={self.faces}: at least 4, or null for all")
        if self.size is not None and not 16 <= self.size <= 16384:
            raise InputError(f"texture.size={self.size}: texels, from 16 to 16384, or null")
        if self.field_size is not None and self.field_size < 16:
            raise InputError(f"texture.field_size={self.field_size}: at least 16 texels, or null for size")
        if self.smooth < 0:
            raise InputError(f"texture.smooth={self.smooth}: a number of steps, 0 for none")
        if not self.seconds > 0:
            raise InputError(f"texture.seconds={self.seconds}: more than 0")
        if self.padding < 0 or self.chunk < 1 or (self.charts is not None and self.charts < 1):
            raise InputError(
                f"texture.padding={self.padding}, chunk={self.chunk}, charts={self.charts}: too small"
            )
        if self.own_pixels not in get_args(OwnPixelsOf):
            known = ", ".join(get_args(OwnPixelsOf))
            raise InputError(f"texture.own_pixels={self.own_pixels}: known are {known}")

    def __call__(
        self,
        surface: Mesh,
        colour: ColourFn,
        pictures: Sequence[Pictures] = (),
        *,
        device: torch.device | str = "cpu",
    ) -> Textured:
        """The textured mesh of `surface` with the colours of `colour` and of `pictures`, whose own pixels win.

        Raises InputError for a surface without faces, or with none but degenerate ones.
        """
        begin = time.perf_counter()
        shape, repairs = repair(surface)
        if shape.is_empty:
            raise InputError("the surface has no faces that a texture could lie on")
        shape = smooth(shape, self.smooth)
        if self.faces is not None and len(shape.faces) > self.faces:
            shape, _ = repair(decimate(shape, self.faces))
        facts: dict[str, Any] = {"faces": len(shape.faces), "faces before": len(surface.faces)}
        facts |= {"repairs": asdict(repairs)}
        notes: list[str] = []
        if self.faces is not None and len(shape.faces) > 1.1 * self.faces:
            notes.append(f"the mesh keeps {len(shape.faces)} faces: it can't be brought to {self.faces}")
        size = self.size or texture_size(shape, pictures)
        shaped = time.perf_counter()
        try:
            flat = unwrap(shape, size=size, padding=self.padding, seconds=self.seconds, charts=self.charts)
        except UnwrapFailed as error:
            notes.append(
                f"no texture: {error}; the mesh has vertex colours instead. A smaller texture.faces or a larger "
                "texture.seconds may help"
            )
            coloured = colour_vertices(surface, colour, chunk=self.chunk, device=device)
            facts |= {"kind": "vertex colours", "faces": len(surface.faces), "reason": str(error)}
            return Textured(coloured, facts, tuple(notes), fell_back=True)
        unwrapped = time.perf_counter()
        baked = bake(
            flat.mesh, size, colour, pictures, field_size=self.field_size, chunk=self.chunk, device=device
        )
        if low := [o for o in baked.overlap if o < OVERLAP]:
            notes.append(
                f"{len(low)} of {len(baked.overlap)} pictures were not put on the mesh: its outline does not agree "
                f"with theirs (overlap {min(low):.2f}, wanted {OVERLAP:g})"
            )
        facts |= {
            "kind": "texture", "size": size, "charts": flat.charts, "utilisation": round(flat.utilisation, 3),
            "texels": baked.texels, "own pixels": round(baked.own, 4),
            "overlap": [round(o, 3) for o in baked.overlap],
        }  # fmt: skip
        end = time.perf_counter()
        log.debug(
            "texture: shape %.1f s, unwrapping %.1f s, baking %.1f s",
            shaped - begin, unwrapped - shaped, end - unwrapped,
        )  # fmt: skip
        mesh = Mesh(flat.mesh.vertices, flat.mesh.faces, uv=flat.mesh.uv, texture=baked.texture)
        return Textured(mesh, facts, tuple(notes))


def texture_size(mesh: Mesh, pictures: Sequence[Pictures]) -> int:
    """The power of two that gives the surface a texel to each pixel of the finest picture, seen from the usual
    distance; without pictures DENSITY texels to a unit of length."""
    density = max(
        (float(p.cameras.K[:, 0, 0].max()) / RADIUS for p in pictures if len(p.cameras)), default=DENSITY
    )
    edge = math.sqrt(float(mesh.areas().sum()) / PACKED) * density
    return min(max(2 ** math.ceil(math.log2(max(edge, 1.0))), SIZES[0]), SIZES[1] // 2)
